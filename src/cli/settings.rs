//! What commands read before they do anything: the configuration, as `serve` has it.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Outside;
use crate::app;
use crate::config::{Config, DEFAULT_FILE, Override, Sources};
use crate::diagnostic::Diagnostic;

/// Reads the configuration: the file that is named or the one that is there, the environment, and
/// `flags` over both. Findings that end it are reported, and give none.
pub(super) fn load(
    named: Option<&Path>,
    flags: Vec<Override>,
    outside: &Outside,
) -> anyhow::Result<Option<Config>> {
    let file = file(named)?;
    read(&sources(file.as_ref(), flags, outside), outside)
}

/// Reads the file that is named, or the one that is there.
fn file(named: Option<&Path>) -> anyhow::Result<Option<(PathBuf, String)>> {
    let default = Path::new(DEFAULT_FILE);
    let Some(path) = named.or_else(|| default.exists().then_some(default)) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    Ok(Some((path.to_owned(), text)))
}

fn sources<'f>(
    file: Option<&'f (PathBuf, String)>,
    flags: Vec<Override>,
    outside: &Outside,
) -> Sources<'f> {
    Sources {
        file: file.map(|(path, text)| (path.as_path(), text.as_str())),
        environment: outside.environment.clone(),
        flags,
    }
}

/// Why a configuration was not read again.
#[derive(Debug)]
pub(super) enum Unusable {
    /// Its file cannot be read.
    Unread(anyhow::Error),
    /// Errors, and warnings beside them.
    Findings(Vec<Diagnostic>),
}

impl Unusable {
    /// Writes it to the log.
    pub(super) fn tell(&self) {
        match self {
            Unusable::Unread(error) => tracing::error!("{error:#}"),
            Unusable::Findings(findings) => findings.iter().for_each(app::tell),
        }
        tracing::error!("the configuration is not right, and stays as it was");
    }
}

/// Reads the configuration again, while the program runs, and returns warnings beside it. The
/// environment and flags are those of the start.
pub(super) fn read_again(
    named: Option<&Path>,
    flags: Vec<Override>,
    outside: &Outside,
) -> Result<(Config, Vec<Diagnostic>), Unusable> {
    let file = file(named).map_err(Unusable::Unread)?;
    let sources = sources(file.as_ref(), flags, outside);
    Config::load(&sources).map_err(Unusable::Findings)
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
