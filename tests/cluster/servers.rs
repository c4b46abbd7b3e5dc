//! nats-servers with JetStream as child processes: one alone, or a cluster of three.
//!
//! Each has an address of its own on loopback, made of our process id: the ports are the usual ones,
//! nobody else takes them while a server is down, and two test runs do not meet. A shell stands
//! between us and the server. It ends the server, also a stopped one, as soon as its standard input
//! ends, so that nothing outlives a test: not one that panics, not one that is killed.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where nats-server is installed, or `None`, with a notice, where a test is to be skipped.
///
/// # Panics
///
/// If `WAMPGATE_PEERS` names a folder without it: a test that was asked for must not be skipped.
#[expect(
    clippy::disallowed_methods,
    reason = "how make tells the tests where the peers are"
)]
pub(crate) fn installed() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("WAMPGATE_PEERS") else {
        // Not `eprintln!`, which a passing test keeps to itself.
        let notice = b"skipped: needs nats-server; run `make test`, which installs it\n";
        std::io::stderr().write_all(notice).unwrap();
        return None;
    };
    let program = PathBuf::from(folder).join("bin/nats-server");
    assert!(
        program.exists(),
        "no {program:?}: run `make peers`, which says why it cannot be had"
    );
    Some(program)
}

/// Some servers, which find each other.
#[derive(Debug)]
pub(crate) struct Servers {
    program: PathBuf,
    addresses: Vec<Ipv4Addr>,
    /// Apart from those of other servers of this process.
    port: u16,
    more: &'static str,
    folder: TempDir,
    running: Vec<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    shell: Child,
    server: Pid,
}

impl Servers {
    /// Starts one server, with `more` in its configuration.
    pub(crate) fn one(more: &'static str) -> Option<Self> {
        Self::start_all(1, more)
    }

    /// Starts a cluster of three.
    pub(crate) fn three() -> Option<Self> {
        Self::start_all(3, "")
    }

    fn start_all(count: u8, more: &'static str) -> Option<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(4222);
        let program = installed()?;
        // A process id has at most 22 bits.
        let [_, a, b, c] = (std::process::id() << 2).to_be_bytes();
        let addresses = (1..=count).map(|number| Ipv4Addr::new(127, a, b, c + number % 4));
        let mut servers = Self {
            program,
            addresses: addresses.collect(),
            port: NEXT.fetch_add(1, Ordering::Relaxed),
            more,
            folder: tempfile::tempdir().unwrap(),
            running: Vec::new(),
        };
        for number in 0..servers.addresses.len() {
            servers.running.push(None);
            servers.start(number);
        }
        Some(servers)
    }

    /// Where a store finds them.
    pub(crate) fn url(&self, bucket: &str) -> String {
        let port = self.port;
        let servers = self.addresses.iter().map(|ip| format!("{ip}:{port}"));
        let servers: Vec<_> = servers.collect();
        format!("nats://{}/{bucket}", servers.join(","))
    }

    /// Connects as any other program would.
    pub(crate) async fn client(&self) -> async_nats::Client {
        let url = self.url("");
        let servers: Vec<_> = url["nats://".len()..]
            .trim_end_matches('/')
            .split(',')
            .collect();
        async_nats::connect(servers).await.unwrap()
    }

    /// Asks as any other program would.
    pub(crate) async fn ask(&self, subject: &str, request: &Value) -> Value {
        let client = self.client().await;
        let answer = client.request(subject.to_owned(), request.to_string().into());
        serde_json::from_slice(&answer.await.unwrap().payload).unwrap()
    }

    /// Returns which server leads a bucket's stream.
    pub(crate) async fn leader(&self, bucket: &str) -> usize {
        let subject = format!("$JS.API.STREAM.INFO.KV_{bucket}");
        let about = self.ask(&subject, &json!({})).await;
        let leader = about["cluster"]["leader"].as_str().unwrap();
        leader["server-".len()..].parse().unwrap()
    }

    /// Starts one that is not there, with what is left on its disk. Others retry until it answers.
    pub(crate) fn start(&mut self, number: usize) {
        assert!(self.running[number].is_none(), "it runs");
        let config = self.folder.path().join(format!("{number}.conf"));
        fs::write(&config, self.config(number)).unwrap();
        let log = self.folder.path().join("log");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        // `wait` reaps the server, so that its process is gone when the shell is.
        let script = r#""$1" --config "$2" & echo $!; read -r _; kill -9 $! 2> /dev/null; wait"#;
        let mut shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .args([&self.program, &config])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = first_line(shell.stdout.take().unwrap());
        let server = Pid::from_raw(server.trim().parse().unwrap()).unwrap();
        self.running[number] = Some(Running { shell, server });
    }

    /// Ends one as a crash would.
    pub(crate) fn kill(&mut self, number: usize) {
        drop(self.running[number].take().expect("it runs"));
    }

    /// Ends all of them.
    pub(crate) fn kill_all(&mut self) {
        self.running.iter_mut().for_each(|it| drop(it.take()));
    }

    /// Starts all that are not there.
    pub(crate) fn start_rest(&mut self) {
        for number in 0..self.running.len() {
            if self.running[number].is_none() {
                self.start(number);
            }
        }
    }

    /// Stops one in the middle of what it does: its connections stay, and are silent.
    pub(crate) fn freeze(&self, number: usize) {
        self.signal(number, Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self, number: usize) {
        self.signal(number, Signal::CONT);
    }

    fn signal(&self, number: usize, signal: Signal) {
        let running = self.running[number].as_ref().expect("it runs");
        kill_process(running.server, signal).unwrap();
    }

    /// Ends all, and forgets what is on their disks.
    pub(crate) fn wipe(&mut self) {
        self.kill_all();
        for number in 0..self.running.len() {
            let data = self.data(number);
            if data.exists() {
                fs::remove_dir_all(data).unwrap();
            }
        }
    }

    /// The folder of a server's data.
    pub(crate) fn data(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("data-{number}"))
    }

    fn config(&self, number: usize) -> String {
        let Self {
            port, addresses, ..
        } = self;
        let ip = addresses[number];
        let data = self.data(number);
        let mut config = format!(
            "server_name: server-{number}\nlisten: \"{ip}:{port}\"\n\
             jetstream {{ store_dir: {data:?}, max_mem: 64MB, max_file: 256MB }}\n{}\n",
            self.more
        );
        if addresses.len() > 1 {
            let port = port + 2000;
            let routes = addresses.iter().map(|ip| format!("nats://{ip}:{port}"));
            let routes: Vec<_> = routes.collect();
            writeln!(
                config,
                "cluster {{ name: test, listen: \"{ip}:{port}\", routes: {routes:?} }}"
            )
            .unwrap();
        }
        config
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.kill_all();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("--- the servers said:\n{log}");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().expect("our own child");
    }
}

/// Reads a byte at a time: what follows is not ours.
fn first_line(output: ChildStdout) -> String {
    let mut line = String::new();
    BufReader::with_capacity(1, output.take(32))
        .read_line(&mut line)
        .unwrap();
    line
}
