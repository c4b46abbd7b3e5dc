//! `demo` and `serve` as running programs: what they print works, and they stop when told to.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;
use std::{fs, thread};

use crate::PROGRAM;

/// Longest wait for a line or an end: a bound, not an expectation.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A program that runs; killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    pub(crate) fn start(args: &[&str], folder: &Path) -> Self {
        Self::spawn(Command::new(PROGRAM).args(args).current_dir(folder))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        // A test that is about the time for which a program still accepts asks for it.
        let min_drain = "WAMPGATE_HTTP__MIN_DRAIN";
        if !command.get_envs().any(|(name, _)| name == min_drain) {
            command.env(min_drain, "0s");
        }
        let mut child = command
            .env_remove("WAMPGATE_PEERS")
            // Several run at once.
            .env("WAMPGATE_ADMIN__LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        // Two threads that end with the program's output; their channel is the test's.
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let other = sender.clone();
        thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|it| sender.send(it))
        });
        thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|it| other.send(it))
        });
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Waits for a line that contains `text`, and returns it.
    pub(crate) fn line(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with `{text}` in:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Waits for a line that contains `text`, which may have come already: standard output and standard
    /// error are two streams, whose lines have no order.
    pub(crate) fn has_line(&mut self, text: &str) {
        if !self.seen.iter().any(|line| line.contains(text)) {
            self.line(text);
        }
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// Sends a signal by name and waits for the end.
    pub(crate) fn end(mut self, signal: &str) -> (ExitStatus, String) {
        self.signal(signal);
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        (self.child.wait().unwrap(), self.seen.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs a command line and returns what it prints.
pub(crate) fn shell(command: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{command}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Starts a demo on free ports and returns the lines that it says to try.
pub(crate) fn demo() -> (Running, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let ports = "--port 0 --router-port 0 --admin-port 0".split(' ');
    let args: Vec<&str> = ["demo"].into_iter().chain(ports).collect();
    let mut demo = Running::start(&args, folder.path());
    demo.line("Ctrl-C ends it");
    let is_command = |line: &&str| ["curl ", "WAMPGATE_"].iter().any(|it| line.starts_with(it));
    let lines = demo.seen.iter().map(|line| line.trim());
    let lines = lines.filter(is_command).map(str::to_owned).collect();
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "no file is written"
    );
    (demo, lines)
}

#[test]
fn every_line_of_the_demo_works_as_printed() {
    let (demo, lines) = demo();
    let answers: Vec<String> = lines.iter().map(|line| shell(line)).collect();
    let expected = [
        r#"[{"name":"lamp","price":12.5,"#,
        r#"{"name":"lamp","price":12.5,"deadline":"2030-01-01","bids":[]}"#,
        "HTTP/1.1 201 Created",
        r#"{"name":"bob"}"#,
        r#""bids":[{"bidder":"bob","price":31.5}]}"#,
        "HTTP/1.1 404 Not Found",
        r#"{"publication_id":"#,
        "HTTP/1.1 204 No Content",
        r#"{"id":"com.example.market","name":"Marketplace","host":"_","#,
        "spec   com.example.market  active  store   2 ",
    ];
    assert_eq!(answers.len(), expected.len());
    for ((line, answer), expected) in lines.iter().zip(&answers).zip(expected) {
        assert!(answer.contains(expected), "{line}\n{answer}");
    }
    let (status, output) = demo.end("INT");
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(
        output.contains("POST /v1/items 201"),
        "a line per request\n{output}"
    );
}

#[test]
fn a_demo_beside_another_takes_the_next_free_ports_and_says_so() {
    let (first, lines) = demo();
    let (_, rest) = lines[0].split_once("127.0.0.1:").unwrap();
    let port = rest.split_once('/').unwrap().0;
    let folder = tempfile::tempdir().unwrap();
    // The admin API is refused the port that the gateway has got.
    let args = format!("demo --port {port} --router-port 0 --admin-port {port}");
    let mut second = Running::start(&args.split(' ').collect::<Vec<_>>(), folder.path());
    for name in ["gateway ", "admin API "] {
        let line = second.line(name);
        assert!(line.contains(&format!("(port {port} is taken)")), "{line}");
    }
    second.line("Ctrl-C ends it");
    assert_eq!(second.end("TERM").0.code(), Some(0));
    assert_eq!(first.end("TERM").0.code(), Some(0));
}

#[test]
fn a_router_alone_says_where_it_listens_and_takes_an_address_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["router", "--listen", "127.0.0.1:0", "--realm", "com.a"];
    let mut first = Running::start(&args, folder.path());
    let line = first.line("listening on ws://");
    let address = line.strip_prefix("listening on ws://").unwrap();
    let address = address.strip_suffix("/ws").unwrap();

    let second = Running::start(&["router", "--listen", address], folder.path());
    let (status, output) = second.ended();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(
        output.contains(&format!("cannot listen on {address}")),
        "{output}"
    );
    assert_eq!(first.end("TERM").0.code(), Some(0));
}

#[test]
fn serve_reports_a_bad_spec_serves_the_rest_and_stops_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("realms/a.json", r#"{"uri": "com.${TENANT:-a}"}"#);
    write(
        "specs/good.json",
        r#"{"id": "good", "host": "_", "realm_uri": "com.a", "versions": {"1": {"base_path": "/",
            "paths": {"/here": {"get": {"action": {"type": "static", "body": "yes"}}},
                      "/call": {"get": {"action": {"type": "wamp_call", "procedure": "com.a.b"}}}}}}}"#,
    );
    write("specs/bad.json", r#"{"id": "bad", "hots": "_"}"#);
    write(
        "wampgate.toml",
        "[http]\nlisten = [\"127.0.0.1:0\"]\n[router]\nlisten = \"x\"\n",
    );

    // A bad configuration ends it.
    let bad = Running::start(&["serve"], folder.path());
    let (status, output) = bad.ended();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("wampgate.toml:4:1"), "{output}");

    // A router that is not there: the gateway listens all the same.
    write(
        "wampgate.toml",
        "[http]\nlisten = [\"127.0.0.1:0\"]\n[router]\nurls = [\"ws://127.0.0.1:1/ws\"]\n",
    );
    let mut serve = Running::start(&["serve", "--log-format", "text"], folder.path());
    let line = serve.line("serving HTTP at http://");
    serve.has_line("specs/bad.json");
    let base = line
        .split_once("at ")
        .unwrap()
        .1
        .split_whitespace()
        .next()
        .unwrap();
    assert_eq!(shell(&format!("curl -s {base}/here")), r#""yes""#);
    let answer = shell(&format!("curl -s -i {base}/call --max-time 20"));
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let (status, output) = serve.end("TERM");
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("stopped"), "{output}");

    // Where each realm names its router, there is no other that would take a port.
    write("wampgate.toml", "[http]\nlisten = [\"127.0.0.1:0\"]\n");
    write(
        "realms/a.json",
        r#"{"uri": "com.a", "router": {"urls": ["ws://127.0.0.1:1/ws"]}}"#,
    );
    let mut serve = Running::start(&["serve", "--log-format", "text"], folder.path());
    serve.line("serving HTTP at http://");
    let (status, output) = serve.end("TERM");
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(!output.contains("embedded router"), "{output}");
}

#[test]
fn what_is_given_up_is_logged_and_a_second_signal_ends_everything_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for sub in ["specs", "realms"] {
        fs::create_dir(folder.path().join(sub)).unwrap();
    }
    fs::write(folder.path().join("realms/a.json"), r#"{"uri": "com.a"}"#).unwrap();
    fs::write(
        folder.path().join("specs/a.json"),
        r#"{"id": "a", "host": "_", "realm_uri": "com.a", "versions": {"1": {"base_path": "/",
            "paths": {"/call": {"get": {"action": {"type": "wamp_call", "procedure": "com.a.b",
                "timeout": 60000, "connect_timeout": 60000}}}}}}}"#,
    )
    .unwrap();
    let args = ["--listen", "127.0.0.1:0", "--router", "ws://127.0.0.1:1/ws"];
    let log = ["--log-format", "text"];
    let mut serve = Running::start(&[&["serve"][..], &args, &log].concat(), folder.path());
    let line = serve.line("serving HTTP at http://");
    let (_, base) = line.split_once("at ").unwrap();
    let url = format!("{}/call", base.split_whitespace().next().unwrap());

    // This client does not wait for the session that never comes.
    let impatient = Command::new("curl")
        .args(["-s", "--max-time", "0.3", &url])
        .status();
    assert_eq!(impatient.unwrap().code(), Some(28));
    serve.line("GET /call 499 in");

    let mut patient = Command::new("curl")
        .args(["-s", "--max-time", "60", "--verbose", &url])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(patient.stderr.take().unwrap()).lines();
    let mut said = said.map_while(Result::ok);
    assert!(said.any(|line| line.starts_with("> GET")));
    serve.signal("TERM");
    serve.line("SIGTERM: stopping; a second signal ends at once");
    let (status, output) = serve.end("TERM");
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("ended before everything"), "{output}");
    // No answer, or a reset.
    assert!(matches!(patient.wait().unwrap().code(), Some(52 | 56)));
}

impl Running {
    /// Waits for an end that nobody asked for.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        (self.child.wait().unwrap(), self.seen.join("\n"))
    }
}

#[test]
fn sighup_reads_the_configuration_again_as_far_as_it_can_change() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let spec = |text: &str| {
        format!(
            r#"{{"id": "x", "host": "_", "realm_uri": "com.a", "versions": {{"1": {{"base_path": "/",
                "paths": {{"/x": {{"get": {{"action": {{"type": "static", "body": "{text}"}}}}}}}}}}}}}}"#
        )
    };
    let settings = |more: &str| {
        let http =
            "[http]\nlisten = [\"127.0.0.1:0\"]\n[router]\nurls = [\"ws://127.0.0.1:1/ws\"]\n";
        write("wampgate.toml", &format!("{http}{more}"));
    };
    settings("");
    write("realms/a.json", r#"{"uri": "com.a"}"#);
    write("specs/x.json", &spec("one"));
    write("others/x.json", &spec("two"));
    let mut serve = Running::start(&["serve", "--log-format", "text"], folder.path());
    let line = serve.line("serving HTTP at http://");
    let base = line
        .split_once("at ")
        .unwrap()
        .1
        .split_whitespace()
        .next()
        .unwrap();
    let get = || shell(&format!("curl -s {base}/x"));
    assert_eq!(get(), r#""one""#);

    settings("[log]\nlevl = \"debug\"\n");
    serve.signal("HUP");
    serve.line("unknown key `levl`");
    serve.line("stays as it was");
    assert_eq!(get(), r#""one""#);

    settings("[log]\nlevel = \"debug\"\n[specs]\ndir = \"others\"\n[admin]\nallow_remote = true\n");
    serve.signal("HUP");
    serve.line("`admin.allow_remote` has changed: that needs a restart");
    serve.line("table 2: 1 route");
    assert_eq!(get(), r#""two""#);
    // The folder is watched in the place of the other, and the level is another.
    write("others/x.json", "{");
    serve.line("others/x.json:1:2: error[D001]");
    serve.line("table 2: 1 route, 1 spec rejected");
    write("others/x.json", &spec("three"));
    serve.line("table 3: 1 route");
    assert_eq!(get(), r#""three""#);

    settings("[log]\nlevel = \"debug\"\n[specs]\ndir = \"othres\"\n");
    serve.signal("HUP");
    serve.line("othres is no folder, so it stays");
    write("others/x.json", &spec("four"));
    serve.line("table 4: 1 route");
    assert_eq!(get(), r#""four""#);
    let (status, output) = serve.end("TERM");
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("DEBUG"), "{output}");
}
