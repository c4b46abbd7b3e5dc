//! wampgate against real peers: Crossbar.io as the router, autobahn as the callee.
//!
//! `make test` installs the peers (`tests/peers/`) and runs these. Plain `cargo test` skips them
//! with a notice, unless `WAMPGATE_PEERS` names the folder that `tests/peers/install.py` prints.

mod answers;
mod client;
#[path = "../gateway/http.rs"]
#[expect(dead_code, reason = "the gateway's tests use the rest of it")]
mod http;
mod outage;
mod peers;
