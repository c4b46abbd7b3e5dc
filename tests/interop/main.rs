//! wampgate against real peers: the routers Crossbar.io, xconn-router and fox-wamp, and callees and
//! callers on autobahn (Python, JavaScript) and wampy.
//!
//! `make test` installs the peers (`tests/peers/`) and runs these. Plain `cargo test` skips them
//! with a notice, unless `WAMPGATE_PEERS` names the folder that `tests/peers/install.py` prints.

mod answers;
mod auth;
mod client;
mod deaths;
mod lasting;
#[path = "../gateway/http.rs"]
mod http;
mod outage;
mod peers;
mod routers;
