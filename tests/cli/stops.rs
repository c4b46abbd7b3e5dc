//! How `serve` starts and ends, and what its router, its clients and its service manager see of it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::PROGRAM;
use crate::clients::{Lifeline, World, until};
use crate::processes::{PATIENCE, Running};

const SPEC: &str = r#"{"id": "a", "host": "_", "realm_uri": "com.a", "versions": {"1": {"base_path": "/",
    "paths": {"/here": {"get": {"action": {"type": "static", "body": "yes"}}},
              "/slow": {"get": {"action": {"type": "wamp_call", "procedure": "com.a.slow",
                  "timeout": 3600000}}}}}}}"#;

/// A folder with a realm, a spec with a fixed answer and a call, and this configuration.
fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("realms/a.json", r#"{"uri": "com.a"}"#);
    write("specs/a.json", SPEC);
    write("wampgate.toml", config);
    folder
}

/// A gateway in a process of its own.
struct Serve {
    running: Running,
    address: SocketAddr,
    admin: SocketAddr,
    _folder: TempDir,
}

impl Serve {
    fn start(http: &str, router: &str) -> Self {
        Self::start_with(http, router, |_| {})
    }

    fn start_with(http: &str, router: &str, change: impl FnOnce(&mut Command)) -> Self {
        let folder = folder(&format!(
            "[http]\nlisten = ['127.0.0.1:0']\n{http}\n[router]\nurls = ['{router}']\n\
             serializers = ['json']\nsessions = 1\n[log]\nformat = 'text'\n"
        ));
        let mut command = Command::new(PROGRAM);
        command.arg("serve").current_dir(folder.path());
        // Not the variable that makes other tests quick: the file says it.
        let min_drain = http
            .lines()
            .find_map(|line| line.strip_prefix("min_drain = "));
        let min_drain = min_drain.map_or("0s", |text| text.trim_matches('\''));
        command.env("WAMPGATE_HTTP__MIN_DRAIN", min_drain);
        change(&mut command);
        let mut running = Running::spawn(&mut command);
        let mut address = |announced: &str| {
            let line = running.line(announced);
            let (_, rest) = line.split_once("at http://").unwrap();
            rest.split_whitespace().next().unwrap().parse().unwrap()
        };
        let address_of_http = address("serving HTTP at http://");
        let admin = address("serving the admin API at http://");
        Self {
            running,
            address: address_of_http,
            admin,
            _folder: folder,
        }
    }

    fn connect(&self) -> Connection {
        Connection::to(self.address)
    }

    /// What the admin API says of readiness.
    fn is_ready(&self) -> bool {
        let head = Connection::to(self.admin).get("/readyz");
        let is_ready = head.starts_with("http/1.1 204");
        assert!(is_ready || head.starts_with("http/1.1 503"), "{head}");
        is_ready
    }
}

/// A connection of an HTTP client.
struct Connection(TcpStream);

impl Connection {
    fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn send(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.0.write_all(request.as_bytes()).unwrap();
    }

    /// Reads one answer, and returns its head in small letters.
    fn answer(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        // A 204 has none.
        if let Some((_, length)) = head.split_once("content-length: ") {
            let length = length.lines().next().unwrap().parse().unwrap();
            self.0.read_exact(&mut vec![0; length]).unwrap();
        }
        head
    }

    fn get(&mut self, path: &str) -> String {
        self.send(path);
        self.answer()
    }

    /// Waits until the other side closes, and returns what came before that.
    fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        rest
    }
}

/// A router on RawSocket that lets one session in, tells the test every message of it, and sends
/// what the test says.
struct FakeRouter {
    url: String,
    messages: Receiver<Value>,
    replies: Sender<Value>,
}

impl FakeRouter {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let (sender, messages) = mpsc::channel();
        let (replies, to_send) = mpsc::channel();
        // Both threads end with the session or with the test.
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut handshake = [0; 4];
            stream.read_exact(&mut handshake).unwrap();
            // The largest messages, JSON.
            stream.write_all(&[0x7f, 0xf1, 0, 0]).unwrap();
            let mut writer = stream.try_clone().unwrap();
            thread::spawn(move || {
                while let Ok(message) = to_send.recv() {
                    let message: Value = message;
                    let text = message.to_string();
                    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
                    let sent = writer.write_all(&[&length, text.as_bytes()].concat());
                    if sent.is_err() {
                        return;
                    }
                }
            });
            let mut prefix = [0; 4];
            while stream.read_exact(&mut prefix).is_ok() {
                let mut text = vec![0; u32::from_be_bytes(prefix) as usize];
                stream.read_exact(&mut text).unwrap();
                let message = serde_json::from_slice(&text).unwrap();
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self {
            url,
            messages,
            replies,
        }
    }

    fn next(&self) -> Value {
        self.messages.recv_timeout(PATIENCE).expect("a message")
    }

    fn reply(&self, message: Value) {
        self.replies.send(message).unwrap();
    }

    fn welcome(&self) {
        assert_eq!(self.next()[0], 1, "HELLO");
        let features = json!({"features": {"call_canceling": true}});
        let roles = json!({"dealer": features, "broker": {}});
        self.reply(json!([2, 7, {"roles": roles}]));
    }

    /// Waits for a CALL, and returns the id of its request.
    fn called(&self) -> Value {
        let call = self.next();
        assert_eq!(call[0], 48, "CALL: {call}");
        call[1].clone()
    }

    fn part(&self) {
        let goodbye = self.next();
        assert_eq!(goodbye[0], 6, "GOODBYE: {goodbye}");
        self.reply(json!([6, {}, "wamp.close.goodbye_and_out"]));
    }
}

#[test]
fn an_address_that_cannot_be_had_ends_it_and_the_manager_is_not_told_ready() {
    let folder = folder("[router]\nurls = ['ws://127.0.0.1:1/ws']\n[log]\nformat = 'text'\n");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    for (address, reason) in [
        (taken.as_str(), "the address is in use by another process"),
        ("192.0.2.1:0", "this machine has no such address"),
    ] {
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "--listen", address])
            .current_dir(folder.path())
            .env("NOTIFY_SOCKET", &path);
        let (status, output) = Running::spawn(&mut command).ended();
        assert_eq!(status.code(), Some(1), "{output}");
        let expected = format!("error: cannot listen on {address}: {reason}");
        assert!(output.contains(&expected), "{output}");
    }
    manager.set_nonblocking(true).unwrap();
    assert!(manager.recv(&mut [0; 64]).is_err());
}

#[test]
fn after_sigterm_requests_are_served_for_a_while_and_clients_sent_elsewhere() {
    let router = FakeRouter::start();
    let mut serve = Serve::start("min_drain = '1h'", &router.url);
    router.welcome();
    let mut kept = serve.connect();
    assert!(!kept.get("/here").contains("connection:"));
    let mut slow = serve.connect();
    slow.send("/slow");
    let request = router.called();
    // Its session is ready, so it is.
    assert!(serve.is_ready());

    serve.running.signal("TERM");
    serve.running.line("accepting requests for another 3600s");
    assert!(!serve.is_ready());
    let last = |head: String| {
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("connection: close\r\n"), "{head}");
    };
    last(serve.connect().get("/here"));
    last(kept.get("/here"));
    assert!(kept.rest().is_empty());
    router.reply(json!([50, request, {}, ["done"]]));
    last(slow.answer());
    assert!(slow.rest().is_empty());

    let (status, output) = serve.running.end("TERM");
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("ended before everything"), "{output}");
}

#[test]
fn then_nobody_is_accepted_and_what_is_in_flight_is_answered() {
    let router = FakeRouter::start();
    let mut serve = Serve::start("drain_timeout = '1h'", &router.url);
    router.welcome();
    let mut idle = serve.connect();
    idle.get("/here");
    let mut slow = serve.connect();
    slow.send("/slow");
    let request = router.called();

    serve.running.signal("TERM");
    serve.running.line("accepting no more");
    assert!(idle.rest().is_empty());
    // Who stands in the kernel's queue at that moment is still taken.
    until(|| TcpStream::connect(serve.address).is_err().then_some(()));
    // Who wants to know why can still ask.
    assert!(!serve.is_ready());

    router.reply(json!([50, request, {}, ["done"]]));
    let head = slow.answer();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("connection: close\r\n"), "{head}");
    router.part();
    let (status, output) = serve.running.ended();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("leaving the routers"), "{output}");
    assert!(output.contains("stopped"), "{output}");
}

#[test]
fn what_does_not_end_in_time_is_canceled_before_the_goodbye() {
    let router = FakeRouter::start();
    let serve = Serve::start("drain_timeout = '50ms'", &router.url);
    router.welcome();
    let mut slow = serve.connect();
    slow.send("/slow");
    let request = router.called();

    serve.running.signal("TERM");
    let cancel = router.next();
    assert_eq!((&cancel[0], &cancel[1]), (&json!(49), &request), "CANCEL");
    router.part();
    assert!(slow.rest().is_empty());
    let (status, output) = serve.running.ended();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(
        output.contains("at the end of the drain time: 1"),
        "{output}"
    );
    assert!(output.contains("GET /slow 499 in"), "{output}");
}

#[test]
fn a_callee_is_interrupted_when_its_call_is_cut() {
    let world = World::new();
    let path = world.folder.path().join("pipe");
    let pipe = Lifeline::new(&path);
    let program = "--exec sh -c 'exec 3> pipe; echo begun >&3; exec sleep 1000'";
    let callee = world.start(&format!("register com.a.slow {program}"));
    let serve = Serve::start("drain_timeout = '50ms'", &world.url);
    let mut slow = serve.connect();
    slow.send("/slow");
    pipe.has_begun();

    let (status, output) = serve.running.end("TERM");
    assert_eq!(status.code(), Some(0), "{output}");
    pipe.has_ended();
    assert_eq!(callee.end("TERM").0.code(), Some(0));
}

#[test]
fn the_service_manager_hears_of_start_life_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let router = FakeRouter::start();
    let http = "min_drain = '200ms'\ndrain_timeout = '3s'";
    let serve = Serve::start_with(http, &router.url, |command| {
        command.env("NOTIFY_SOCKET", &path);
        command.env("WATCHDOG_USEC", "400000");
    });
    router.welcome();
    let told = || {
        let mut buffer = [0; 4096];
        let count = manager.recv(&mut buffer).expect("a message");
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    let next_but_watchdog = || until(|| Some(told()).filter(|it| it != "WATCHDOG=1\n"));
    assert_eq!(next_but_watchdog(), "READY=1\nSTATUS=2 routes\n");
    // Two of them: it goes on.
    for _ in 0..2 {
        until(|| Some(told()).filter(|it| it == "WATCHDOG=1\n"));
    }

    // The time that an end may take covers all that it is made of.
    serve.running.signal("TERM");
    let stopping = |micros: u64| format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\n");
    assert_eq!(next_but_watchdog(), stopping(18_200_000));
    assert_eq!(next_but_watchdog(), stopping(18_000_000));
    router.part();
    let (status, output) = serve.running.ended();
    assert_eq!(status.code(), Some(0), "{output}");
}
