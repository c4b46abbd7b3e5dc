//! What `serve` and `demo` share: a runtime, logs, and the way into it.

use anyhow::Context;

use super::Outside;
use crate::config::Log;
use crate::telemetry::logs;

/// Starts logging, and runs `work` on a runtime of all cores.
pub(super) fn on_runtime<T>(
    log: Log,
    outside: &Outside,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    logs::init(&logs::Config {
        format: log.format,
        level: log.level.as_str().to_owned(),
        colour: outside.colour(&std::io::stdout()),
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.context("cannot start the runtime")?.block_on(work)
}
