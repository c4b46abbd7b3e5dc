//! The README is true: its spec and configuration load, its commands run, its answers come.

use std::fs;
use std::path::Path;

use crate::processes::{demo, shell};
use crate::{PROGRAM, run};

/// Returns the contents of the fenced blocks of a language, in their order.
fn blocks(language: &str) -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(readme).unwrap();
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
