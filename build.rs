//! Tells the program what it was built from: the commit and the target.

use std::process::Command;

#[expect(
    clippy::disallowed_methods,
    reason = "a build script is told everything by variables"
)]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=WAMPGATE_COMMIT");
    let variable = |name| std::env::var(name).unwrap_or_default();
    println!("cargo:rustc-env=WAMPGATE_TARGET={}", variable("TARGET"));
    let mut commit = variable("WAMPGATE_COMMIT");
    // Only in a release: else every commit would build the crate and all its tests anew.
    if commit.is_empty() && variable("PROFILE") == "release" {
        commit = git(&["rev-parse", "--short=12", "HEAD"]);
        let log = git(&["rev-parse", "--git-path", "logs/HEAD"]);
        if !log.is_empty() {
            println!("cargo:rerun-if-changed={log}");
        }
    }
    if commit.is_empty() {
        commit = "development build".to_owned();
    }
    println!("cargo:rustc-env=WAMPGATE_COMMIT={commit}");
}

/// The answer of git; empty where there is no git or no repository, as in a source archive.
fn git(args: &[&str]) -> String {
    match Command::new("git").args(args).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => String::new(),
    }
}
