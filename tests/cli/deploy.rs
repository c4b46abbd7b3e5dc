//! `deploy/` fits the program: what it names is there, and what it runs is understood.
//!
//! No container is built here, and no service started: that wants a daemon, and root.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use std::{env, fs, io};

use serde_json::Value;

use crate::PROGRAM;

const INSTALLED: &str = "/usr/local/bin/wampgate";
const CONFIG: &str = "/etc/wampgate/wampgate.toml";
const STATE: &str = "/var/lib/wampgate";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn deploy(file: &str) -> PathBuf {
    root().join("deploy").join(file)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Not `eprintln!`, which a passing test keeps to itself.
fn notice(text: &str) {
    io::stderr()
        .write_all(format!("{text}\n").as_bytes())
        .unwrap();
}

/// Runs the program with the arguments that a deployment has, and some more.
fn wampgate(args: &[&str], more: &[&str], environment: &[(&str, &str)]) -> Output {
    let config = deploy("wampgate.toml");
    let here = |arg: &&str| {
        let arg = *arg;
        PathBuf::from(if arg == CONFIG {
            config.to_str().unwrap()
        } else {
            arg
        })
    };
    Command::new(PROGRAM)
        .args(args.iter().map(here))
        .args(more)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// Returns what the deployed configuration results in.
fn configuration(args: &[&str], environment: &[(&str, &str)]) -> toml::Table {
    let output = wampgate(args, &["--print-config"], environment);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}

fn text<'t>(config: &'t toml::Table, table: &str, key: &str) -> &'t str {
    config[table][key].as_str().unwrap()
}

/// How long an end may take: both waits, and what GOODBYE and the admin API take at most.
fn longest_end(config: &toml::Table) -> Duration {
    let wait = |key| seconds(text(config, "http", key));
    wait("min_drain") + wait("drain_timeout") + Duration::from_secs(15)
}

fn seconds(text: &str) -> Duration {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse();
    Duration::from_secs(seconds.unwrap_or_else(|_| panic!("{text} is not in seconds")))
}

/// The values of each setting of a unit, from all its sections.
fn unit() -> BTreeMap<String, Vec<String>> {
    let mut settings = BTreeMap::<_, Vec<_>>::new();
    for line in read(&deploy("wampgate.service")).lines() {
        if let Some((key, value)) = line.split_once('=')
            && !line.starts_with('#')
        {
            settings
                .entry(key.to_owned())
                .or_default()
                .push(value.to_owned());
        }
    }
    settings
}

/// The text with the settings that stand in comments as examples: what follows `comment` and is a
/// key and `equals`, or a table's head.
fn with_examples(text: &str, comment: &str, equals: &str) -> String {
    let is_example = |line: &&str| {
        let key = line.split_once(equals).map(|(key, _)| key);
        let key = key.or_else(|| line.strip_prefix('[')?.strip_suffix(']'));
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
        key.is_some_and(|key| !key.is_empty() && key.chars().all(is_word))
    };
    let lines = text.lines().map(|line| {
        let rest = line.strip_prefix(comment);
        rest.filter(is_example).unwrap_or(line)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_configuration_loads_also_with_its_examples() {
    let config = configuration(&["serve", "--config", CONFIG], &[]);
    assert_eq!(text(&config, "store", "url"), format!("file:{STATE}"));
    let token = Path::new(text(&config, "admin", "token_file"));
    assert!(token.starts_with(STATE));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wampgate.toml");
    fs::write(
        &path,
        with_examples(&read(&deploy("wampgate.toml")), "# ", " = "),
    )
    .unwrap();
    let args = ["serve", "--config", path.to_str().unwrap()];
    let config = configuration(&args, &[("CREDENTIALS_DIRECTORY", "/run/credentials/here")]);
    let secret = config["router"]["auth"]["secret_file"].as_str();
    assert_eq!(secret, Some("/run/credentials/here/router"));
    assert_eq!(
        config["http"]["trusted_proxies"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn the_unit_runs_the_program_and_leaves_it_the_time_to_end() {
    let unit = unit();
    let one = |key: &str| match unit.get(key).map(Vec::as_slice) {
        Some([value]) => value.as_str(),
        other => panic!("{key}: {other:?}"),
    };
    let command: Vec<&str> = one("ExecStart").split(' ').collect();
    assert_eq!(command[0], INSTALLED);
    let config = configuration(&command[1..], &[]);
    assert!(seconds(one("TimeoutStopSec")) >= longest_end(&config));
    assert_eq!(one("Type"), "notify");
    assert_eq!(
        Path::new("/var/lib").join(one("StateDirectory")),
        Path::new(STATE)
    );
    assert_eq!(one("WorkingDirectory"), STATE);
    let settings = Path::new("/etc").join(one("ConfigurationDirectory"));
    assert_eq!(settings.join("wampgate.toml"), Path::new(CONFIG));
}

#[test]
fn systemd_takes_the_unit_and_finds_it_well_confined() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        notice("skipped: no systemd-analyze on this machine");
        return;
    };
    assert!(version.status.success());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wampgate.service");
    // It looks for the program, which is not installed here.
    let installed = read(&deploy("wampgate.service")).replace(INSTALLED, PROGRAM);
    for text in [with_examples(&installed, "#", "="), installed] {
        fs::write(&path, text).unwrap();
        let analyze = |args: &[&str]| {
            let mut command = Command::new("systemd-analyze");
            let output = command.args(args).arg(&path).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{said}");
        };
        analyze(&["verify", "--man=no"]);
        // Of 100, which is a service that may do everything.
        analyze(&["security", "--offline=true", "--no-pager", "--threshold=20"]);
    }
}

/// The instructions of the Dockerfile, each with its arguments, lines that go on joined.
fn instructions() -> Vec<(String, String)> {
    let text = read(&deploy("Dockerfile"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = joined.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect()
}

/// The sources that the build copies from the repository.
fn copied() -> Vec<String> {
    let copies = instructions()
        .into_iter()
        .filter(|(name, rest)| name == "COPY" && !rest.starts_with("--"));
    let sources = copies.flat_map(|(_, rest)| {
        let mut paths: Vec<_> = rest.split_whitespace().map(str::to_owned).collect();
        paths.pop();
        paths
    });
    sources.collect()
}

#[test]
fn a_container_is_built_from_what_is_there() {
    let ignored = read(&root().join(".dockerignore"));
    for source in copied() {
        assert!(root().join(&source).exists(), "{source} is not there");
        let let_in = format!("!{source}");
        assert!(
            ignored.lines().any(|line| line == let_in),
            "{source} is left out of the context"
        );
    }
    let is_copied = |path: &Path| copied().iter().any(|source| path.starts_with(source));
    for (file, named) in named_files(&root().join("src")) {
        assert!(
            is_copied(&named),
            "{} wants {}",
            file.display(),
            named.display()
        );
    }

    // What the manifest names is copied as well, or cargo would not begin.
    let folder = tempfile::tempdir().unwrap();
    for source in copied() {
        let target = folder.path().join(&source);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(root().join(&source), target).unwrap();
    }
    let manifest = folder.path().join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version=1",
            "--manifest-path",
        ])
        .arg(manifest)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !said.contains("can't find"),
        "{said}"
    );

    let toolchain: toml::Table = read(&root().join("rust-toolchain.toml")).parse().unwrap();
    let version = toolchain["toolchain"]["channel"].as_str().unwrap();
    let (version, _) = version.rsplit_once('.').unwrap();
    let from = &instructions()[0];
    assert!(from.1.starts_with(&format!("rust:{version}-")), "{from:?}");
}

/// What files of `src/` have compiled in, relative to the repository's root.
fn named_files(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if path.is_dir() {
            found.extend(named_files(&path));
            continue;
        }
        // What only tests read is not part of the program.
        if path.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        let text = read(&path);
        for (opening, base) in [
            ("include_str!(\"", path.parent().unwrap()),
            ("include_bytes!(\"", path.parent().unwrap()),
            ("#[grammar = \"", root()),
        ] {
            for rest in text.split(opening).skip(1) {
                let named = rest.split('"').next().unwrap();
                let named = base.join(named).canonicalize().unwrap();
                found.push((path.clone(), named.strip_prefix(root()).unwrap().to_owned()));
            }
        }
    }
    found
}

#[test]
fn a_container_runs_the_program_and_not_as_root() {
    let instructions = instructions();
    let all = |name: &str| {
        let of_name = instructions.iter().filter(|(it, _)| it == name);
        of_name.map(|(_, rest)| rest.as_str()).collect::<Vec<_>>()
    };
    let list = |text: &str| serde_json::from_str::<Vec<String>>(text).unwrap();
    assert_eq!(list(all("ENTRYPOINT")[0]), [INSTALLED]);
    let command = list(all("CMD")[0]);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let (variable, config) = all("ENV")[0].split_once('=').unwrap();
    assert_eq!(config, CONFIG);
    let config = deploy("wampgate.toml");
    let config = configuration(&command, &[(variable, config.to_str().unwrap())]);
    let listen = config["http"]["listen"][0].as_str().unwrap();
    assert!(
        listen.ends_with(&format!(":{}", all("EXPOSE")[0])),
        "{listen}"
    );
    assert_eq!(
        (all("VOLUME")[0], all("WORKDIR").last()),
        (STATE, Some(&STATE))
    );
    assert!(
        all("USER")[0]
            .split(':')
            .all(|id| id.parse::<u32>().is_ok_and(|id| id > 0))
    );

    let (_, health) = all("HEALTHCHECK")[0].split_once("CMD ").unwrap();
    let health = list(health);
    assert_eq!(health[0], INSTALLED);
    let health: Vec<&str> = health[1..].iter().map(String::as_str).collect();
    let output = wampgate(&health, &["--help"], &[]);
    assert!(output.status.success(), "{health:?}");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how make tells the tests where the peers are"
)]
fn compose_runs_the_program_with_what_is_there() {
    let Some(peers) = env::var_os("WAMPGATE_PEERS") else {
        notice("skipped: reads YAML with the peers' Python; run `make test`, which installs them");
        return;
    };
    let bin = Path::new(&peers).join("bin");
    let as_json =
        "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let output = Command::new(bin.join("python"))
        .args(["-c", as_json])
        .arg(deploy("compose.yaml"))
        .output()
        .unwrap();
    let compose: Value = serde_json::from_slice(&output.stdout).unwrap();

    let known: Vec<&String> = compose["volumes"].as_object().unwrap().keys().collect();
    for (name, service) in compose["services"].as_object().unwrap() {
        let texts = |member: &str| -> Vec<&str> {
            let list = service[member].as_array().into_iter().flatten();
            list.map(|text| text.as_str().unwrap()).collect()
        };
        for volume in texts("volumes") {
            let source = volume.split(':').next().unwrap();
            let is_there = deploy(source).exists() || known.iter().any(|it| *it == source);
            assert!(is_there, "{name} mounts {source}");
        }
        for other in service["depends_on"].as_object().into_iter().flatten() {
            assert!(
                compose["services"].get(other.0).is_some(),
                "{name} waits for {}",
                other.0
            );
        }
        if service["image"] != "wampgate" {
            continue;
        }
        let command = texts("command");
        if !command.is_empty() {
            let output = wampgate(&command, &["--help"], &[]);
            assert!(output.status.success(), "{command:?}");
            continue;
        }
        let environment = service["environment"].as_object().unwrap();
        let environment = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
        let environment: Vec<_> = environment.collect();
        let config = configuration(&["serve", "--config", CONFIG], &environment);
        assert!(text(&config, "store", "url").starts_with("nats://"));
        assert!(seconds(service["stop_grace_period"].as_str().unwrap()) >= longest_end(&config));
        // The ports of the host differ, those of the program do not.
        assert!(texts("ports")[0].ends_with(":18080"));
    }

    let check = Command::new(PROGRAM)
        .arg("check")
        .args([deploy("compose/specs"), deploy("compose/realms")])
        .output()
        .unwrap();
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stderr)
    );

    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(bin.join("crossbar"))
        .args(["check", "--cbdir"])
        .arg(folder.path())
        .arg("--config")
        .arg(deploy("compose/crossbar.json"))
        .env("HOME", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("configuration looks good"), "{said}");
}
