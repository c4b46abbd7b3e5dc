//! What is told in the log about specs and realms: each finding once, as long as it stays, and one
//! line for each change.

use std::collections::HashSet;

use super::embedded::EmbeddedError;
use crate::catalog::installed::Installed;
use crate::diagnostic::{Diagnostic, Severity};
use crate::realm::Realm;
use crate::uri::Uri;

/// What has been told.
#[derive(Debug, Default)]
pub(super) struct Told {
    findings: HashSet<String>,
    number: u64,
    rejected: (usize, usize),
    /// Realms whose users are of no use.
    users: HashSet<Uri>,
    embedded: Option<String>,
}

impl Told {
    /// Takes what was found as told.
    pub(super) fn mark(&mut self, installed: &Installed) {
        let findings = installed.findings();
        self.findings = findings.into_iter().map(Diagnostic::to_string).collect();
        self.number = installed.number;
        self.rejected = installed.rejected();
    }

    /// Tells what is new.
    pub(super) fn tell(&mut self, installed: &Installed, embedded: Option<EmbeddedError>) {
        for finding in installed.findings() {
            if !self.findings.contains(&finding.to_string()) {
                tell(finding);
            }
        }
        let embedded = embedded.map(|error| crate::wamp::error::chain(&error));
        if embedded != self.embedded {
            if let Some(error) = &embedded {
                tracing::error!("{error}");
            }
            self.embedded = embedded;
        }
        if (self.number, self.rejected) != (installed.number, installed.rejected()) {
            summarise(installed);
        }
        self.mark(installed);
    }

    /// Says which realms have users who are nobody at a router elsewhere.
    pub(super) fn users_of_nobody<'r>(&mut self, realms: impl Iterator<Item = &'r Realm>) {
        let mut now = HashSet::new();
        for realm in realms.filter(|realm| !realm.users.is_empty()) {
            let uri = &realm.uri;
            if !self.users.contains(uri) {
                tracing::warn!(
                    realm.uri = %uri,
                    "users of realm {uri} are not used: they are for the embedded router only so far"
                );
            }
            now.insert(uri.clone());
        }
        self.users = now;
    }
}

/// Writes a finding to the log.
pub fn tell(finding: &Diagnostic) {
    let location = &finding.location;
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(
                finding.code = finding.code.as_str(),
                finding.file = location.file,
                finding.pointer = location.pointer,
                finding.line = location.line,
                finding.column = location.column,
                "{finding}"
            )
        };
    }
    match finding.severity {
        Severity::Error => event!(error),
        Severity::Warning => event!(warn),
    }
}

/// `table 3: 12 routes, 2 specs rejected`
fn summarise(installed: &Installed) {
    let (specs, realms) = installed.rejected();
    let routes = installed.routes();
    let number = installed.number;
    let count = |count: usize, name: &str| match count {
        0 => String::new(),
        1 => format!(", 1 {name} rejected"),
        count => format!(", {count} {name}s rejected"),
    };
    let plural = if routes == 1 { "" } else { "s" };
    let rejected = count(specs, "spec") + &count(realms, "realm");
    if rejected.is_empty() {
        tracing::info!(
            table = number,
            routes,
            "table {number}: {routes} route{plural}"
        );
    } else {
        tracing::warn!(
            table = number,
            routes,
            specs.rejected = specs,
            realms.rejected = realms,
            "table {number}: {routes} route{plural}{rejected}"
        );
    }
}
