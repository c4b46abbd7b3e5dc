//! The README is true: its spec and configuration load, its commands run, its answers come.

use std::fs;
use std::path::Path;

use crate::clients::{router, shell_command};
use crate::processes::{Running, demo, shell};
use crate::{PROGRAM, run};

/// Returns the contents of the README's fenced blocks of a language, in their order.
fn blocks(language: &str) -> Vec<String> {
    blocks_of("README.md", language)
}

fn blocks_of(page: &str, language: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(page).unwrap();
    let fence = format!("```{language}\n");
    let parts = text.split(&fence).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn its_first_curl_gives_the_answer_that_it_shows() {
    let (demo, printed) = demo();
    let base = printed[0]
        .split_whitespace()
        .find(|word| word.starts_with("http"))
        .unwrap();
    let base = base.strip_suffix("/v1/items").unwrap();
    let command = blocks("sh")
        .into_iter()
        .find(|block| block.starts_with("curl"))
        .unwrap();
    let answer = shell(&command.replace("http://127.0.0.1:18080", base));
    assert_eq!(answer.trim(), blocks("json")[0].trim());
    demo.end("TERM");
}

#[test]
fn its_spec_and_its_configuration_load() {
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("shop.json");
    fs::write(&spec, &blocks("json")[1]).unwrap();
    let output = run(&format!(
        "wampgate check {} ../../../realms",
        spec.display()
    ));
    assert!(
        output.contains("1 API, 1 realm, 1 route: no findings"),
        "{output}"
    );

    let config = folder.path().join("wampgate.toml");
    fs::write(&config, &blocks("toml")[0]).unwrap();
    let output = run(&format!(
        "wampgate serve --config {} --print-config",
        config.display()
    ));
    assert!(output.contains("ws://127.0.0.1:8080/ws"), "{output}");
}

#[test]
fn its_commands_run() {
    let root = env!("CARGO_MANIFEST_DIR");
    let block = blocks("sh")
        .into_iter()
        .find(|block| block.contains("wampgate eval"))
        .unwrap();
    for line in block.lines() {
        let command = line.replace("wampgate", PROGRAM);
        let output = shell(&format!("cd '{root}' && {command}"));
        assert!(!output.is_empty(), "{line}");
        if line.contains("eval") {
            assert_eq!(output.trim(), r#""HELLO 13""#);
        }
    }
}

#[test]
fn what_it_says_to_try_works_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let elsewhere = tempfile::tempdir().unwrap();
    let (router, url) = router("127.0.0.1:0", elsewhere.path());
    let store = format!("file:{}", elsewhere.path().join("data").display());
    // As written, but for the ports and for where it keeps things.
    let command = |line: &str, base: &str| {
        let mut command = shell_command(&line.replace("http://127.0.0.1:18080", base), root);
        command
            .env("WAMPGATE_ROUTER__URLS", &url)
            .env("WAMPGATE_HTTP__LISTEN", "127.0.0.1:0")
            .env("WAMPGATE_ADMIN__TOKEN_FILE", elsewhere.path().join("token"))
            .env("WAMPGATE_STORE__URL", &store);
        command
    };
    let mut serve = Running::spawn(&mut command("exec wampgate serve --log-format text", ""));
    let line = serve.line("serving HTTP at http://");
    let base = line.split_once("at ").unwrap().1;
    let base = base.split(' ').next().unwrap();

    let blocks = blocks("sh");
    let begins = |with: &str| {
        let found = blocks.iter().find(|block| block.starts_with(with));
        found.unwrap().lines().map(str::to_owned)
    };
    let mut going_on: Vec<Running> = begins("wampgate register")
        .map(|line| {
            let mut running = Running::spawn(&mut command(&format!("exec {line}"), base));
            running.line("ed ");
            running
        })
        .collect();
    let tried = blocks.iter().find(|block| block.contains("wampgate call"));
    let printed: Vec<String> = tried
        .unwrap()
        .lines()
        .map(|line| {
            let output = command(line, base).output().unwrap();
            assert!(output.status.success(), "{line}: {output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        })
        .collect();
    let lamp = r#"{"name":"lamp","price":12.5}"#;
    assert_eq!([&*printed[0], &*printed[2]], [lamp, lamp]);
    let announced = r#"{"publication_id":"#;
    assert!(printed[1].starts_with(announced), "{printed:?}");
    assert!(printed[3].starts_with(announced), "{printed:?}");
    going_on[0].line(r#"{"procedure":"com.example.market.get","args":["lamp"]"#);
    going_on[1].line("closed today");
    going_on[1].line("closed tomorrow");
    for running in going_on {
        assert_eq!(running.end("INT").0.code(), Some(0));
    }
    serve.end("TERM");
    router.end("TERM");
}

#[test]
fn what_it_says_to_change_works_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    for name in ["specs", "realms"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        let sample = format!("{name}/market.json");
        fs::copy(root.join(&sample), folder.path().join(&sample)).unwrap();
    }
    fs::write(folder.path().join("shop.json"), &blocks("json")[1]).unwrap();
    let (router, url) = router("127.0.0.1:0", folder.path());
    // As written, but for the ports.
    let command = |line: &str, admin: &str| {
        let mut command = shell_command(line, folder.path());
        command
            .env("WAMPGATE_ROUTER__URLS", &url)
            .env("WAMPGATE_HTTP__LISTEN", "127.0.0.1:0")
            .env("WAMPGATE_ADMIN__LISTEN", admin);
        command
    };
    let serve = "exec wampgate serve --log-format text";
    let mut serve = Running::spawn(&mut command(serve, "127.0.0.1:0"));
    let mut address = |text: &str| {
        let line = serve.line(text);
        let (_, address) = line.split_once("http://").unwrap();
        address.split(' ').next().unwrap().to_owned()
    };
    let http = address("serving HTTP at");
    let admin = address("serving the admin API at");
    let callee = "exec wampgate register com.example.market.get --result 5";
    let mut callee = Running::spawn(&mut command(callee, &admin));
    callee.line("registered ");

    let blocks = blocks("sh");
    let block = blocks.iter().find(|block| block.contains("wampgate apply"));
    let said = block.unwrap().lines().map(|line| {
        let line = line.replace("127.0.0.1:18080", &http);
        let output = command(&line, &admin).output().unwrap();
        let code = output.status.code().unwrap();
        // There is a difference.
        assert_eq!(
            code,
            i32::from(line.contains(" diff ")),
            "{line}: {output:?}"
        );
        String::from_utf8(output.stdout).unwrap()
    });
    let said: Vec<String> = said.collect();
    assert!(
        said[0].ends_with("+ GET _ /shop/items/:name call com.example.market.get\n"),
        "{said:?}"
    );
    assert_eq!(said[1], "created spec com.example.shop (revision 1)\n");
    assert!(
        said[2].contains("com.example.shop    active  store"),
        "{said:?}"
    );
    assert_eq!(said[3], "5");
    assert!(said[4].starts_with("REVISION "), "{said:?}");
    assert_eq!(said[5], "deleted spec com.example.shop\n");

    let blocks = blocks_of("docs/operations.md", "sh");
    let block = blocks.iter().find(|block| block.contains("wampgate apply"));
    for line in block.unwrap().lines() {
        let output = command(line, &admin).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    }
    let copied = fs::read_to_string(folder.path().join("copy.json")).unwrap();
    let shop = fs::read_to_string(folder.path().join("shop.json")).unwrap();
    assert_eq!(copied, shop);
    callee.end("INT");
    serve.end("TERM");
    router.end("TERM");
}
