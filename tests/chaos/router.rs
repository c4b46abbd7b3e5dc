//! `wampgate router` as a process of its own, which is stopped, continued, killed and restarted.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Longest wait for the program: a bound, not an expectation.
const PATIENCE: Duration = Duration::from_secs(30);

/// A router process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Router {
    child: Child,
    pub(crate) address: SocketAddr,
    // Open as long as the process: it would die of a broken pipe.
    _output: BufReader<ChildStdout>,
}

impl Router {
    pub(crate) async fn start(realm: &str) -> Self {
        Self::at("127.0.0.1:0", realm).await
    }

    async fn at(address: &str, realm: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_wampgate"))
            .args(["router", "--listen", address, "--realm", realm])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let reading = timeout(PATIENCE, output.read_line(&mut line)).await;
        reading.expect("a router").unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ws://")
            .and_then(|rest| rest.split('/').next())
            .unwrap_or_else(|| panic!("no address: {line}"));
        Self {
            address: address.parse().unwrap(),
            child,
            _output: output,
        }
    }

    /// Kills it as a crash would and starts another one at the same place, `meanwhile` after.
    pub(crate) async fn restart(&mut self, realm: &str, meanwhile: Duration) {
        self.child.kill().await.unwrap();
        tokio::time::sleep(meanwhile).await;
        *self = Self::at(&self.address.to_string(), realm).await;
    }

    /// Stops it (SIGSTOP): it is there, and does nothing.
    pub(crate) async fn stop(&self) {
        self.signal("STOP").await;
    }

    /// Lets it go on (SIGCONT).
    pub(crate) async fn go_on(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().await;
        assert!(sent.unwrap().success(), "{name}");
    }
}
