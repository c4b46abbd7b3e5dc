//! Real peers as child processes: Crossbar.io as the router, a callee in Python on autobahn.
//!
//! Each runs a script beside this file, which ends everything that it started as soon as its
//! standard input ends. The pipe is ours, so that nothing outlives a test: not one that panics,
//! not one that is killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

/// Starting takes three seconds on an idle machine; this is for a busy one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The folder of the installed peers, or `None`, with a notice, where a test is to be skipped:
/// `make test` installs them and says where, plain `cargo test` may not have them.
///
/// # Panics
///
/// If `WAMPGATE_PEERS` names a folder without them: a test that was asked for must not be skipped.
#[expect(
    clippy::disallowed_methods,
    reason = "how make tells the tests where the peers are"
)]
pub(crate) fn installed() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("WAMPGATE_PEERS") else {
        // Not `eprintln!`, which a passing test keeps to itself.
        let notice = b"skipped: needs real peers; run `make test`, which installs them\n";
        std::io::stderr().write_all(notice).unwrap();
        return None;
    };
    let folder = PathBuf::from(folder);
    assert!(
        folder.join("bin/python").exists(),
        "no peers in {folder:?}: run `make peers`"
    );
    Some(folder)
}

/// A Crossbar.io node on loopback.
#[derive(Debug)]
pub(crate) struct Crossbar {
    process: Process,
    realms: String,
    port: u16,
}

impl Crossbar {
    /// Starts a node on a free port and waits until clients may come.
    pub(crate) async fn start(peers: &Path, realms: &[&str]) -> Self {
        // Crossbar refuses port 0. A range that begins at random keeps nodes of parallel tests
        // apart, and leaves a way out of a port that somebody took.
        let low = fastrand::u16(20_000..30_000);
        Self::launch(peers, &realms.join(","), low, low + 200).await
    }

    async fn launch(peers: &Path, realms: &str, low: u16, high: u16) -> Self {
        let args = [realms, &low.to_string(), &high.to_string()];
        let mut process = Process::start(peers, "crossbar.py", &args);
        let ready = process.ready().await;
        let port = ready.trim().parse().expect("the port");
        Self {
            process,
            realms: realms.to_owned(),
            port,
        }
    }

    /// The URL of its WebSocket.
    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/ws", self.port)
    }

    /// Kills it as a crash would: connections drop, nobody says goodbye.
    pub(crate) fn kill(&mut self) {
        self.process.end();
    }

    /// Starts a new node, which remembers nothing, on the same port.
    pub(crate) async fn restart(&mut self, peers: &Path) {
        self.process.end();
        let realms = std::mem::take(&mut self.realms);
        *self = Self::launch(peers, &realms, self.port, self.port).await;
    }
}

/// The callee of `market_callee.py`.
#[derive(Debug)]
pub(crate) struct Callee {
    process: Process,
}

impl Callee {
    /// Starts it and waits until its procedures are registered.
    pub(crate) async fn start(peers: &Path, url: &str, realm: &str) -> Self {
        let mut process = Process::start(peers, "market_callee.py", &[url, realm]);
        process.ready().await;
        Self { process }
    }

    /// Waits until it has registered its procedures anew, after its router was away.
    pub(crate) async fn back(&mut self) {
        self.process.ready().await;
    }
}

/// A script of this folder, run by the Python of the peers.
#[derive(Debug)]
struct Process {
    name: &'static str,
    child: Child,
    ready: mpsc::UnboundedReceiver<String>,
    log: Arc<Mutex<String>>,
}

impl Process {
    fn start(peers: &Path, name: &'static str, args: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/interop")
            .join(name);
        let mut child = Command::new(peers.join("bin/python"))
            .arg(script)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the peers' Python runs");
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, ready) = mpsc::unbounded_channel();
        follow(child.stderr.take().unwrap(), Arc::clone(&log), None);
        follow(child.stdout.take().unwrap(), Arc::clone(&log), Some(sender));
        Self {
            name,
            child,
            ready,
            log,
        }
    }

    /// Waits for the next line `ready ...` and returns its rest.
    async fn ready(&mut self) -> String {
        match tokio::time::timeout(PATIENCE, self.ready.recv()).await {
            Ok(Some(rest)) => rest,
            Ok(None) => panic!("{} ended:\n{}", self.name, self.log.lock().unwrap()),
            Err(_) => panic!("{} is not ready:\n{}", self.name, self.log.lock().unwrap()),
        }
    }

    /// Ends it with all that it started, and waits for that.
    fn end(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("our own child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            let log = self
                .log
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            eprintln!("--- {} said:\n{log}", self.name);
        }
    }
}

/// Keeps what a child says, so that it neither blocks nor is lost, and passes on who is ready.
fn follow(
    pipe: impl Read + Send + 'static,
    log: Arc<Mutex<String>>,
    ready: Option<mpsc::UnboundedSender<String>>,
) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let (Some(rest), Some(sender)) = (line.strip_prefix("ready"), &ready) {
                // Nobody waits any more: then nobody needs it.
                sender.send(rest.to_owned()).ok();
            }
            let mut log = log
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            log.push_str(&line);
            log.push('\n');
        }
    });
}
