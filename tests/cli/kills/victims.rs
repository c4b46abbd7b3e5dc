//! Processes that write until they are killed.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;
use std::{env, fs, thread};

use futures_util::future::join_all;
use wampgate::store::embedded::Embedded;
use wampgate::store::{Expect, Key, Kind, Store, Write};

use crate::PROGRAM;
use crate::processes::PATIENCE;

/// Writers of a process, each with a document of its own.
pub(crate) const WRITERS: usize = 6;

/// Names the folder of a victim, and says that this process is one.
const FOLDER: &str = "WAMPGATE_KILLS_FOLDER";
/// Names the first number that a victim writes.
const FIRST: &str = "WAMPGATE_KILLS_FIRST";

/// What a victim tells.
#[derive(Debug)]
pub(crate) enum Told {
    Ready,
    Written(Written),
}

/// One acknowledged write.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) id: String,
    pub(crate) revision: u64,
    /// The number that is all of its text; none for a deletion.
    pub(crate) number: Option<u64>,
}

/// The id of a writer's document.
pub(crate) fn id(writer: usize) -> String {
    format!("com.example.{writer}")
}

/// The text that a number makes: a spec of up to some 20 KB.
pub(crate) fn text(id: &str, number: u64) -> String {
    let long = usize::try_from(number * 7919 % 20_000).unwrap();
    format!(
        r#"{{"id": "{id}", "host": "_", "realm_uri": "com.example", "meta": {{"number": {number}, "fill": "{}"}},
    "versions": {{"1": {{"base_path": "/{id}", "paths": {{"/x": {{"get": {{"action": {{"type": "static", "body": {number}}}}}}}}}}}}}}}"#,
        "x".repeat(long)
    )
}

/// A process that writes until it is killed.
pub(crate) struct Victim {
    process: Child,
    told: Receiver<Told>,
}

impl Victim {
    /// Starts one that is the store and nothing else, in `data` of the folder.
    pub(crate) fn store(folder: &Path, first: u64) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "kills::victims::victim", "--nocapture"])
            .env(FOLDER, folder.join("data"))
            .env(FIRST, first.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, told) = mpsc::channel();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // Ends with the process.
        thread::spawn(move || {
            for line in lines {
                let line = line.unwrap();
                let words: Vec<_> = line.split(' ').collect();
                let told = match words[..] {
                    ["ready"] => Told::Ready,
                    ["written", id, revision, number] => Told::Written(Written {
                        id: id.to_owned(),
                        revision: revision.parse().unwrap(),
                        number: number.parse().ok(),
                    }),
                    // The test harness speaks too.
                    _ => continue,
                };
                if sender.send(told).is_err() {
                    return;
                }
            }
        });
        Self { process, told }
    }

    /// Starts a gateway, and writers that use its admin API.
    pub(crate) fn program(folder: &Path, first: u64) -> Self {
        let config = "[http]\nlisten = ['127.0.0.1:0']\n[admin]\nlisten = '127.0.0.1:0'\n\
                      [router]\nurls = ['ws://127.0.0.1:1/ws']\n[log]\nformat = 'text'\n";
        fs::write(folder.join("wampgate.toml"), config).unwrap();
        for name in ["specs", "realms"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("realms/a.json"), r#"{"uri": "com.example"}"#).unwrap();
        let mut process = Command::new(PROGRAM)
            .arg("serve")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, told) = mpsc::channel();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let token = folder.join("data/admin.token");
        // These end with the process.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Some((_, rest)) = line.split_once("serving the admin API at http://") else {
                    continue;
                };
                let address = rest.split(' ').next().unwrap().to_owned();
                let token = fs::read_to_string(&token).unwrap();
                sender.send(Told::Ready).ok();
                for writer in 0..WRITERS {
                    let api = Api {
                        address: address.clone(),
                        token: token.trim().to_owned(),
                        told: sender.clone(),
                    };
                    thread::spawn(move || api.keep_writing(&id(writer), first));
                }
            }
        });
        Self { process, told }
    }

    /// Waits for what it tells next; none if that does not come in time.
    pub(crate) fn next(&mut self, longest: Duration) -> Option<Told> {
        self.told.recv_timeout(longest).ok()
    }

    /// Kills it, and returns what it had told before that.
    pub(crate) fn kill(mut self) -> Vec<Told> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        // What is in the pipe counts: it was acknowledged.
        self.told.iter().collect()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A client of the admin API.
struct Api {
    address: String,
    token: String,
    told: Sender<Told>,
}

impl Api {
    /// Writes until the gateway is gone.
    fn keep_writing(&self, id: &str, first: u64) {
        let Ok(mut stream) = TcpStream::connect(&self.address) else {
            return;
        };
        for number in first.. {
            let Some((status, head)) = self.put(&mut stream, id, &text(id, number)) else {
                return;
            };
            assert!(matches!(status, 200 | 201), "{head}");
            let (_, tag) = head.split_once("etag: \"").unwrap();
            let digits = tag.split(|c: char| !c.is_ascii_digit()).next().unwrap();
            let written = Written {
                id: id.to_owned(),
                revision: digits.parse().unwrap(),
                number: Some(number),
            };
            if self.told.send(Told::Written(written)).is_err() {
                return;
            }
        }
    }

    /// Returns the status and the head of the answer; none where the gateway is gone.
    fn put(&self, stream: &mut TcpStream, id: &str, text: &str) -> Option<(u16, String)> {
        let head = format!(
            "PUT /api_specs/{id} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.address,
            self.token,
            text.len()
        );
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream
            .write_all(&[head.as_bytes(), text.as_bytes()].concat())
            .ok()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let (_, length) = head.split_once("content-length: ").unwrap();
        let length = length.lines().next().unwrap().parse().unwrap();
        // An answer that is cut off is an acknowledgement all the same, but nobody would know.
        stream.read_exact(&mut vec![0; length]).ok()?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some((status, head))
    }
}

/// Not a test but a victim: it does nothing in a process that nobody means to kill.
#[test]
#[expect(clippy::disallowed_methods, reason = "how a victim learns what it is")]
fn victim() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let first: u64 = env::var(FIRST).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Embedded::open(&folder).await.unwrap();
        // The harness has begun a line.
        say("\nready\n");
        join_all((0..WRITERS).map(|writer| keep_writing(&store, id(writer), first))).await;
    });
}

async fn keep_writing(store: &Embedded, id: String, first: u64) {
    for number in first.. {
        let key = Key {
            kind: Kind::Spec,
            id: id.clone(),
        };
        let is_there = store.contents().borrow().records.contains_key(&key);
        let is_deletion = is_there && number % 7 == 6;
        let record = store
            .write(Write {
                key,
                text: (!is_deletion).then(|| text(&id, number).into()),
                expect: Expect::Anything,
                author: "victim".to_owned(),
                time_ms: number,
            })
            .await
            .unwrap();
        let number = if is_deletion {
            "-".to_owned()
        } else {
            number.to_string()
        };
        say(&format!("written {id} {} {number}\n", record.revision));
    }
}

/// One write to the pipe: a line is there whole or not at all.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(line.as_bytes()).unwrap();
    stdout.flush().unwrap();
}
