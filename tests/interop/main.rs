//! wampgate against real peers: Crossbar.io as the router, autobahn as the callee.
//!
//! `make test` installs the peers (`tests/peers/`) and runs these. Plain `cargo test` skips them
//! with a notice, unless `WAMPGATE_PEERS` names the folder that `tests/peers/install.py` prints.

mod answers;
mod client;
#[path = "../gateway/http.rs"]
#[expect(dead_code, reason = "the gateway's tests use the rest of it")]
mod http;
mod peers;

use peers::{Callee, Crossbar};

#[tokio::test]
async fn the_peers_themselves_work_and_survive_a_kill() {
    let Some(folder) = peers::installed() else {
        return;
    };
    let mut router = Crossbar::start(&folder, &["com.example.market"]).await;
    let mut callee = Callee::start(&folder, &router.url(), "com.example.market").await;
    router.kill();
    let port = router
        .url()
        .trim_start_matches("ws://")
        .trim_end_matches("/ws")
        .to_owned();
    assert!(
        std::net::TcpStream::connect(&port).is_err(),
        "the killed router still listens"
    );
    router.restart(&folder).await;
    callee.back().await;
}
