//! Real peers as child processes: routers, and callees in Python and JavaScript.
//!
//! Each runs a script beside this file, which ends everything that it started as soon as its
//! standard input ends. The pipe is ours, so that nothing outlives a test: not one that panics,
//! not one that is killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{OnceCell, mpsc};

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
    for peer in ["bin/crossbar", "bin/xconn-router", "node_modules/fox-wamp"] {
        assert!(
            folder.join(peer).exists(),
            "no {peer} in {folder:?}: run `make peers`"
        );
    }
    Some(folder)
}

/// The realms of the Crossbar that tests share.
const SHARED_REALMS: [&str; 8] = [
    "com.example.market",
    "com.market.demo",
    "com.example.client",
    "com.example.patterns",
    "com.example.parts",
    "python",
    "wampy",
    "autobahn_js",
];

/// A router that somebody else wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brand {
    Crossbar,
    Xconn,
    Fox,
}

/// A router on loopback, a process of its own.
#[derive(Debug)]
pub(crate) struct RealRouter {
    brand: Brand,
    realms: String,
    port: u16,
    process: Process,
}

impl RealRouter {
    /// Starts a router on a free port and waits until clients may come. Names of realms that
    /// fox-wamp takes have no dots. Who may join how, says `router.py`.
    pub(crate) async fn start(brand: Brand, peers: &Path, realms: &[&str]) -> Self {
        Self::launch(brand, peers, realms.join(","), 0).await
    }

    /// A Crossbar for all tests of this process that leave it as they find it; it is slow to start.
    /// Each has a realm of its own, of those in `SHARED_REALMS`.
    pub(crate) async fn shared_crossbar(peers: &Path) -> &'static Self {
        // Never dropped: it ends with this process, as the pipe to it does.
        static SHARED: OnceCell<RealRouter> = OnceCell::const_new();
        let start = || Self::start(Brand::Crossbar, peers, &SHARED_REALMS);
        SHARED.get_or_init(start).await
    }

    async fn launch(brand: Brand, peers: &Path, realms: String, port: u16) -> Self {
        let name = match brand {
            Brand::Crossbar => "crossbar",
            Brand::Xconn => "xconn",
            Brand::Fox => "fox",
        };
        let args = ["router.py", name, &port.to_string(), &realms];
        let mut process = Process::start(peers, &args);
        let ready = process.ready().await;
        let port = ready.trim().parse().expect("the port");
        Self {
            brand,
            realms,
            port,
            process,
        }
    }

    /// The key by which it proves itself with cryptosign: Crossbar has one.
    pub(crate) fn public_key(&self) -> String {
        let log = self.process.said();
        let (_, rest) = log.split_once("public-key-ed25519=0x").expect("it tells");
        rest.chars().take_while(char::is_ascii_hexdigit).collect()
    }

    /// The URL of its WebSocket.
    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/ws", self.port)
    }

    /// The URL of its RawSocket, which fox-wamp does not have.
    pub(crate) fn raw_url(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// Kills it as a crash would: connections drop, nobody says goodbye.
    pub(crate) fn kill(&mut self) {
        self.process.end();
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub(crate) async fn terminate(&mut self) {
        self.process.say("term\n");
        self.process.ended().await;
    }

    /// Waits until it has ended by itself: some routers crash.
    pub(crate) async fn ended(&mut self) {
        self.process.ended().await;
    }

    /// Starts a new router, which remembers nothing, on the same port.
    pub(crate) async fn restart(&mut self, peers: &Path) {
        self.process.end();
        let realms = std::mem::take(&mut self.realms);
        *self = Self::launch(self.brand, peers, realms, self.port).await;
    }
}

/// Who answers calls: a language and a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// autobahn in Python, `market_callee.py`.
    Python,
    /// wampy in JavaScript, `test_callee.cjs`.
    Wampy,
    /// autobahn in JavaScript, `test_callee.cjs`.
    AutobahnJs,
}

/// A callee of another library: the procedures below `com.example.test`; in Python the sample
/// marketplace too.
#[derive(Debug)]
pub(crate) struct Callee {
    process: Process,
}

impl Callee {
    /// Starts the one in Python and waits until its procedures are registered.
    pub(crate) async fn start(peers: &Path, url: &str, realm: &str) -> Self {
        Self::of(Library::Python, peers, url, realm, "msgpack").await
    }

    /// Starts one that speaks `serializer` (`json`, `msgpack` or `cbor`).
    pub(crate) async fn of(
        library: Library,
        peers: &Path,
        url: &str,
        realm: &str,
        serializer: &str,
    ) -> Self {
        let (script, first): (_, &[&str]) = match library {
            Library::Python => ("market_callee.py", &[]),
            Library::Wampy => ("test_callee.cjs", &["wampy"]),
            Library::AutobahnJs => ("test_callee.cjs", &["autobahn"]),
        };
        let args = [&[script], first, &[url, realm, serializer]].concat();
        let mut process = Process::start(peers, &args);
        process.ready().await;
        Self { process }
    }

    /// Waits until it has registered its procedures anew, after its router was away.
    pub(crate) async fn back(&mut self) {
        self.process.ready().await;
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) {
        self.process.ended().await;
    }
}

/// A client of autobahn in Python that only joins, `joiner.py`.
#[derive(Debug)]
pub(crate) struct Joiner;

impl Joiner {
    /// Joins as `args` say, and returns how that went.
    pub(crate) async fn attempt(peers: &Path, args: &[&str]) -> String {
        let args = [&["joiner.py"], args].concat();
        Process::start(peers, &args).ready().await.trim().to_owned()
    }
}

/// A script of this folder, run with the installed peers.
#[derive(Debug)]
struct Process {
    name: String,
    child: Child,
    ready: mpsc::UnboundedReceiver<String>,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts a script, the first of `args`, with the rest as its arguments.
    fn start(peers: &Path, args: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
        let interpreter = match args[0].rsplit_once('.') {
            Some((_, "py")) => peers.join("bin/python"),
            _ => PathBuf::from("node"),
        };
        let mut child = Command::new(interpreter)
            .arg(folder.join(args[0]))
            .args(&args[1..])
            .env("WAMPGATE_PEERS", peers)
            .env("NODE_PATH", peers.join("node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Python and Node.js run");
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, ready) = mpsc::unbounded_channel();
        follow(child.stderr.take().unwrap(), Arc::clone(&log), None);
        follow(child.stdout.take().unwrap(), Arc::clone(&log), Some(sender));
        Self {
            name: args.join(" "),
            child,
            ready,
            log,
        }
    }

    /// Waits for the next line `ready ...` and returns its rest.
    async fn ready(&mut self) -> String {
        match tokio::time::timeout(PATIENCE, self.ready.recv()).await {
            Ok(Some(rest)) => rest,
            Ok(None) => panic!("{} ended:\n{}", self.name, self.said()),
            Err(_) => panic!("{} is not ready:\n{}", self.name, self.said()),
        }
    }

    /// Waits until it has ended by itself.
    async fn ended(&mut self) {
        let end = async { while self.ready.recv().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, end).await.is_err() {
            panic!("{} does not end:\n{}", self.name, self.said());
        }
    }

    /// Writes to its standard input.
    fn say(&mut self, text: &str) {
        let input = self.child.stdin.as_mut().expect("not ended");
        input.write_all(text.as_bytes()).expect("it reads");
    }

    /// Ends it with all that it started, and waits for that.
    fn end(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("our own child");
    }

    fn said(&self) -> String {
        let log = self.log.lock();
        log.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, self.said());
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
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push_str(&line);
            log.push('\n');
        }
    });
}
