//! The programs under load, and their CPU time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// wampgate in a process of its own, which ends with this.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    /// `127.0.0.1:18080`
    pub(crate) address: String,
    /// Holds the spec and the realm.
    _folder: Option<tempfile::TempDir>,
}

impl Gateway {
    /// The demo; it says where it listens.
    pub(crate) async fn demo() -> Self {
        let mut child = wampgate()
            .arg("demo")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut lines = lines.map_while(Result::ok);
        let address = lines.find_map(|line| {
            let (_, rest) = line.split_once("http://")?;
            rest.split(['/', ' ']).next().map(str::to_owned)
        });
        // What it says later must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: address.expect("an address"),
            _folder: None,
        }
    }

    /// A gateway with one route, `POST /echo`, before a router.
    pub(crate) async fn serve(router: &str, realm: &str, procedure: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        };
        file("realms/bench.json", format!(r#"{{"uri": "{realm}"}}"#));
        let operation = format!(
            r#"{{"action": {{"type": "wamp_call", "procedure": "{procedure}",
            "args": ["{{{{request.body}}}}"]}}}}"#
        );
        file(
            "specs/bench.json",
            format!(
                r#"{{"id": "bench", "host": "_", "realm_uri": "{realm}", "versions": {{"1":
                {{"base_path": "/", "paths": {{"/echo": {{"post": {operation}}}}}}}}}}}"#
            ),
        );
        let address = free_address();
        let log = fs::File::create(folder.path().join("access.log")).expect("a file");
        let child = wampgate()
            .args([
                "serve",
                "--router",
                router,
                "--listen",
                &address,
                "--admin",
                "127.0.0.1:0",
            ])
            .stdout(log)
            .current_dir(folder.path())
            .spawn()
            .expect("it runs");
        while std::net::TcpStream::connect(&address).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self {
            child,
            address,
            _folder: Some(folder),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }
}

fn wampgate() -> Command {
    Command::new(env!("CARGO_BIN_EXE_wampgate"))
}

/// Free a moment ago: good enough for a benchmark.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

/// User plus system time so far of those of our descendants whose command line holds one of
/// `parts`.
pub(crate) fn cpu(parts: &[&str]) -> Duration {
    let all: Vec<Process> = processes().collect();
    let parent = |pid: u32| {
        all.iter()
            .find(|process| process.pid == pid)
            .map(|it| it.parent)
    };
    let is_ours = |process: &Process| {
        let mut ancestor = Some(process.pid);
        while let Some(pid) = ancestor {
            if pid == std::process::id() {
                return true;
            }
            ancestor = parent(pid);
        }
        false
    };
    let named = |process: &&Process| parts.iter().any(|part| process.command.contains(part));
    let ticks: u64 = all
        .iter()
        .filter(named)
        .filter(|it| is_ours(it))
        .map(|it| it.ticks)
        .sum();
    // The kernel counts for programs in hundredths of a second, whatever its own clock.
    Duration::from_millis(ticks * 10)
}

struct Process {
    pid: u32,
    parent: u32,
    ticks: u64,
    command: String,
}

fn processes() -> impl Iterator<Item = Process> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    folders.filter_map(|folder| {
        let pid = folder.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(folder.path().join("stat")).ok()?;
        let command = fs::read(folder.path().join("cmdline")).ok()?;
        // The name in parentheses may hold spaces.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        Some(Process {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            ticks: fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?,
            command: String::from_utf8_lossy(&command).replace('\0', " "),
        })
    })
}
