//! docs/admin-api.md: its commands, Bondy's walk-through among them, do what it says.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::processes::Running;

/// What a block of the text is, and what is in it.
type Block = (String, String);

fn blocks() -> Vec<Block> {
    let text = include_str!("../../docs/admin-api.md");
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(kind)) => open = Some((kind.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Without what differs each time: times and request ids.
fn settled(json: &str) -> String {
    let mut out = json.trim().to_owned();
    for (name, end) in [("\"ts\":", [',', '}']), ("\"instance\":\"", ['"', '"'])] {
        let mut from = 0;
        while let Some(at) = out[from..].find(name).map(|at| from + at + name.len()) {
            let length = out[at..].find(end).unwrap();
            out.replace_range(at..at + length, "");
            from = at;
        }
    }
    out
}

fn sh(script: &str, folder: &Path) -> (bool, String) {
    let output = Command::new("sh")
        .args(["-c", script])
        .current_dir(folder)
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.success(), text)
}

#[test]
fn the_commands_of_the_admin_api_do_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("specs")).unwrap();
    fs::create_dir(path.join("realms")).unwrap();
    let realm = r#"{"uri": "com.example.my_api", "router": {"urls": ["ws://127.0.0.1:1/ws"]}}"#;
    fs::write(path.join("realms/realm.json"), realm).unwrap();
    let spec = r#"{"id": "com.example.my_api", "host": "_", "realm_uri": "com.example.my_api",
        "versions": {"1.0": {"base_path": "/", "paths": {"/hello": {"get": {"action":
        {"type": "static", "body": "hello"}}}}}}}"#;
    fs::write(path.join("my_api.json"), spec).unwrap();

    let listen = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let url = ["--router", "ws://127.0.0.1:1/ws", "--log-format", "text"];
    let mut serve = Running::start(&[&["serve"][..], &listen, &url].concat(), path);
    let mut address = |text: &str| {
        let line = serve.line(text);
        let (_, base) = line.split_once("http://").unwrap();
        let base = base.split(' ').next().unwrap().to_owned();
        format!("http://localhost:{}", base.rsplit_once(':').unwrap().1)
    };
    let gateway = address("serving HTTP at http://");
    let admin = address("serving the admin API at http://");

    let blocks = blocks();
    let prelude = &blocks[0].1;
    let mut last = String::new();
    for (kind, block) in &blocks[1..] {
        if kind == "json" {
            assert_eq!(settled(&last), settled(block));
            continue;
        }
        let block = block.replace("http://localhost:18081", &admin);
        // What fails is told too, so that the test can say what.
        let block = block.replace("curl ", "curl -sS -w '\\n%{http_code}' ");
        let (is_done, output) = sh(&format!("{prelude}{block}"), path);
        assert!(is_done, "{block}\n{output}");
        last = match output.rsplit_once('\n') {
            // Of a `curl` that is written out; `api` says no status.
            Some((body, status)) if status.len() == 3 => {
                assert!(status.starts_with('2'), "{block}\n{output}");
                body.to_owned()
            }
            _ => output,
        };
        if block.contains("load_api_spec") {
            let (_, hello) = sh(&format!("curl -sS {gateway}/hello"), path);
            assert_eq!(hello, "\"hello\"");
        }
    }
    let (_, gone) = sh(&format!("curl -sS {gateway}/hello"), path);
    assert!(gone.contains("\"status\":404"), "{gone}");
    let (_, refused) = sh(&format!("curl -sS {admin}/api_specs -H 'From: ann'"), path);
    assert!(refused.contains("\"status\":401"), "{refused}");

    let (status, output) = serve.end("TERM");
    assert_eq!(status.code(), Some(0), "{output}");
    let token = fs::read_to_string(path.join("data/admin.token")).unwrap();
    assert!(!output.contains(token.trim()), "the token is not logged");
    let audited = |text: &str| output.lines().any(|line| line.contains(text));
    assert!(
        audited("DELETE /api_specs/com.example.my_api: done"),
        "{output}"
    );
    assert!(
        audited("DELETE /api_specs/com.example.my_api: dry run"),
        "{output}"
    );
    let refused = output
        .lines()
        .find(|it| it.contains("GET /api_specs: refused"));
    let refused = refused.unwrap_or_else(|| panic!("{output}"));
    assert!(!refused.contains("\"author\""), "{refused}");
}
