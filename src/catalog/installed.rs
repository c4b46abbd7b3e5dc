//! What is served at one moment, and every text that is known beside it.
//!
//! Texts come from files and from the store; [`Installed::compile`] makes of all of them together
//! what is served next, and [`Installed::with`] tells what would be served if the store held another
//! text. Both are pure: nothing here reads, writes, connects or knows the time.
//!
//! # A text that does not load takes nothing away
//!
//! Every document has a text that is there now, and perhaps an older one that is served. The present
//! one is served if it loads. If not, it is kept and reported, and the one that was served before
//! goes on. The cases, and why they are decided so:
//!
//! - *It is broken by itself.* Somebody is in the middle of a change. What clients use stays.
//! - *It conflicts with another document* (the same id, the same route). Who serves a route keeps it,
//!   so it is the newcomer that is refused, whichever text it comes with; else an upload could take
//!   routes away from an API that nobody touched. Routes may still move from one spec to another, or
//!   be exchanged, in one change: the present texts are tried together first, and fall back only
//!   where they conflict.
//! - *Nobody had it before*, as at a start: files before stored documents, files by name, stored
//!   documents by revision. So gateways that share a store decide alike.
//! - *A file and a stored document have the same id.* The file wins, always: it is out of the admin
//!   API's reach, so it must not depend on what was uploaded when. A file that has never loaded wins
//!   nothing.
//! - *Its realm is refused.* The realm's last good settings are served, so nothing happens to the spec.
//! - *Its realm is gone.* A realm lasts as long as something that is served uses it, and the spec is
//!   reported as rejected. The admin API refuses to remove a realm in use, and a file that vanishes
//!   is more often an accident than a decision to end an API. Who wants that removes the API.
//! - *It cannot be read.* As if it were broken, and so is every file of a folder that cannot be read:
//!   a volume that is not mounted is not an empty one.
//! - *It is gone.* Then so is what it served: that is how one removes something. A file of realms that
//!   loads and does not name one any more has removed it.
//! - *Nothing was served before*, as at a start, and the document is a stored one: the newest of its
//!   earlier revisions that loads, once [`Sources::older`] has them.
//!
//! # A change costs what it changes
//!
//! Each text is compiled once, by itself, and kept as long as it is there or served; then only ids,
//! routes and realms are compared. What did not change is the same [`Route`]s as before, down to their
//! addresses, so state that hangs on them survives.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use http::Method;

use super::realms::{self, RealmSlot};
use super::specs::{self, SpecSlot};
use super::{Catalog, SourceText};
use crate::diagnostic::Diagnostic;
use crate::realm::{LoadedRealms, Realm};
use crate::spec::{HostPattern, Operation, PathPattern, Route};
use crate::store::{Contents, Key, Kind, Record, record};

/// All texts: files (with `${NAME}` from the environment) and stored documents (without).
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The files of specs, in the order in which they count.
    pub spec_files: Vec<SourceText>,
    /// The files of realms, likewise.
    pub realm_files: Vec<SourceText>,
    /// What could not be read: files, and whole folders.
    pub unread: Vec<Diagnostic>,
    /// The store's documents.
    pub stored: Contents,
    /// Revisions of stored documents, for those that [want](Installed::wants) them. Newest first.
    pub older: BTreeMap<Key, Vec<Record>>,
    /// When all this was read, in milliseconds since 1970 (UTC).
    pub time_ms: u64,
}

/// Where a document comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file; read-only in the admin API.
    File {
        /// Its name.
        name: String,
    },
    /// The store.
    Store {
        /// The revision of its text.
        revision: u64,
        /// Who wrote that.
        author: String,
    },
}

/// Whether the text of a document is the one that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is.
    Active,
    /// It is not, for the errors among its findings.
    Rejected,
}

impl State {
    /// Returns the name that the admin API and metrics use.
    pub fn name(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Rejected => "rejected",
        }
    }
}

/// One document as the gateway knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The `id` of a spec, the `uri` of a realm. While an older text is served, that text's; where
    /// none can be read, the file's name.
    pub id: String,
    /// Where it comes from.
    pub origin: Origin,
    /// When it was written, in milliseconds since 1970 (UTC). Of a file: when the gateway first read
    /// this text.
    pub time_ms: u64,
    /// The text as it was written, `${NAME}` and secrets included. Of a realm in a list, its own part.
    pub text: Arc<str>,
    /// SHA-256 of the text, in lower-case hexadecimal.
    pub hash: String,
    /// Whether it is served.
    pub state: State,
    /// What was found: errors if it is rejected, else warnings at most.
    pub findings: Vec<Diagnostic>,
    /// Whether it is rejected and an older text goes on serving.
    pub serves_older: bool,
}

/// What is served at one moment; immutable.
#[derive(Debug, Default)]
pub struct Installed {
    /// How many different tables there have been since the start, this one included.
    pub number: u64,
    /// The newest write of the store that is taken into account.
    pub store_revision: u64,
    /// When its texts were read, in milliseconds since 1970 (UTC).
    pub time_ms: u64,
    /// Every spec: files in their order, then stored ones by id.
    pub specs: Vec<Entry>,
    /// Every realm, likewise.
    pub realms: Vec<Entry>,
    /// What is wrong with what holds no document, such as a folder that cannot be read.
    pub others: Vec<Diagnostic>,
    /// What is served: [`Catalog::routes`], [`Catalog::realms`].
    pub catalog: Catalog,
    sources: Arc<Sources>,
    asked: Asked,
    pub(super) spec_slots: Vec<SpecSlot>,
    pub(super) realm_slots: Vec<RealmSlot>,
    /// What is served of realms, also those that are left only because something uses them.
    pub(super) served_realms: Vec<Arc<Realm>>,
}

/// The values of `${NAME}` that files were given: [`Installed::with`] reads the same files, and has
/// to find the same in them.
#[derive(Clone, Default)]
struct Asked(BTreeMap<String, String>);

/// Does not show the values: they are secrets often enough.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What changes for clients between two moments. Each in the order of its table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteDifference {
    /// Routes that were not there.
    pub added: Vec<Route>,
    /// Routes that are not there any more.
    pub removed: Vec<Route>,
    /// Routes that are there before and after and do something else, as they are after.
    pub changed: Vec<Route>,
}

/// Gives the values of `${NAME}`.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

impl Installed {
    /// Makes of all texts what is served after `previous`.
    pub fn compile(
        sources: Sources,
        previous: Option<&Installed>,
        environment: Environment<'_>,
    ) -> Installed {
        let sources = Arc::new(sources);
        let nothing = Installed::default();
        let previous = previous.unwrap_or(&nothing);
        let stored = &sources.stored;
        let asked = RefCell::default();
        let remembering = |name: &str| {
            let value = environment(name)?;
            let Asked(values) = &mut *asked.borrow_mut();
            values.insert(name.to_owned(), value.clone());
            Some(value)
        };
        let time_ms = sources.time_ms;
        let installed = Self::assemble(&sources, stored, time_ms, previous, &remembering);
        Installed {
            asked: asked.into_inner(),
            ..installed
        }
    }

    /// Returns what would be served if the store held `text` under `key`, or nothing if there is no
    /// text.
    ///
    /// For validation and dry runs: the new document is [stored](Installed::stored) in what is
    /// returned, with its state and findings. Takes as long as compiling the text.
    #[must_use]
    pub fn with(&self, key: &Key, text: Option<Arc<str>>) -> Installed {
        let mut stored = self.sources.stored.clone();
        stored.revision += 1;
        let records = Arc::make_mut(&mut stored.records);
        match text {
            None => {
                records.remove(key);
            }
            Some(text) => {
                let record = Record {
                    key: key.clone(),
                    revision: stored.revision,
                    hash: hash(&text),
                    text: Some(text),
                    author: String::new(),
                    time_ms: self.time_ms,
                };
                records.insert(key.clone(), record);
            }
        }
        // The files are those of `self`, so they ask for the same names.
        let environment = |name: &str| self.asked.0.get(name).cloned();
        let installed = Self::assemble(&self.sources, &stored, self.time_ms, self, &environment);
        Installed {
            asked: self.asked.clone(),
            ..installed
        }
    }

    fn assemble(
        sources: &Arc<Sources>,
        stored: &Contents,
        time_ms: u64,
        previous: &Installed,
        environment: Environment<'_>,
    ) -> Installed {
        let input = Input {
            sources,
            stored,
            time_ms,
            previous,
            environment,
        };
        let realms = realms::compile(&input);
        let specs = specs::compile(&input, &realms.served, &realms.refused);
        let mut served_realms = realms.served;
        for spec in &specs.served {
            if let Some(realm) = spec.realm()
                && served_realms.iter().all(|served| served.uri != *realm)
            {
                let mut before = previous.served_realms.iter();
                served_realms.extend(before.find(|served| served.uri == *realm).cloned());
            }
        }
        let catalog = Catalog {
            specs: specs
                .served
                .iter()
                .map(|spec| spec.loaded(Vec::new()))
                .collect(),
            realms: vec![LoadedRealms {
                realms: served_realms
                    .iter()
                    .map(|realm| Realm::clone(realm))
                    .collect(),
                ..LoadedRealms::default()
            }],
            ..Catalog::default()
        };
        let is_same = previous.number > 0
            && specs::serves_the_same(&specs.slots, &previous.spec_slots)
            && served_realms == previous.served_realms;
        Installed {
            number: previous.number + u64::from(!is_same),
            store_revision: stored.revision,
            time_ms,
            specs: specs.entries,
            realms: realms.entries,
            others: sources.unread.clone(),
            catalog,
            sources: sources.clone(),
            asked: Asked::default(),
            spec_slots: specs.slots,
            realm_slots: realms.slots,
            served_realms,
        }
    }

    /// Returns whether it was made of these texts, whenever they were read.
    pub fn is_of(&self, sources: &Sources) -> bool {
        let own = &*self.sources;
        self.number > 0
            && own.spec_files == sources.spec_files
            && own.realm_files == sources.realm_files
            && own.unread == sources.unread
            && own.stored == sources.stored
    }

    /// Returns all texts that it was made of.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Returns the document that the store holds under `key`.
    pub fn stored(&self, key: &Key) -> Option<&Entry> {
        let mut entries = self.entries(key.kind).iter();
        entries.find(|entry| entry.id == key.id && matches!(entry.origin, Origin::Store { .. }))
    }

    /// Returns the document of an id: the active one, where a file and the store have one each.
    pub fn entry(&self, kind: Kind, id: &str) -> Option<&Entry> {
        let of_id = self.entries(kind).iter().filter(|entry| entry.id == id);
        of_id.min_by_key(|entry| (entry.state == State::Rejected, !entry.serves_older))
    }

    /// Returns all documents of a kind.
    pub fn entries(&self, kind: Kind) -> &[Entry] {
        match kind {
            Kind::Realm => &self.realms,
            Kind::Spec => &self.specs,
        }
    }

    /// Returns the stored documents that are rejected while nothing older is served, with their
    /// revision. [`Sources::older`] may help.
    pub fn wants(&self) -> Vec<(Key, u64)> {
        let wants = |kind: Kind| {
            self.entries(kind).iter().filter_map(move |entry| {
                let Origin::Store { revision, .. } = entry.origin else {
                    return None;
                };
                let id = entry.id.clone();
                let is_lacking = entry.state == State::Rejected && !entry.serves_older;
                is_lacking.then_some((Key { kind, id }, revision))
            })
        };
        wants(Kind::Realm).chain(wants(Kind::Spec)).collect()
    }

    /// Returns every finding, each once: what is wrong with folders, then realms, then specs.
    pub fn findings(&self) -> Vec<&Diagnostic> {
        let entries = self.realms.iter().chain(&self.specs);
        let all = entries.flat_map(|entry| &entry.findings);
        let mut findings: Vec<&Diagnostic> = Vec::new();
        for finding in self.others.iter().chain(all) {
            // What is wrong with a whole file is told of each realm in it, one after the other.
            let mut latest = findings.iter().rev().take(NEAR);
            if !latest.any(|known| *known == finding) {
                findings.push(finding);
            }
        }
        findings
    }

    /// Returns how many routes are served.
    pub fn routes(&self) -> usize {
        self.catalog
            .specs
            .iter()
            .map(|spec| spec.routes.len())
            .sum()
    }

    /// Returns how many documents are rejected: specs, and realms.
    pub fn rejected(&self) -> (usize, usize) {
        let count = |entries: &[Entry]| {
            let rejected = entries
                .iter()
                .filter(|entry| entry.state == State::Rejected);
            rejected.count()
        };
        (count(&self.specs), count(&self.realms))
    }

    /// Returns how much could not be read: files, and folders. One that never was there is none, nor
    /// is one without a file: APIs may all be in the store.
    pub fn unread(&self) -> usize {
        self.others
            .iter()
            .filter(|finding| finding.is_error())
            .count()
    }

    /// Returns what clients would see change if `other` followed.
    pub fn routes_difference(&self, other: &Installed) -> RouteDifference {
        type Place<'r> = (&'r HostPattern, &'r PathPattern, &'r Method);
        fn places(installed: &Installed) -> HashMap<Place<'_>, &Arc<Operation>> {
            let specs = installed.catalog.specs.iter();
            let routes = specs.flat_map(|spec| spec.routes.iter());
            routes
                .map(|route| ((&route.host, &route.path, &route.method), &route.operation))
                .collect()
        }
        let (before, after) = (places(self), places(other));
        let mut difference = RouteDifference::default();
        for route in other.catalog.specs.iter().flat_map(|spec| &*spec.routes) {
            match before.get(&(&route.host, &route.path, &route.method)) {
                None => difference.added.push(route.clone()),
                Some(operation) => {
                    let is_same =
                        Arc::ptr_eq(operation, &route.operation) || **operation == route.operation;
                    if !is_same {
                        difference.changed.push(route.clone());
                    }
                }
            }
        }
        for route in self.catalog.specs.iter().flat_map(|spec| &*spec.routes) {
            if !after.contains_key(&(&route.host, &route.path, &route.method)) {
                difference.removed.push(route.clone());
            }
        }
        difference
    }
}

/// How far back a finding is looked for that is told again: all realms of a file have what is wrong
/// with the file.
const NEAR: usize = 20;

/// Where the text of a document is kept: what stays the same when the text changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// A file, by name.
    File(String),
    /// The store, by the key's id.
    Stored(String),
}

impl Place {
    /// Returns what findings call it.
    pub(super) fn name(&self) -> String {
        match self {
            Place::File(name) => name.clone(),
            Place::Stored(id) => format!("store:{id}"),
        }
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self, Place::File(_))
    }
}

/// A text with what is known of its writing.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) origin: Origin,
    pub(super) text: Arc<str>,
    pub(super) hash: String,
    pub(super) time_ms: u64,
}

impl Written {
    /// A text of a file, which may be the one that was there `before`.
    pub(super) fn in_file(name: &str, text: &str, time_ms: u64, before: Option<&Written>) -> Self {
        if let Some(before) = before.filter(|before| *before.text == *text) {
            return before.clone();
        }
        Self {
            origin: Origin::File {
                name: name.to_owned(),
            },
            text: text.into(),
            hash: hash(text),
            time_ms,
        }
    }

    pub(super) fn in_store(record: &Record, text: &Arc<str>) -> Self {
        Self {
            origin: Origin::Store {
                revision: record.revision,
                author: record.author.clone(),
            },
            text: text.clone(),
            hash: record.hash.clone(),
            time_ms: record.time_ms,
        }
    }

    /// Returns the entry of this text.
    pub(super) fn entry(
        &self,
        id: String,
        state: State,
        findings: Vec<Diagnostic>,
        serves_older: bool,
    ) -> Entry {
        Entry {
            id,
            origin: self.origin.clone(),
            time_ms: self.time_ms,
            text: self.text.clone(),
            hash: self.hash.clone(),
            state,
            findings,
            serves_older,
        }
    }
}

/// What a compilation works on.
#[derive(Clone, Copy)]
pub(super) struct Input<'i> {
    sources: &'i Sources,
    stored: &'i Contents,
    pub(super) time_ms: u64,
    pub(super) previous: &'i Installed,
    pub(super) environment: Environment<'i>,
}

impl<'i> Input<'i> {
    pub(super) fn files(&self, kind: Kind) -> &'i [SourceText] {
        match kind {
            Kind::Realm => &self.sources.realm_files,
            Kind::Spec => &self.sources.spec_files,
        }
    }

    /// Returns the stored documents of a kind, the oldest write first.
    pub(super) fn records(&self, kind: Kind) -> Vec<(&'i Record, &'i Arc<str>)> {
        let records = self.stored.records.values();
        let mut records: Vec<_> = records
            .filter(|record| record.key.kind == kind)
            .filter_map(|record| Some((record, record.text.as_ref()?)))
            .collect();
        records.sort_by_key(|(record, _)| record.revision);
        records
    }

    /// Returns the earlier texts of a stored document, the newest first; not those from before it was
    /// deleted, which somebody wanted to be gone.
    pub(super) fn older(&self, record: &Record) -> impl Iterator<Item = &'i Arc<str>> {
        let revisions = self.sources.older.get(&record.key).into_iter().flatten();
        let revision = record.revision;
        let earlier = revisions.filter(move |older| older.revision < revision);
        earlier.map_while(|older| older.text.as_ref())
    }

    /// Returns why a file could not be read, where it was tried.
    pub(super) fn unread(&self, file: &str) -> Option<&'i Diagnostic> {
        let folder = std::path::Path::new(file).parent();
        let is_it = |unread: &&Diagnostic| {
            let name = unread.location.file.as_deref();
            let is_folder = name.is_some_and(|name| folder == Some(std::path::Path::new(name)));
            unread.is_error() && (name == Some(file) || is_folder)
        };
        self.sources.unread.iter().find(is_it)
    }
}

fn hash(text: &str) -> String {
    record::hash(text)
}

#[cfg(test)]
mod tests;
