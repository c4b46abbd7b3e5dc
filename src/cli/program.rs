//! A program that answers calls: the call goes to its standard input, what it prints is the result.
//!
//! Nothing of a call is ever part of a command line, and there is no shell unless one is the program:
//! a caller can choose what is read, never what is run. Each run is a process group of its own, so
//! that what it started ends with it; and it is bounded in time and in what it may print.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::Outside;
use super::session::{payload, value};
use crate::app::notify::VARIABLES;
use crate::value::{Map, Value};
use crate::wamp::error::{ApplicationError, uris};
use crate::wamp::message::Payload;

/// What a program may print at most; a router takes no more in one message anyway.
const MAX_OUTPUT: usize = 16 << 20;

/// How much of the end of standard error a caller is told.
const TAIL: usize = 2048;

/// A program and what it may take.
#[derive(Debug)]
pub(super) struct Program {
    /// The program, and its arguments.
    command: Vec<String>,
    timeout: Duration,
    /// Variables that it does not get: our own, which may hold secrets, and those of whoever
    /// manages this process.
    withheld: Vec<String>,
}

impl Program {
    pub(super) fn new(command: &[String], timeout: Duration, outside: &Outside) -> Self {
        let names = outside.environment.iter().map(|(name, _)| name);
        Self {
            command: command.to_vec(),
            timeout,
            withheld: names
                .filter(|name| name.starts_with("WAMPGATE_") || VARIABLES.contains(&name.as_str()))
                .cloned()
                .collect(),
        }
    }

    /// Runs the program on `input`. What it leaves behind in its process group is killed when it ends.
    ///
    /// # Errors
    ///
    /// What the program reports; `wamp.error.runtime_error` when it cannot be started, fails without
    /// a word or prints what is no text; `wamp.error.timeout` and
    /// `wamp.error.payload_size_exceeded` for what takes too long or prints too much.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills the program and all that it started.
    pub(super) async fn run(&self, input: &Value) -> Result<Payload, ApplicationError> {
        let running = self.run_to_its_end(format!("{input}\n").into_bytes());
        let Ok(answer) = timeout(self.timeout, running).await else {
            let message = format!("the program did not end within {:?}", self.timeout);
            return Err(ApplicationError::with_message(TIMEOUT, &message));
        };
        answer
    }

    async fn run_to_its_end(&self, input: Vec<u8>) -> Result<Payload, ApplicationError> {
        let failed = |error: io::Error| {
            let message = format!("the program cannot be run: {error}");
            tracing::error!(program = self.command[0], "{message}");
            ApplicationError::with_message(uris::RUNTIME_ERROR, &message)
        };
        let mut command = Command::new(&self.command[0]);
        command
            .args(&self.command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for name in &self.withheld {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(failed)?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            unreachable!("all three are piped");
        };
        let mut group = Group::of(child);
        let write = async move {
            // A program need not read what it is told.
            stdin.write_all(&input).await.ok();
            Ok(())
        };
        let ended = async { group.ended().await.map_err(failed) };
        let (output, tail, status, ()) =
            tokio::try_join!(read_output(stdout), read_tail(stderr), ended, write)?;
        answer(status, output, &tail)
    }
}

const TIMEOUT: &str = "wamp.error.timeout";

/// Reads all, up to what is allowed.
async fn read_output(stdout: impl AsyncRead + Unpin) -> Result<Vec<u8>, ApplicationError> {
    let mut output = Vec::new();
    let mut stdout = stdout.take(MAX_OUTPUT as u64 + 1);
    // What could be read before the pipe broke is what there is.
    stdout.read_to_end(&mut output).await.ok();
    if output.len() > MAX_OUTPUT {
        let message = format!("the program printed more than {MAX_OUTPUT} bytes");
        return Err(ApplicationError::with_message(
            uris::PAYLOAD_SIZE_EXCEEDED,
            &message,
        ));
    }
    Ok(output)
}

/// Shows all of standard error to whoever runs us, and returns the end of it.
async fn read_tail(mut stderr: impl AsyncRead + Unpin) -> Result<String, ApplicationError> {
    let mut tail = VecDeque::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        io::stderr().write_all(&chunk[..count]).ok();
        tail.extend(&chunk[..count]);
        tail.drain(..tail.len().saturating_sub(TAIL));
    }
    let tail: Vec<u8> = tail.into();
    Ok(String::from_utf8_lossy(&tail).trim().to_owned())
}

/// What the program said, as an answer.
#[expect(clippy::result_large_err, reason = "what a handler must return")]
fn answer(status: ExitStatus, output: Vec<u8>, tail: &str) -> Result<Payload, ApplicationError> {
    let said = match String::from_utf8(output) {
        Ok(text) if text.trim_end().is_empty() => Ok(None),
        Ok(text) => value(text.trim_end()).map(Some),
        Err(_) => Err("what the program printed is not UTF-8".to_owned()),
    };
    if status.success() {
        return match said {
            Ok(said) => Ok(said.map(payload).unwrap_or_default()),
            Err(error) => Err(ApplicationError::with_message(uris::RUNTIME_ERROR, &error)),
        };
    }
    if let Ok(Some(error)) = said.map(|said| said.as_ref().and_then(reported)) {
        return Err(error);
    }
    let code = status
        .code()
        .map_or(Value::Null, |code| i64::from(code).into());
    let kwargs = Map::from_iter([
        ("exit_code".to_owned(), code),
        ("stderr".to_owned(), tail.into()),
    ]);
    let message = format!("the program failed: {status}");
    Err(ApplicationError::new(
        uris::RUNTIME_ERROR,
        vec![message.into()],
        kwargs,
    ))
}

/// The error that a program that failed has printed: `{"error": URI}`, with `args` and `kwargs`.
fn reported(value: &Value) -> Option<ApplicationError> {
    let map = value.as_map()?;
    let uri = map.get("error")?.as_text()?;
    let args = map.get("args").and_then(Value::as_list).unwrap_or_default();
    let kwargs = map.get("kwargs").and_then(Value::as_map);
    Some(ApplicationError::new(
        uri,
        args.to_vec(),
        kwargs.cloned().unwrap_or_default(),
    ))
}

/// The process group of a program; killed when the program ends or when this is dropped.
struct Group {
    program: Child,
    /// The group's number, which is the program's; none once the group has been killed.
    // INVARIANT: while this is here, the program has not been waited for, so that the number cannot
    // have become another's.
    id: Option<Pid>,
}

impl Group {
    fn of(program: Child) -> Self {
        let id = program.id().and_then(|id| i32::try_from(id).ok());
        Self {
            id: id.and_then(Pid::from_raw),
            program,
        }
    }

    /// Waits until the program has ended by itself, and kills what it has left behind: that would
    /// outlast the call, and hold what the program printed open.
    async fn ended(&mut self) -> io::Result<ExitStatus> {
        let mut children = signal(SignalKind::child())?;
        while let Some(id) = self.id
            && is_running(id)?
        {
            children.recv().await;
        }
        self.kill();
        self.program.wait().await
    }

    fn kill(&mut self) {
        if let Some(group) = self.id.take() {
            // It may be empty by now.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a child of ours still runs; one that does not is left to be waited for.
fn is_running(child: Pid) -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(child), options)?.is_none())
}
