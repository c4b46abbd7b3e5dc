//! Gateways that share a bucket of NATS JetStream, on real nats-servers.
//!
//! `make test` installs nats-server (`tests/peers/`) and runs these. Plain `cargo test` skips them
//! with a notice, unless `WAMPGATE_PEERS` names the folder that `tests/peers/install.py` prints.

mod alone;
mod gateways;
mod holds;
#[path = "../gateway/http.rs"]
#[expect(dead_code, reason = "the tests of the gateway use more of it")]
mod http;
mod outages;
mod served;
mod servers;
mod strange;
mod whole;
