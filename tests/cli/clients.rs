//! The WAMP clients of the shell, each a process as a user has it: router, gateway, callee, caller.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::{fs, thread};

use tempfile::TempDir;
use tokio::time::Instant;

use crate::processes::{PATIENCE, Running, shell};
use crate::{PROGRAM, run};

/// A router in a process of its own, and a folder to work in.
pub(crate) struct World {
    router: Running,
    pub(crate) url: String,
    pub(crate) folder: TempDir,
}

/// What a command said: standard output, standard error, exit code.
#[derive(Debug)]
struct Said {
    out: String,
    err: String,
    code: i32,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (router, url) = router("127.0.0.1:0", folder.path());
        Self {
            router,
            url,
            folder,
        }
    }

    /// A command line of a client in the realm `com.a`, as a shell reads it. What stands behind
    /// `--exec` must be the last.
    pub(crate) fn command(&self, line: &str) -> Command {
        let (name, rest) = line.split_once(' ').unwrap();
        let line = format!(
            "exec wampgate {name} --realm com.a --url {} {rest}",
            self.url
        );
        shell_command(&line, self.folder.path())
    }

    fn run(&self, line: &str) -> Said {
        let output = self.command(line).output().unwrap();
        Said {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code().unwrap(),
        }
    }

    /// Starts a command that goes on, and waits until it says that it is ready.
    pub(crate) fn start(&self, line: &str) -> Running {
        let mut running = Running::spawn(&mut self.command(line));
        running.line(if line.starts_with("register") {
            "registered "
        } else {
            "subscribed "
        });
        running
    }
}

/// A command line that finds `wampgate`.
pub(crate) fn shell_command(line: &str, folder: &Path) -> Command {
    let programs = Path::new(PROGRAM).parent().unwrap().display();
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .current_dir(folder)
        .env_clear()
        .env("PATH", format!("{programs}:/usr/bin:/bin"))
        .stdin(Stdio::null());
    command
}

pub(crate) fn router(listen: &str, folder: &Path) -> (Running, String) {
    let mut router = Running::start(&["router", "--listen", listen], folder);
    let line = router.line("listening on ws://");
    let url = line.strip_prefix("listening on ").unwrap().to_owned();
    (router, url)
}

fn ok(said: &Said, out: &str) {
    assert_eq!(said.out.trim_end(), out, "{said:?}");
    assert_eq!((said.err.as_str(), said.code), ("", 0), "{said:?}");
}

#[test]
fn a_callee_a_caller_and_the_gateway_between_them() {
    let world = World::new();
    let write = |path: &str, text: &str| {
        let path = world.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("realms/a.json", r#"{"uri": "com.a"}"#);
    write(
        "specs/a.json",
        r#"{"id": "a", "host": "_", "realm_uri": "com.a", "versions": {"1": {"base_path": "/", "paths": {
            "/echo/:n": {"get": {"action": {"type": "wamp_call", "procedure": "com.a.echo",
                "args": ["{{request.bindings.n |> integer}}"], "kwargs": {"by": "http"}}}},
            "/news": {"post": {"action": {"type": "wamp_publish", "topic": "com.a.news",
                "args": ["{{request.body}}"]}}}}}}}"#,
    );
    let args = [
        "serve",
        "--router",
        &world.url,
        "--listen",
        "127.0.0.1:0",
        "--log-format",
        "text",
    ];
    let mut serve = Running::start(&args, world.folder.path());
    let line = serve.line("serving HTTP at http://");
    let base = line
        .split_once("at ")
        .unwrap()
        .1
        .split(' ')
        .next()
        .unwrap()
        .to_owned();

    let mut callee = world.start("register com.a.echo --echo");
    let answer = shell(&format!("curl -s {base}/echo/7"));
    assert_eq!(answer, r#"{"args":[7],"kwargs":{"by":"http"}}"#);
    let seen = callee.line("com.a.echo");
    assert!(
        seen.starts_with(r#"{"procedure":"com.a.echo","args":[7],"kwargs":{"by":"http"}"#),
        "{seen}"
    );

    ok(&world.run("call com.a.echo '\"5\"'"), r#""5""#);
    ok(
        &world.run("call com.a.echo -5 text '[null]' --kwargs '{\"a\": 1, \"b\": 2}' --kwarg b=x"),
        r#"{"args":[-5,"text",[null]],"kwargs":{"a":1,"b":"x"}}"#,
    );
    ok(&world.run("call com.a.echo"), r#"{"args":[],"kwargs":{}}"#);
    ok(&world.run("call com.a.echo only --progress"), r#""only""#);

    // The realm's own settings, as the gateway has them.
    write(
        "wampgate.toml",
        &format!("[router]\nurls = [\"{}\"]\n", world.url),
    );
    let configured = shell_command("wampgate call com.a.echo 1", world.folder.path());
    let output = { configured }.output().unwrap();
    assert_eq!(output.stdout, b"1\n", "{output:?}");

    let mut all = world.start("subscribe com.a --match prefix --count 2");
    let mut one = world.start("subscribe com.a.news --count 1");
    let published = world.run("publish com.a.news 1 --kwarg k=v");
    assert!(
        published.out.starts_with(r#"{"publication_id":"#),
        "{published:?}"
    );
    let expected = r#"{"topic":"com.a.news","publication_id":"#;
    let (first, second) = (all.line(expected), one.line(expected));
    for line in [first, second] {
        assert!(line.contains(r#""args":[1],"kwargs":{"k":"v"}"#), "{line}");
    }
    assert_eq!(one.ended().0.code(), Some(0));
    shell(&format!(
        "curl -s -d '\"by http\"' -H 'content-type: application/json' {base}/news"
    ));
    all.line(r#""args":["by http"]"#);
    assert_eq!(all.ended().0.code(), Some(0));

    let (status, said) = callee.end("INT");
    assert_eq!(status.code(), Some(0), "{said}");
    let gone = world.run("call com.a.echo");
    assert_eq!((gone.out.as_str(), gone.code), ("", 1));
    assert!(
        gone.err
            .starts_with("error: wamp.error.no_such_procedure\n"),
        "{gone:?}"
    );
    serve.end("TERM");
}

#[test]
fn a_program_answers_calls_and_its_failures_are_errors() {
    let world = World::new();
    let program = r#"register com.a --match prefix --exec sh -c '
        read -r call
        case "$call" in
            *com.a.text*) date +%Y >/dev/null; echo "plain text" ;;
            *com.a.value*) echo "{\"n\": [1, 2]}" ;;
            *com.a.both*) echo "{\"args\": [1], \"kwargs\": {\"a\": 2}}" ;;
            *com.a.call*) echo "$call" ;;
            *com.a.none*) ;;
            *com.a.own*) echo "{\"error\": \"com.a.error.sold_out\", \"args\": [\"lamp\"]}"; exit 1 ;;
            *com.a.dies*) echo lost; echo why >&2; exit 3 ;;
            *com.a.wide*) echo 18446744073709551616 ;;
            *com.a.env*) env | grep -c -e WAMPGATE -e NOTIFY_ -e WATCHDOG_ ;;
            *) kill -9 $$ ;;
        esac'"#;
    let mut command = world.command(program);
    command.env("WAMPGATE_SECRET", "s3cret");
    command
        .env("NOTIFY_SOCKET", "/nowhere")
        .env("WATCHDOG_USEC", "1000000");
    let mut callee = Running::spawn(&mut command);
    callee.line("registered ");

    ok(&world.run("call com.a.text"), r#""plain text""#);
    ok(&world.run("call com.a.value"), r#"{"n":[1,2]}"#);
    ok(
        &world.run("call com.a.both"),
        r#"{"args":[1],"kwargs":{"a":2}}"#,
    );
    ok(&world.run("call com.a.none"), r#"{"args":[],"kwargs":{}}"#);
    // Data, whatever it looks like.
    let said = world.run("call com.a.call '$(touch harm); `touch harm`' --kwarg x=1");
    assert!(
        said.out.starts_with(
            r#"{"procedure":"com.a.call","args":["$(touch harm); `touch harm`"],"kwargs":{"x":1}"#
        ),
        "{said:?}"
    );
    assert!(!world.folder.path().join("harm").exists());

    for (procedure, error, told) in [
        (
            "com.a.own",
            "com.a.error.sold_out",
            r#"{"args":["lamp"],"kwargs":{}}"#,
        ),
        (
            "com.a.dies",
            "wamp.error.runtime_error",
            r#"{"args":["the program failed: exit status: 3"],"kwargs":{"exit_code":3,"stderr":"why"}}"#,
        ),
        (
            "com.a.killed",
            "wamp.error.runtime_error",
            r#""kwargs":{"exit_code":null,"stderr":""}"#,
        ),
        ("com.a.wide", "wamp.error.runtime_error", "beyond 64 bits"),
        // What is the gateway's own, secrets perhaps, is not the program's, nor is its manager: grep
        // finds nothing.
        ("com.a.env", "wamp.error.runtime_error", r#""exit_code":1"#),
    ] {
        let said = world.run(&format!("call {procedure}"));
        assert_eq!((said.out.as_str(), said.code), ("", 1), "{said:?}");
        assert!(
            said.err.starts_with(&format!("error: {error}\n")),
            "{said:?}"
        );
        assert!(said.err.contains(told), "{said:?}");
    }
    assert_eq!(callee.end("TERM").0.code(), Some(0));

    let nothing = world.start("register com.a.nothing --exec /does/not/exist");
    let said = world.run("call com.a.nothing");
    assert!(said.err.contains("the program cannot be run"), "{said:?}");
    drop(nothing);
}

/// Looks until there is something, or for too long.
pub(crate) fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "too late");
    }
}

/// A pipe with a name, which says how long those live who hold it.
pub(crate) struct Lifeline(Receiver<String>);

impl Lifeline {
    /// Waits in the background for somebody to open the pipe.
    pub(crate) fn new(path: &Path) -> Self {
        fs::remove_file(path).ok();
        let made = Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
        let (sender, lines) = mpsc::channel();
        let path = path.to_owned();
        // Ends with the last who holds the pipe.
        thread::spawn(move || {
            let pipe = fs::File::open(path).unwrap();
            let lines = BufReader::new(pipe).lines().map_while(Result::ok);
            { lines }.try_for_each(|line| sender.send(line))
        });
        Self(lines)
    }

    pub(crate) fn has_begun(&self) {
        assert_eq!(self.0.recv_timeout(PATIENCE).as_deref(), Ok("begun"));
    }

    pub(crate) fn has_ended(self) {
        let ended = self.0.recv_timeout(PATIENCE);
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected));
    }
}

#[test]
fn a_program_ends_with_its_call_and_with_all_that_it_started() {
    let world = World::new();
    let path = world.folder.path().join("pipe");
    // Both the shell and what it starts hold the pipe.
    let program = "--exec sh -c 'exec 3> pipe; sleep 1000 & echo begun >&3; wait'";

    // Its own time is over.
    let pipe = Lifeline::new(&path);
    let callee = world.start(&format!("register com.a.slow --timeout 2s {program}"));
    let said = world.run("call com.a.slow");
    assert!(
        said.err.starts_with("error: wamp.error.timeout\n"),
        "{said:?}"
    );
    pipe.has_begun();
    pipe.has_ended();
    assert_eq!(callee.end("TERM").0.code(), Some(0));

    // It has ended by itself, before what it started; that holds standard output open as well.
    let pipe = Lifeline::new(&path);
    let left = "--exec sh -c 'exec 3> pipe; sleep 1000 & echo begun >&3; echo 5'";
    let callee = world.start(&format!("register com.a.quick {left}"));
    ok(&world.run("call com.a.quick"), "5");
    pipe.has_begun();
    pipe.has_ended();
    assert_eq!(callee.end("TERM").0.code(), Some(0));

    // The caller does not wait any more.
    let pipe = Lifeline::new(&path);
    let mut callee = world.start(&format!("register com.a.slow {program}"));
    let caller = Running::spawn(&mut world.command("call com.a.slow"));
    pipe.has_begun();
    assert_eq!(caller.end("INT").0.code(), Some(1));
    pipe.has_ended();

    // Whoever started it ends at once.
    let pipe = Lifeline::new(&path);
    let mut caller = Running::spawn(&mut world.command("call com.a.slow"));
    pipe.has_begun();
    callee.signal("TERM");
    callee.line("a second signal ends at once");
    let (status, said) = callee.end("TERM");
    assert_eq!(status.code(), Some(1), "{said}");
    pipe.has_ended();
    caller.line("error: ");
}

#[test]
fn fixed_answers_and_callees_that_take_turns() {
    let world = World::new();
    let one = world.start("register com.a.who --result one --invoke roundrobin");
    let two = world.start("register com.a.who --invoke roundrobin --result '{\"args\": [2, 2]}'");
    let mut answers: Vec<String> = (0..4).map(|_| world.run("call com.a.who").out).collect();
    answers.sort();
    assert_eq!(
        answers.concat(),
        "\"one\"\n\"one\"\n{\"args\":[2,2],\"kwargs\":{}}\n{\"args\":[2,2],\"kwargs\":{}}\n"
    );
    let taken = world.run("register com.a.who --echo");
    assert_eq!(taken.code, 1);
    assert!(
        taken.err.contains("the registration was refused"),
        "{taken:?}"
    );
    drop((one, two));
}

#[test]
fn subscriptions_and_registrations_outlive_their_router() {
    let world = World::new();
    let mut events = world.start("subscribe com.a.news");
    let callee = world.start("register com.a.echo --echo");
    let World {
        router: first,
        url,
        folder,
    } = world;
    first.end("KILL");
    let address = url
        .strip_prefix("ws://")
        .unwrap()
        .strip_suffix("/ws")
        .unwrap();
    let (router, again) = router(address, folder.path());
    assert_eq!(again, url);
    let world = World {
        router,
        url,
        folder,
    };
    until(|| (world.run("call com.a.echo back").code == 0).then_some(()));
    // Nobody is told that the subscription is back, so the events are tried.
    let mut publishing = Running::spawn(&mut shell_command(
        &format!(
            "while wampgate publish com.a.news again --realm com.a --url {}; do :; done",
            world.url
        ),
        world.folder.path(),
    ));
    events.line(r#""args":["again"]"#);
    publishing.line("publication_id");
    assert!(events.end("INT").1.contains("events may be missing"));
    assert_eq!(callee.end("INT").0.code(), Some(0));
    // The loop ends with the router.
    world.router.end("TERM");
    assert!(publishing.ended().1.contains("error: "));
}

#[test]
fn one_procedure_by_every_transport() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("router.sock");
    let socket = socket.to_str().unwrap();
    let args = ["router", "--listen", "127.0.0.1:0", "--unix", socket];
    let mut router = Running::start(&args, folder.path());
    let mut urls = ["ws://", "tcp://", "unix:"].map(|scheme| {
        let line = router.line(&format!("listening on {scheme}"));
        line.strip_prefix("listening on ").unwrap().to_owned()
    });
    for _ in 0..urls.len() {
        let command = |line: &str, url: &str| {
            let line = format!("exec wampgate {line} --realm com.a --url {url}");
            shell_command(&line, folder.path())
        };
        let mut callee = Running::spawn(&mut command("register com.a.who --echo", &urls[0]));
        callee.line("registered ");
        for url in &urls {
            let output = command("call com.a.who 5", url).output().unwrap();
            assert_eq!(output.stdout, b"5\n", "{url}: {output:?}");
        }
        assert_eq!(callee.end("TERM").0.code(), Some(0));
        urls.rotate_left(1);
    }
    assert_eq!(router.end("TERM").0.code(), Some(0));
}

#[test]
fn a_realm_that_does_not_let_us_in_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["router", "--listen", "127.0.0.1:0", "--realm", "com.b"];
    let mut router = Running::start(&args, folder.path());
    let line = router.line("listening on ws://");
    let url = line.strip_prefix("listening on ").unwrap();
    for command in ["call com.x", "publish com.x"] {
        let said = run(&format!("wampgate {command} --realm com.a --url {url}"));
        assert!(
            said.contains("error: cannot join com.a: aborted by the router"),
            "{said}"
        );
        assert!(said.ends_with("[exit 1]"), "{said}");
    }
}
