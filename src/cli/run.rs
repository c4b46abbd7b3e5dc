//! What the commands share that wait for something: a runtime, logs, and the way into it.

use std::time::Duration;

use anyhow::Context;

use super::{Outcome, Outside};
use crate::config::{Log, LogLevel};
use crate::telemetry::logs::{self, Stream};

/// Longest wait for what cannot be ended, such as the lookup of a host's name.
const LAST_WORK: Duration = Duration::from_millis(100);

/// Starts logging, and runs `work` on a runtime of all cores.
pub(super) fn on_runtime<T>(
    log: Log,
    stream: Stream,
    outside: &Outside,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    // Dropped last, so that it has the last line too.
    let _logs = logs::init(&logs::Config {
        format: log.format,
        level: log.level.as_str().to_owned(),
        colour: match stream {
            Stream::Stdout => outside.colour(&std::io::stdout()),
            Stream::Stderr => outside.colour(&std::io::stderr()),
        },
        stream,
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(work);
    // Just dropped, it would wait for a resolver that does not answer: half a minute and more.
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}

/// Runs a WAMP client of the shell. Standard output is for what it was asked for, so what has to be
/// told besides goes to standard error.
pub(super) fn as_client(
    outside: &Outside,
    work: impl Future<Output = anyhow::Result<Outcome>>,
) -> anyhow::Result<Outcome> {
    let log = Log {
        format: logs::Format::Text,
        level: LogLevel::Warn,
    };
    on_runtime(log, Stream::Stderr, outside, work)
}
