//! What commands read before they do anything: the configuration, as `serve` has it.

use std::path::Path;

use anyhow::Context;

use super::Outside;
use crate::config::{Config, DEFAULT_FILE, Override, Sources};

/// Reads the configuration: the file that is named or the one that is there, the environment, and
/// `flags` over both. Findings that end it are reported, and give none.
pub(super) fn load(
    named: Option<&Path>,
    flags: Vec<Override>,
    outside: &Outside,
) -> anyhow::Result<Option<Config>> {
    let default = Path::new(DEFAULT_FILE);
    let path = named.or_else(|| default.exists().then_some(default));
    let text = match path {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?,
        None => String::new(),
    };
    read(
        &Sources {
            file: path.map(|path| (path, text.as_str())),
            environment: outside.environment.clone(),
            flags,
        },
        outside,
    )
}

/// Reads a configuration of flags alone. Findings that end it are reported, and give none.
pub(super) fn of_flags(flags: Vec<Override>, outside: &Outside) -> anyhow::Result<Option<Config>> {
    let sources = Sources {
        flags,
        ..Sources::default()
    };
    read(&sources, outside)
}

fn read(sources: &Sources<'_>, outside: &Outside) -> anyhow::Result<Option<Config>> {
    match Config::load(sources) {
        Ok((config, warnings)) => {
            outside.report(&warnings)?;
            Ok(Some(config))
        }
        Err(findings) => {
            outside.report(&findings)?;
            Ok(None)
        }
    }
}
