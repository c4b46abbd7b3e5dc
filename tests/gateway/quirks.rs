//! A scripted router plays what real ones were seen to do, row by row: what the HTTP client sees,
//! what the router is told, and that the pool recovers.
//!
//! Each file in `quirks/` is the table's column of one router, each case in it a transcript. A case
//! begins with `=== ` and its name; lines that begin with `#` say what it is about. Then come steps,
//! one per line, in the order of time:
//!
//! ```text
//! with KEY VALUE      a setting of the realm's router: see `configured`
//! welcome [DETAILS]   takes the next connection and opens the session that it asks for
//! accept              takes the next connection and says nothing on it yet
//! answer HEX          answers the next connection's handshake by these bytes and hangs up
//! refuse STATUS       answers the next connection's handshake by a status of HTTP
//! hang-up             takes the next connection and drops it
//! ask METHOD PATH [BODY]   a request of an HTTP client
//! > FRAME             the router says this; `>2 FRAME` in a binary frame, `>+ FRAME` in two pieces
//! < FRAME             the router hears this; `closed` is the end of the connection
//! bytes HEX           the router writes what need not be a frame
//! close [CODE [REASON]]   the router closes the connection
//! ready               waits until the session is open
//! written N           waits until N requests have been written and not answered
//! cut                 the router's end vanishes: the system closes the connection, nobody speaks
//! deaf                the router reads and says nothing more, but the connection stays
//! drain               the gateway's sessions leave; a case that does so has no recovery
//! = ANSWER            the client that asked first gets this: status and body, of a problem the code
//! pool ...            ends the case: what the pool tells
//! ```
//!
//! In what is said, `$N` stands for a text of so many bytes and `$[N` for so many lists in each other.
//!
//! After the last step the router behaves, and another request must get its own answer; then nothing
//! may be in flight or pending. What is heard (`<`), answered (`=`) and told (`pool`) is compared
//! with the text; `UPDATE_CASES=1` writes what happens into the file.
//!
//! Reference: "Router quirks that a pooled client must survive" of the WAMP reference.

mod wire;

use std::collections::VecDeque;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use wampgate::app::App;
use wampgate::uri::UriCheck;
use wampgate::value::Value;
use wampgate::wamp::auth::{Auth, Secret};
use wampgate::wamp::config::{Reconnect, RouterConfig};
use wampgate::wamp::error::chain;
use wampgate::wamp::pool::{Pool, PoolState, PoolStatus, SessionState};
use wampgate::wamp::serializer::Serializer;

use crate::http::{Answer, Http, PATIENCE};
use crate::support::{REALM, plan, sessions};
use wire::{Port, Wire};

const SPEC: &str = r#"{
    "id": "test", "host": "_", "realm_uri": "com.test",
    "variables": {
        "timeout": "{{request.query_params |> get(t, 60000) |> integer}}",
        "connect_timeout": "{{request.query_params |> get(c, 8000) |> integer}}"
    },
    "versions": {"1": {"base_path": "/", "paths": {
        "/call/:p": {"post": {"action": {
            "type": "wamp_call", "procedure": "com.test.{{request.bindings.p}}", "args": ["{{request.body}}"],
            "options": "{{request.query_lists |> with([option])}}",
            "timeout": "{{variables.timeout}}", "connect_timeout": "{{variables.connect_timeout}}"}}},
        "/bare/:p": {"post": {"action": {
            "type": "wamp_call", "procedure": "com.test.{{request.bindings.p}}"}}},
        "/tell/:p": {"post": {
            "action": {
                "type": "wamp_call", "procedure": "com.test.{{request.bindings.p}}",
                "timeout": "{{variables.timeout}}", "connect_timeout": "{{variables.connect_timeout}}"},
            "response": {
                "on_result": {"body": "{{action.result}}"},
                "on_error": {"body": "{{action.error}}",
                    "status_code": "{{action.error.status_code}}"}}}},
        "/publish/:t": {"post": {"action": {
            "type": "wamp_publish", "topic": "com.test.{{request.bindings.t}}", "args": ["{{request.body}}"],
            "timeout": "{{variables.timeout}}", "connect_timeout": "{{variables.connect_timeout}}"}}}
    }}}
}"#;

/// All that our client acts on.
const FEATURES: &str = r#"{"roles":{"dealer":{"features":{"call_canceling":true}},"broker":{}}}"#;

#[tokio::test]
async fn crossbar() {
    play("crossbar").await;
}

#[tokio::test]
async fn xconn() {
    play("xconn").await;
}

#[tokio::test]
async fn fox() {
    play("fox").await;
}

#[tokio::test]
async fn battler() {
    play("battler").await;
}

#[tokio::test]
async fn rawsocket() {
    play("rawsocket").await;
}

#[tokio::test]
async fn others() {
    play("others").await;
}

/// Plays all cases of one file and compares.
async fn play(file: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/quirks");
    let path = folder.join(file).with_extension("txt");
    let text = fs::read_to_string(&path).unwrap();
    let (head, cases) = text.split_once("=== ").expect("a case");
    let mut written = head.to_owned();
    let mut wrong = Vec::new();
    for case in cases.split("\n=== ") {
        let case = case.trim_end();
        let name = case.lines().next().unwrap_or_default();
        let named = Named(name);
        let last = case.lines().last().unwrap_or_default();
        assert!(last.starts_with("pool"), "the case does not end: {last}");
        let found = run(case).await;
        drop(named);
        if found != case {
            let differences = difference(case, &found);
            wrong.push(format!("{file}.txt: {name}\n{differences}"));
        }
        write!(written, "=== {found}\n\n").unwrap();
    }
    if update() {
        fs::write(path, format!("{}\n", written.trim_end())).unwrap();
    } else {
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }
}

/// Says which case it was that panicked.
struct Named<'c>(&'c str);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the case: {}", self.0);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own switch")]
fn update() -> bool {
    std::env::var_os("UPDATE_CASES").is_some()
}

/// Shows the lines of a case, and beside those that came out differently what they say.
fn difference(expected: &str, found: &str) -> String {
    let mut shown = String::new();
    let mut found = found.lines();
    for line in expected.lines() {
        let found = found.next().unwrap_or("(nothing)");
        writeln!(shown, "    {line}").unwrap();
        if found != line {
            writeln!(shown, "  ! {found}").unwrap();
        }
    }
    for line in found {
        writeln!(shown, "  ! {line}").unwrap();
    }
    shown
}

/// Plays one case. Returns it as it came out.
async fn run(case: &str) -> String {
    let settings = case.lines().filter_map(|line| line.strip_prefix("with "));
    let mut stage = Stage::set(settings).await;
    let mut lines = Vec::new();
    let mut hangs = false;
    for (number, line) in case.lines().enumerate() {
        let is_step = number > 0 && !line.starts_with('#') && !line.starts_with("with ");
        // What follows a step that hangs would hang too.
        if !is_step || hangs {
            lines.push(line.to_owned());
            continue;
        }
        match timeout(PATIENCE, stage.play(line)).await {
            Ok(None) => lines.push(line.to_owned()),
            Ok(Some(observed)) => lines.push(observed),
            Err(_) => {
                hangs = true;
                lines.push(format!("{line} (nothing happens)"));
            }
        }
    }
    lines.join("\n")
}

/// A gateway, an HTTP client, and the router's end between them.
struct Stage {
    http: Http,
    pool: Pool,
    port: Port,
    wire: Option<Wire>,
    /// Connections on which nothing happens any more.
    deaf: Vec<Wire>,
    /// What was asked and not looked at yet, the first first.
    asked: VecDeque<oneshot::Receiver<Answer>>,
    tasks: JoinSet<()>,
    is_drained: bool,
    _app: App,
}

impl Stage {
    async fn set<'c>(settings: impl Iterator<Item = &'c str> + Clone) -> Self {
        let raw_length = settings
            .clone()
            .find_map(|setting| setting.strip_prefix("rawsocket "))
            .map(|length| length.parse().expect("0 to 15"));
        let port = Port::open(raw_length);
        let mut plan = plan(SPEC, port.url.as_str().into());
        let sessions = sessions(&mut plan);
        *sessions = configured(sessions.clone(), settings);
        let app = App::start(plan).await.expect("a free port");
        let pool = app.gateway().pools.get(REALM).expect("a pool");
        Self {
            http: Http::to(app.local_addrs()[0]),
            pool,
            port,
            wire: None,
            deaf: Vec::new(),
            asked: VecDeque::new(),
            tasks: JoinSet::new(),
            is_drained: false,
            _app: app,
        }
    }

    /// Plays one step. Returns what it observed, if it is a step that does.
    async fn play(&mut self, line: &str) -> Option<String> {
        let (step, rest) = line.split_once(' ').unwrap_or((line, ""));
        match step {
            "welcome" => {
                let details = if rest.is_empty() { FEATURES } else { rest };
                self.welcome(details).await;
            }
            "accept" => self.wire = Some(self.port.accept().await.expect("a handshake")),
            "refuse" => self.port.refuse(rest).await,
            "hang-up" => self.port.hang_up().await,
            "ask" => self.ask(rest),
            ">" => self.wire().say(&filled(rest)).await,
            ">2" => self.wire().say_binary(rest).await,
            ">+" => self.wire().say_in_pieces(rest).await,
            "<" => {
                let heard = self.wire().next().await;
                let shown = heard.map_or_else(|| "closed".to_owned(), |frame| shown(&frame));
                return Some(format!("< {shown}"));
            }
            "answer" => self.port.answer(&bytes(rest)).await,
            "bytes" => self.wire().write(&bytes(rest)).await,
            "close" => {
                let close = (!rest.is_empty()).then(|| {
                    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
                    (code.parse().unwrap(), reason.to_owned())
                });
                self.wire().close(close).await;
            }
            "cut" => self.wire = None,
            "ready" => self.pool.ready(PATIENCE).await.expect("a session"),
            "written" => self.written(rest.parse().unwrap()).await,
            "deaf" => self.deaf.extend(self.wire.take()),
            "drain" => {
                let pool = self.pool.clone();
                self.tasks.spawn(async move { pool.drain(PATIENCE).await });
                self.is_drained = true;
            }
            "=" => {
                let answer = self.asked.pop_front().expect("somebody has asked");
                return Some(format!("= {}", render(&answer.await.expect("an answer"))));
            }
            "pool" => return Some(self.end().await),
            "" => {}
            _ => panic!("no step: {line}"),
        }
        None
    }

    fn wire(&mut self) -> &mut Wire {
        self.wire.as_mut().expect("a connection")
    }

    async fn welcome(&mut self, details: &str) {
        let mut wire = self.port.accept().await.expect("a handshake");
        let hello = wire.next().await.expect("HELLO");
        assert!(hello.starts_with("[1,"), "{hello}");
        wire.say(&format!("[2,4711,{details}]")).await;
        self.wire = Some(wire);
    }

    /// Waits until the session has written so many requests that are not answered.
    async fn written(&self, count: usize) {
        while self.pool.status().sessions[0].pending != count {
            tokio::task::yield_now().await;
        }
    }

    fn ask(&mut self, request: &str) {
        let mut parts = request.splitn(3, ' ');
        let method = parts.next().unwrap().to_owned();
        let path = parts.next().expect("a path").to_owned();
        let body = filled(parts.next().unwrap_or_default());
        let (sender, answer) = oneshot::channel();
        let http = self.http.clone();
        self.tasks.spawn(async move {
            drop(sender.send(http.json(&method, &path, &body).await));
        });
        self.asked.push_back(answer);
    }

    /// The router behaves from now on: the next request is answered, and nothing is left of before.
    async fn end(&mut self) -> String {
        assert!(self.asked.is_empty(), "an answer is not looked at");
        if self.is_drained {
            while self.tasks.join_next().await.is_some() {}
        } else {
            let http = self.http.clone();
            let asking = http.json("POST", "/call/recovered", "\"mine\"");
            let answer = tokio::select! {
                answer = asking => answer,
                () = self.behave() => unreachable!("a router never ends"),
            };
            assert_eq!(answer.show(), r#"200 "mine""#);
            self.written(0).await;
        }
        let status = self.pool.status();
        let in_flight: usize = status
            .sessions
            .iter()
            .map(|session| session.in_flight)
            .sum();
        assert_eq!(in_flight, 0, "{status:?}");
        tell(&status)
    }

    /// Serves whatever session there is as a good router would, for ever.
    async fn behave(&mut self) {
        loop {
            let Some(wire) = &mut self.wire else {
                self.welcome(FEATURES).await;
                continue;
            };
            let Some(frame) = wire.next().await else {
                self.wire = None;
                continue;
            };
            let message: Value = serde_json::from_str(&frame).unwrap();
            let message = message.as_list().unwrap();
            match message[0].as_u64() {
                Some(1) => wire.say(&format!("[2,4711,{FEATURES}]")).await,
                Some(48) => {
                    let result = format!("[50,{},{{}},{}]", message[1], message[4]);
                    wire.say(&result).await;
                }
                // CANCEL, ABORT, ...: what is left of before.
                _ => {}
            }
        }
    }
}

/// Applies what a case says about the realm's router.
fn configured<'c>(config: RouterConfig, settings: impl Iterator<Item = &'c str>) -> RouterConfig {
    let mut config = RouterConfig {
        serializers: vec![Serializer::Json],
        sessions: 1,
        heartbeat: None,
        reconnect: Reconnect {
            min: Duration::from_millis(1),
            max: Duration::from_millis(5),
        },
        ..config
    };
    for setting in settings {
        let (key, value) = setting.split_once(' ').expect("a key and a value");
        match key {
            // In milliseconds.
            "heartbeat" => config.heartbeat = Some(Duration::from_millis(value.parse().unwrap())),
            "connect-timeout" => {
                config.connect_timeout = Duration::from_millis(value.parse().unwrap());
            }
            "limit" => config.max_message_bytes = value.parse().unwrap(),
            // The router's: see `Port::open`.
            "rawsocket" => {}
            "uri-check" => config.uri_check = UriCheck::Strict,
            "ticket" => {
                config.auth = Auth::Ticket {
                    authid: "bob".to_owned(),
                    secret: Secret::text(value),
                };
            }
            _ => panic!("no setting: {key}"),
        }
    }
    config
}

/// Reads bytes in hexadecimal.
fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.split(' ');
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// Writes out what would make a transcript hard to read: see the top of this file.
fn filled(text: &str) -> String {
    let Some((before, rest)) = text.split_once('$') else {
        return text.to_owned();
    };
    let (is_list, rest) = match rest.strip_prefix('[') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (count, after) = rest.split_at(end);
    let count = count.parse().expect("a count");
    let filling = if is_list {
        "[".repeat(count) + &"]".repeat(count)
    } else {
        format!("\"{}\"", "x".repeat(count))
    };
    format!("{before}{filling}{after}")
}

/// Shortens what would make a transcript hard to read, and hides what differs from run to run.
fn shown(frame: &str) -> String {
    const TIMEOUT: &str = "\"timeout\":";
    if frame.starts_with("[1,") {
        return "HELLO".to_owned();
    }
    if frame.len() > 300 {
        return format!("{}... {} bytes", &frame[..40], frame.len());
    }
    match frame.split_once(TIMEOUT) {
        Some((before, after)) => {
            let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}{TIMEOUT}...{after}")
        }
        None => frame.to_owned(),
    }
}

fn render(answer: &Answer) -> String {
    let is_problem = answer.header("content-type") == "application/problem+json";
    let mut text = if is_problem {
        let code = answer.member("code");
        let status = answer.status.as_u16();
        assert_eq!(answer.member("status"), Value::from(u64::from(status)));
        format!("{status} problem {}", code.as_text().unwrap())
    } else {
        answer.show()
    };
    if !answer.header("retry-after").is_empty() {
        write!(text, ", retry after {}", answer.header("retry-after")).unwrap();
    }
    text
}

/// Shows what a pool of one session tells, without what is zero.
fn tell(status: &PoolStatus) -> String {
    let session = &status.sessions[0];
    let mut told = match status.state {
        PoolState::Ready => "pool ready".to_owned(),
        PoolState::Draining if session.state == SessionState::Closed => "pool closed".to_owned(),
        other => format!("pool {other:?}"),
    };
    let dropped = &session.dropped;
    for (count, name) in [
        (session.reconnects, "reconnects"),
        (dropped.late, "late"),
        (dropped.malformed, "malformed"),
        (dropped.unsolicited, "unsolicited"),
        (dropped.events, "events"),
        (session.tombstones as u64, "tombstones"),
    ] {
        if count > 0 {
            write!(told, ", {count} {name}").unwrap();
        }
    }
    if let Some(error) = &session.last_error {
        write!(told, "; {}", same_in_each_run(&chain(error))).unwrap();
    }
    told
}

/// Returns an error without the router's port, the system's words and durations.
fn same_in_each_run(error: &str) -> String {
    let mut error = error.to_owned();
    // What a vanished peer looks like depends on what it had not read.
    for system in [
        "Connection reset by peer (os error 104)",
        "Broken pipe (os error 32)",
    ] {
        error = error.replace(system, "connection reset");
    }
    for (start, end) in [("ws://", "/ws"), ("tcp://", ": "), (", for ", " now")] {
        if let Some(from) = error.find(start)
            && let Some(length) = error[from..].find(end)
        {
            error.replace_range(from..from + length + end.len(), "");
        }
    }
    error
}
