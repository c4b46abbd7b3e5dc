//! What Prometheus reads: of real traffic, through the admin API.
//!
//! The families are documented in `docs/operations.md`, which is made from a scrape:
//! `UPDATE_DOCS=1 cargo test --test gateway metrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::{fs, str};

use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use wampgate::admin::token::Token;
use wampgate::app::AdminPlan;
use wampgate::gateway::table::RouteTable;
use wampgate::listener;
use wampgate::telemetry::metrics::Format;
use wampgate::value::Map;
use wampgate::wamp::error::ApplicationError;

use crate::http::{Http, PATIENCE};
use crate::support::{REALM, TestGateway, result, routes};

/// One route of each kind.
const PATHS: &str = r#"{
    "/items/:id": {
        "get": {"action": {"type": "wamp_call", "procedure": "com.test.get",
            "args": ["{{request.bindings.id}}"]}},
        "post": {"action": {"type": "wamp_publish", "topic": "com.test.made",
            "options": {"acknowledge": true}}}},
    "/slow": {"get": {"action": {"type": "wamp_call", "procedure": "com.test.slow"}}},
    "/late": {"get": {"action": {"type": "wamp_call", "procedure": "com.test.slow",
        "timeout": 10, "retries": 0}}},
    "/bad": {"get": {"action": {"type": "wamp_call", "procedure": "com.test. {{request.id}}"}}},
    "/fixed": {"get": {"action": {"type": "static", "body": {"a": 1}}}}
}"#;

struct Metered {
    gateway: TestGateway,
    admin: Http,
    token: String,
    /// A call of the slow procedure has reached it.
    slow: Arc<Notify>,
    _folder: TempDir,
}

impl Metered {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("admin.token");
        let plan = AdminPlan {
            listener: listener::Config {
                listen: vec!["127.0.0.1:0".to_owned()],
                ..listener::Config::default()
            },
            token: Token::at(&file).unwrap(),
            allow_remote: false,
            allow_calls: false,
        };
        let token = fs::read_to_string(&file).unwrap().trim().to_owned();
        let mut gateway =
            TestGateway::changed(&spec(PATHS), |whole| whole.admin = Some(plan)).await;
        let slow = Arc::new(Notify::new());
        let reached = slow.clone();
        gateway.callee.register("com.test.get", answer).await;
        let pending = move |_| {
            reached.notify_one();
            std::future::pending()
        };
        gateway.callee.register("com.test.slow", pending).await;
        let admin = Http::to(gateway.app.admin_addr().unwrap());
        Self {
            gateway,
            admin,
            token,
            slow,
            _folder: folder,
        }
    }

    /// Good requests and each way in which one can end otherwise.
    async fn traffic(&self) {
        let http = &self.gateway.http;
        for (expected, method, path) in [
            (200, "GET", "/items/7"),
            (200, "GET", "/items/8"),
            (200, "HEAD", "/items/9"),
            (500, "GET", "/items/broken"),
            (200, "POST", "/items/7"),
            (204, "OPTIONS", "/items/7"),
            (405, "DELETE", "/items/7"),
            (504, "GET", "/late"),
            (400, "GET", "/bad"),
            (200, "GET", "/fixed"),
            (404, "GET", "/nothing"),
            (404, "BREW", "/coffee"),
        ] {
            let answer = http.send(method, path, &[], "").await;
            assert_eq!(answer.status.as_u16(), expected, "{method} {path}");
        }
        // The one of `/late` has reached it too.
        self.slow.notified().await;
        let mut request = JoinSet::new();
        let client = http.clone();
        request.spawn(async move { client.get("/slow").await });
        let reached = tokio::time::timeout(PATIENCE, self.slow.notified());
        reached.await.expect("the call");
        request.shutdown().await;
        // The gateway learns that the client is gone when it looks at the connection.
        let gone = "route=\"/slow\",method=\"GET\",status=\"499\"} 1";
        let seen = async {
            while !self.text().contains(gone) {
                tokio::task::yield_now().await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        seen.expect("the request that was given up");
    }

    /// A scrape without the way over HTTP.
    fn text(&self) -> String {
        let metrics = &self.gateway.app.gateway().metrics;
        metrics.scrape(Format::Prometheus)
    }

    async fn scrape(&self) -> String {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", &*bearer)];
        let answer = self.admin.send("GET", "/metrics", &headers, "").await;
        assert_eq!(answer.status, 200);
        String::from_utf8(answer.body.to_vec()).unwrap()
    }
}

fn spec(paths: &str) -> String {
    format!(
        r#"{{"id": "test", "host": "_", "realm_uri": "{REALM}",
            "versions": {{"1": {{"base_path": "/", "paths": {paths}}}}}}}"#
    )
}

async fn answer(
    call: wampgate::wamp::client::Invocation,
) -> Result<wampgate::wamp::message::Payload, ApplicationError> {
    let (args, _) = call.payload.into_parts();
    if args[0].as_text() == Some("broken") {
        let error = ApplicationError::new("com.test.error.broken", Vec::new(), Map::new());
        return Err(error);
    }
    result(1_i64)
}

/// The lines of a family's samples that have all of `parts`.
fn samples<'t>(text: &'t str, parts: &[&str]) -> Vec<&'t str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let matching = lines.filter(|line| parts.iter().all(|part| line.contains(part)));
    matching.collect()
}

#[tokio::test]
async fn every_request_is_counted_as_what_it_was() {
    let metered = Metered::start().await;
    metered.traffic().await;
    let text = metered.scrape().await;
    let requests = samples(&text, &["wampgate_http_requests_total"]);
    let shown: Vec<_> = requests
        .iter()
        .map(|line| line.split_once("route=").unwrap().1)
        .collect();
    assert_eq!(
        shown,
        [
            r#""_unmatched",method="GET",status="404"} 1"#,
            r#""_unmatched",method="DELETE",status="405"} 1"#,
            r#""_unmatched",method="_OTHER",status="404"} 1"#,
            r#""/bad",method="GET",status="400"} 1"#,
            r#""/fixed",method="GET",status="200"} 1"#,
            r#""/items/:id",method="GET",status="200"} 2"#,
            r#""/items/:id",method="GET",status="500"} 1"#,
            r#""/items/:id",method="HEAD",status="200"} 1"#,
            r#""/items/:id",method="POST",status="200"} 1"#,
            r#""/items/:id",method="OPTIONS",status="204"} 1"#,
            r#""/late",method="GET",status="504"} 1"#,
            r#""/slow",method="GET",status="499"} 1"#,
        ]
    );
    assert!(requests[3].contains(r#"{api="test",version="1",realm="com.test",route"#));
    let calls = samples(&text, &["wampgate_wamp_calls_total"]);
    let shown: Vec<_> = calls
        .iter()
        .map(|line| line.split_once("route=").unwrap().1)
        .collect();
    assert_eq!(
        shown,
        [
            r#""/bad",method="GET",outcome="unsent",error_uri="wamp.error.invalid_uri"} 1"#,
            r#""/items/:id",method="GET",outcome="answered",error_uri=""} 2"#,
            r#""/items/:id",method="GET",outcome="error",error_uri="com.test.error.broken"} 1"#,
            r#""/items/:id",method="HEAD",outcome="answered",error_uri=""} 1"#,
            r#""/late",method="GET",outcome="timeout",error_uri="bondy.error.timeout"} 1"#,
            r#""/slow",method="GET",outcome="abandoned",error_uri=""} 1"#,
        ]
    );
    let one = |parts: &[&str]| {
        let found = samples(&text, parts);
        assert_eq!(found.len(), 1, "{parts:?}: {found:?}");
        found[0].rsplit_once(' ').unwrap().1.to_owned()
    };
    assert_eq!(one(&["wampgate_wamp_publishes_total", "answered"]), "1");
    assert_eq!(one(&["wampgate_wamp_session_up", REALM]), "1");
    assert_eq!(one(&["wampgate_wamp_sessions{", "\"ready\""]), "2");
    assert_eq!(one(&["wampgate_http_requests_in_flight", "/slow"]), "0");
    let duration = ["request_duration_seconds_count", "/items/:id", "GET", "2xx"];
    assert_eq!(one(&duration), "2");
    let body = ["response_body_size_bytes_sum", "/fixed"];
    assert_eq!(one(&body), "7.0", "the length of its JSON");
    let body = ["response_body_size_bytes_sum", "/items/:id", "HEAD"];
    assert_eq!(one(&body), "0.0");
    metered.gateway.stop().await;
}

#[tokio::test]
async fn nothing_that_a_client_chooses_makes_a_series() {
    let metered = Metered::start().await;
    let http = &metered.gateway.http;
    let methods = [
        "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW",
    ];
    // What there is after one of each.
    for method in methods {
        http.send(method, "/items/1", &[], "").await;
        http.send(method, "/nothing", &[], "").await;
    }
    let names = |text: &str| -> BTreeSet<String> {
        let names = samples(text, &[]).into_iter();
        let names = names.map(|line| line.rsplit_once(' ').unwrap().0.to_owned());
        // A status or a class of durations that had not come yet is one more, once.
        names.filter(|name| !name.contains("_duration_")).collect()
    };
    let before = names(&metered.text());
    for number in 0..1000 {
        let odd = format!("X{}", fastrand::u32(..));
        let method = methods.get(number % 9).copied().unwrap_or(&odd);
        let path = match number % 3 {
            0 => format!("/items/{}", fastrand::u64(..)),
            1 => format!("/{}/{}?q={}", fastrand::u64(..), number, fastrand::u8(..)),
            _ => format!("/items/{}/{}", fastrand::u64(..), number),
        };
        let user = format!("Bearer {}", fastrand::u64(..));
        let headers = [
            ("authorization", &*user),
            ("user-agent", &*user),
            ("cookie", &*user),
            ("x-request-id", "mine"),
        ];
        http.send(method, &path, &headers, "").await;
    }
    let after = names(&metered.text());
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:?}");
    metered.gateway.stop().await;
}

#[tokio::test]
async fn counts_of_a_route_outlast_its_table_and_those_of_others_do_not() {
    let metered = Metered::start().await;
    let gateway = metered.gateway.app.gateway();
    let http = &metered.gateway.http;
    http.get("/items/1").await;
    http.get("/fixed").await;
    for number in 0..1000 {
        let paths = format!(
            r#"{{"/items/:id": {{"get": {{"action": {{"type": "static", "body": {number}}}}}}},
                "/only/{number}": {{"get": {{"action": {{"type": "static", "body": 1}}}}}}}}"#
        );
        gateway.install(RouteTable::build(routes(&spec(&paths))));
        http.get(&format!("/only/{number}")).await;
    }
    http.get("/items/1").await;
    let text = metered.text();
    let requests = samples(&text, &["wampgate_http_requests_total"]);
    let shown: Vec<_> = requests
        .iter()
        .map(|line| line.split_once("route=").unwrap().1)
        .collect();
    assert_eq!(
        shown,
        [
            r#""/items/:id",method="GET",status="200"} 2"#,
            r#""/only/999",method="GET",status="200"} 1"#,
        ]
    );
    metered.gateway.stop().await;
}

/// A family as a scrape tells of it.
#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    labels: Vec<String>,
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        let words = |line: &str| {
            let (name, rest) = line.split_once(' ').unwrap();
            (name.to_owned(), rest.to_owned())
        };
        if let Some(line) = line.strip_prefix("# HELP ") {
            let (name, help) = words(line);
            families.entry(name).or_default().help = help;
        } else if let Some(line) = line.strip_prefix("# TYPE ") {
            let (name, kind) = words(line);
            families.entry(name).or_default().kind = kind;
        } else {
            let name = &line[..line.find(['{', ' ']).unwrap()];
            let stem = ["_bucket", "_sum", "_count"];
            let mut stems = stem.iter().filter_map(|end| name.strip_suffix(end));
            let stem = stems.find(|stem| families.contains_key(*stem));
            let family = families.get_mut(stem.unwrap_or(name)).expect("described");
            let (_, labels) = line.split_once('{').unwrap_or_default();
            let labels = labels.split("\",").filter_map(|it| it.split_once('='));
            for (label, _) in labels.filter(|(label, _)| *label != "le") {
                if !family.labels.iter().any(|known| known == label) {
                    family.labels.push(label.to_owned());
                }
            }
        }
    }
    families
}

const BEGIN: &str = "<!-- made from a scrape by tests/gateway/metrics.rs -->\n";
const END: &str = "<!-- end of metrics -->";

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_guide_lists_every_metric() {
    let metered = Metered::start().await;
    metered.traffic().await;
    let text = metered.scrape().await;
    metered.gateway.stop().await;
    let mut table = "\n| metric | type | labels | what it tells |\n|---|---|---|---|\n".to_owned();
    for (name, family) in families(&text) {
        let labels: Vec<_> = family.labels.iter().map(|it| format!("`{it}`")).collect();
        let Family { kind, help, .. } = &family;
        table += &format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(" "));
    }
    table.push('\n');
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let guide = fs::read_to_string(&path).unwrap();
    let (before, rest) = guide.split_once(BEGIN).expect("the guide has the marker");
    let (found, after) = rest.split_once(END).expect("the guide has the end marker");
    if found == table {
        return;
    }
    if set("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    panic!("docs/operations.md is stale: run UPDATE_DOCS=1 cargo test --test gateway metrics");
}

#[tokio::test]
async fn promtool_has_nothing_to_say() {
    let metered = Metered::start().await;
    metered.traffic().await;
    let text = metered.scrape().await;
    metered.gateway.stop().await;
    let Some(promtool) = promtool() else { return };
    let mut check = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = check.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = check.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(str::from_utf8(&said).unwrap(), "", "{text}");
    assert!(output.status.success());
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/alerts.yml");
    let mut check = Command::new(&promtool);
    let output = check.args(["check", "rules"]).arg(rules).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}");
}

/// A rule about a metric that is not there would be silent for ever.
#[test]
fn rules_are_about_metrics_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = fs::read_to_string(root.join("deploy/alerts.yml")).unwrap();
    let guide = fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = rules.split(|c| !is_part(c));
    let names = words.filter(|it| it.starts_with("wampgate_") || it.starts_with("process_"));
    let mut count = 0;
    for name in names {
        let family = name.trim_end_matches("_bucket");
        assert!(guide.contains(&format!("| `{family}` |")), "{name}");
        count += 1;
    }
    assert!(count > 10);
}

/// Returns promtool; none, with a notice, where no peers are installed.
fn promtool() -> Option<PathBuf> {
    let Some(folder) = set("WAMPGATE_PEERS") else {
        // Not `eprintln!`, which a passing test keeps to itself.
        let notice = b"skipped: needs promtool; run `make test`, which installs it\n";
        std::io::stderr().write_all(notice).unwrap();
        return None;
    };
    let promtool = Path::new(&folder).join("bin/promtool");
    assert!(promtool.exists(), "no {promtool:?}: run `make peers`");
    Some(promtool)
}

#[expect(
    clippy::disallowed_methods,
    reason = "how make and people tell the tests what to do"
)]
fn set(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}
