//! Runs the program as a shell would and compares what it says with `cases/*.txt`.
//!
//! A case is a text with lines such as `$ wampgate eval '{{variables.who}}'`; below each stands what
//! it writes to standard output, then to standard error, and its exit code. Commands run in
//! `tests/cli/files`. After a change that is meant, `UPDATE_CASES=1 cargo test --test cli` writes
//! the cases anew: read the difference as carefully as code.

mod admin;
mod clients;
mod deploy;
mod kills;
mod live;
mod processes;
mod readme;
mod stops;
mod stores;
mod traces;
mod walkthrough;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wampgate");

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how a person asks for new expectations"
)]
fn the_program_says_what_the_cases_expect() {
    let update = env::var_os("UPDATE_CASES").is_some();
    let mut wrong = Vec::new();
    for path in cases() {
        let expected = fs::read_to_string(&path).unwrap();
        let actual = replay(&expected);
        if actual != expected && update {
            fs::write(&path, &actual).unwrap();
        } else if actual != expected {
            wrong.push(format!(
                "{}\n{}",
                path.display(),
                difference(&expected, &actual)
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_version_names_version_commit_and_target() {
    let output = run("wampgate --version");
    let (version, rest) = output.split_once(" (").unwrap();
    assert_eq!(version, concat!("wampgate ", env!("CARGO_PKG_VERSION")));
    assert!(rest.contains(", "), "{output}");
    assert!(rest.contains(env::consts::ARCH), "{output}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli")
}

fn cases() -> Vec<PathBuf> {
    let folder = fs::read_dir(root().join("cases")).unwrap();
    let mut cases: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

/// Returns the case with what its commands say now. Text between commands stays.
fn replay(case: &str) -> String {
    let mut out = String::new();
    let mut is_output = false;
    for line in case.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            writeln!(out, "{line}\n{}", run(command)).unwrap();
            is_output = true;
        } else if !is_output {
            writeln!(out, "{line}").unwrap();
        } else if line.starts_with("[exit ") {
            is_output = false;
        }
    }
    out
}

/// Runs a command line and returns its output, its error output and its exit code, with no line
/// break at the end.
fn run(command: &str) -> String {
    let folder = Path::new(PROGRAM).parent().unwrap().to_str().unwrap();
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(root().join("files"))
        .env_clear()
        .env("PATH", format!("{folder}:/usr/bin:/bin"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap();
    if !output.stderr.is_empty() {
        text.push_str("[stderr]\n");
        text.push_str(std::str::from_utf8(&output.stderr).unwrap());
    }
    write!(text, "[exit {}]", output.status.code().unwrap()).unwrap();
    text
}

/// The first lines that differ.
fn difference(expected: &str, actual: &str) -> String {
    let same = expected
        .lines()
        .zip(actual.lines())
        .take_while(|(a, b)| a == b)
        .count();
    let from = |text: &str, sign: &str| {
        let lines = text.lines().skip(same).take(12);
        lines
            .map(|line| format!("{sign} {line}\n"))
            .collect::<String>()
    };
    format!(
        "from line {}:\n{}{}",
        same + 1,
        from(expected, "-"),
        from(actual, "+")
    )
}
