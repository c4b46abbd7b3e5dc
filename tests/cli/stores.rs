//! `serve` and the store that it cannot have.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::processes::Running;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["specs", "realms"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let config = "[http]\nlisten = ['127.0.0.1:0']\n[admin]\nlisten = '127.0.0.1:0'\n\
                  [router]\nurls = ['ws://127.0.0.1:1/ws']\n[log]\nformat = 'text'\n";
    fs::write(folder.path().join("wampgate.toml"), config).unwrap();
    folder
}

/// Starts it where that has to fail, and returns what it says.
fn refused(folder: &Path) -> String {
    let (status, output) = Running::start(&["serve"], folder).ended();
    assert_eq!(status.code(), Some(1), "{output}");
    output
}

#[test]
fn a_store_in_use_is_named_and_free_again_when_its_gateway_has_ended() {
    let folder = folder();
    let mut first = Running::start(&["serve"], folder.path());
    first.line("serving HTTP");
    let output = refused(folder.path());
    assert!(
        output.contains("the store data/store.redb is in use by another process"),
        "{output}"
    );
    assert!(!output.contains("serving HTTP"), "{output}");
    assert_eq!(first.end("INT").0.code(), Some(0));
    let mut second = Running::start(&["serve"], folder.path());
    second.line("serving HTTP");
    // An orderly end leaves nothing to repair.
    let (_, output) = second.end("INT");
    assert!(!output.contains("had not been closed"), "{output}");
}

#[test]
fn a_killed_gateway_leaves_a_store_that_opens() {
    let folder = folder();
    let mut killed = Running::start(&["serve"], folder.path());
    killed.line("serving HTTP");
    drop(killed);
    let mut serve = Running::start(&["serve"], folder.path());
    serve.line("the store data/store.redb had not been closed");
    serve.line("serving HTTP");
    assert_eq!(serve.end("INT").0.code(), Some(0));
}

#[test]
fn a_damaged_store_ends_the_start_and_stays_as_it_is() {
    let folder = folder();
    let file = folder.path().join("data/store.redb");
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(&file, "not a store").unwrap();
    let output = refused(folder.path());
    assert!(
        output.contains("the store data/store.redb is damaged or no store: "),
        "{output}"
    );
    assert!(output.contains("bring it back from a backup"), "{output}");
    assert_eq!(fs::read_to_string(file).unwrap(), "not a store");
}
