//! What a reload goes by that is not a text of a spec or realm.

use std::fmt;
use std::sync::Arc;

use super::files::Files;
use crate::config::{Config, Router};

/// Gives the values of `${NAME}` in files.
#[derive(Clone)]
pub struct Environment(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Environment {
    /// An environment that `lookup` knows.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    pub(super) fn lookup(&self) -> &Lookup {
        &*self.0
    }
}

/// One without any variable.
impl Default for Environment {
    fn default() -> Self {
        Self::new(|_| None)
    }
}

/// Does not show the variables: they hold secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

/// What a reload goes by that is not a text of a spec or realm, and can change while the gateway
/// runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where files come from.
    pub files: Files,
    /// What realms use that have no router of their own.
    pub router: Router,
}

impl Settings {
    /// Takes from a configuration what is about this.
    pub fn new(config: &Config) -> Self {
        Self {
            files: Files::Folders {
                specs: config.specs_dir.clone(),
                realms: config.realms_dir.clone(),
            },
            router: config.router.clone(),
        }
    }
}
