//! The realms of a compilation. A file may hold several: each is a document of its own.

use std::sync::Arc;

use super::installed::{Entry, Input, Place, State, Written};
use super::{parse_stored, parse_text, unless_we_fail};
use crate::diagnostic::{Code, Diagnostic, Location};
use crate::realm::{self, ReadRealm, Realm};
use crate::store::Kind;
use crate::uri::Uri;

/// A realm: its text, and the settings that are served.
#[derive(Debug)]
pub(super) struct RealmSlot {
    place: Place,
    /// None where it cannot be read: then nothing is served either.
    uri: Option<Uri>,
    written: Written,
    /// Where the realm stands in its file.
    location: Location,
    served: Option<Arc<Realm>>,
}

pub(super) struct Realms {
    pub(super) slots: Vec<RealmSlot>,
    pub(super) entries: Vec<Entry>,
    /// Each URI once.
    pub(super) served: Vec<Arc<Realm>>,
    /// Realms that are named and of which nothing is served.
    pub(super) refused: Vec<Uri>,
}

/// A realm and what may be served of it.
struct Draft {
    slot: RealmSlot,
    newest: Option<Arc<Realm>>,
    /// What was served before, else older texts.
    older: Vec<Arc<Realm>>,
    findings: Vec<Diagnostic>,
}

impl Draft {
    fn best(&self) -> Option<&Arc<Realm>> {
        self.newest.as_ref().or(self.older.first())
    }
}

/// Reads the realms, and decides which are served.
pub(super) fn compile(input: &Input<'_>) -> Realms {
    let mut drafts = drafts(input);
    // Files before stored documents; then who was served before; then in order.
    let mut order: Vec<usize> = (0..drafts.len()).collect();
    order.sort_by_key(|index| {
        let slot = &drafts[*index].slot;
        (!slot.place.is_file(), slot.served.is_none(), *index)
    });
    let mut served: Vec<(Arc<Realm>, Location, usize)> = Vec::new();
    for index in order {
        let draft = &mut drafts[index];
        let Some(uri) = draft.slot.uri.clone() else {
            continue;
        };
        let winner = served.iter().find(|(realm, ..)| realm.uri == uri);
        let location = draft.slot.location.clone();
        match (winner, draft.best()) {
            (Some((_, first, _)), _) => {
                let mut finding = realm::duplicate(&uri, location, first);
                if !draft.slot.place.is_file() {
                    finding = finding.with_hint("a file wins over a stored document");
                }
                if !draft.findings.contains(&finding) {
                    draft.findings.push(finding);
                }
                draft.newest = None;
                draft.older.clear();
            }
            (None, Some(best)) => served.push((best.clone(), location, index)),
            (None, None) => {}
        }
    }
    served.sort_by_key(|(_, _, index)| *index);
    let served: Vec<Arc<Realm>> = served.into_iter().map(|(realm, ..)| realm).collect();
    let named = drafts.iter().filter_map(|draft| draft.slot.uri.clone());
    let refused = named.filter(|uri| served.iter().all(|realm| realm.uri != *uri));
    let refused = refused.collect();
    let finished = drafts.into_iter().map(Draft::finish);
    let mut finished: Vec<(RealmSlot, Entry)> = finished.collect();
    finished.sort_by(|(a, _), (b, _)| match (&a.place, &b.place) {
        (Place::File(_), Place::File(_)) => std::cmp::Ordering::Equal,
        (a, b) => a.cmp(b),
    });
    let (slots, entries) = finished.into_iter().unzip();
    Realms {
        slots,
        entries,
        served,
        refused,
    }
}

impl Draft {
    fn finish(mut self) -> (RealmSlot, Entry) {
        let state = if self.newest.is_some() {
            State::Active
        } else {
            State::Rejected
        };
        self.slot.served = self.best().cloned();
        let slot = self.slot;
        let id = match (&slot.uri, &slot.place) {
            (_, Place::Stored(id)) => id.clone(),
            (Some(uri), Place::File(_)) => uri.to_string(),
            (None, Place::File(name)) => format!("{name}{}", slot.location.pointer),
        };
        let serves_older = state == State::Rejected && slot.served.is_some();
        let entry = slot.written.entry(id, state, self.findings, serves_older);
        (slot, entry)
    }
}

fn drafts(input: &Input<'_>) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for file in input.files(Kind::Realm) {
        let place = Place::File(file.name.clone());
        let read = || {
            let document = parse_text(&file.name, &file.text, input.environment)?;
            Ok(realm::read(&document))
        };
        match unless_we_fail(&file.name, read) {
            Ok((realms, notes)) => {
                let is_whole = notes.iter().all(|note| !note.is_error())
                    && realms.iter().all(|realm| realm.uri.is_some());
                let mut notes = Some(notes);
                for realm in realms {
                    let written = written_in_file(input, &place, &file.name, &realm.text, &realm);
                    let mut draft = Draft::new(input, &place, written, realm);
                    // What is about no realm in particular is told with the first.
                    draft.findings.extend(notes.take().into_iter().flatten());
                    drafts.push(draft);
                }
                if !is_whole {
                    // One of them may be one that was served before.
                    carry_over(input, &place, &[], &mut drafts);
                }
            }
            Err(findings) if has_slots(input, &place) => {
                carry_over(input, &place, &findings, &mut drafts);
            }
            Err(findings) => {
                let written = Written::in_file(&file.name, &file.text, input.time_ms, None);
                drafts.push(Draft::unreadable(place, written, findings));
            }
        }
    }
    for slot in &input.previous.realm_slots {
        // Nearly always there is none, and the files are not looked through.
        if let Place::File(name) = &slot.place
            && let Some(unread) = input.unread(name)
            && input
                .files(Kind::Realm)
                .iter()
                .all(|file| file.name != *name)
        {
            drafts.push(Draft::held(slot, vec![unread.clone()]));
        }
    }
    for (record, text) in input.records(Kind::Realm) {
        let place = Place::Stored(record.key.id.clone());
        let written = Written::in_store(record, text);
        let mut draft = match unless_we_fail(&place.name(), || read_stored(&place, text)) {
            Ok(realm) => Draft::new(input, &place, written, realm),
            Err(findings) => {
                let mut draft = Draft::unreadable(place.clone(), written, findings);
                let before = input.previous.realm_slots.iter();
                let before = before
                    .filter(|slot| slot.place == place)
                    .find_map(|slot| slot.served.clone());
                draft.slot.uri = before.as_ref().map(|realm| realm.uri.clone());
                draft.slot.served = before.clone();
                draft.older.extend(before);
                draft
            }
        };
        if draft.older.is_empty() {
            let older = input.older(record).filter_map(|text| {
                unless_we_fail(&place.name(), || read_stored(&place, text)).ok()
            });
            draft
                .older
                .extend(older.filter_map(|realm| realm.realm).map(Arc::new));
            let uri = draft.older.first().map(|realm| realm.uri.clone());
            draft.slot.uri = draft.slot.uri.take().or(uri);
        }
        drafts.push(draft);
    }
    drafts
}

fn has_slots(input: &Input<'_>, place: &Place) -> bool {
    let mut slots = input.previous.realm_slots.iter();
    slots.any(|slot| slot.place == *place && slot.uri.is_some())
}

/// Keeps the realms of a file that it does not name now, as far as that can be read.
fn carry_over(input: &Input<'_>, place: &Place, findings: &[Diagnostic], drafts: &mut Vec<Draft>) {
    for slot in &input.previous.realm_slots {
        let is_named = |draft: &Draft| draft.slot.place == *place && draft.slot.uri == slot.uri;
        if slot.place == *place && slot.uri.is_some() && !drafts.iter().any(is_named) {
            let mut findings = findings.to_vec();
            if findings.is_empty() {
                let message =
                    "the file has a realm that cannot be read, so none is taken out of it";
                let location = Location::of_file(&place.name());
                findings.push(Diagnostic::error(Code::Unreadable, location, message));
            }
            drafts.push(Draft::held(slot, findings));
        }
    }
}

/// The time of a realm in a file is that of its own part of the file.
fn written_in_file(
    input: &Input<'_>,
    place: &Place,
    name: &str,
    text: &str,
    realm: &ReadRealm,
) -> Written {
    let uri = realm.uri.as_ref().map(|(uri, _)| uri);
    let mut before = input.previous.realm_slots.iter();
    let before = before.find(|slot| slot.place == *place && slot.uri.as_ref() == uri);
    Written::in_file(name, text, input.time_ms, before.map(|slot| &slot.written))
}

/// Reads a stored realm, which is one and the one that it is stored as.
fn read_stored(place: &Place, text: &Arc<str>) -> Result<ReadRealm, Vec<Diagnostic>> {
    let document = parse_stored(&place.name(), text)?;
    let (mut realms, notes) = realm::read(&document);
    let mut realm = match realms.pop() {
        Some(realm) if realms.is_empty() && realm.pointer.is_empty() => realm,
        Some(_) | None => {
            let location = document.location_of_key(document.root().id);
            let message = "found a list, expected one realm";
            return Err(vec![Diagnostic::error(Code::WrongType, location, message)]);
        }
    };
    realm.findings.extend(notes);
    if let (Some((uri, location)), Place::Stored(key)) = (&realm.uri, place)
        && uri.as_str() != key
    {
        let message = format!("the `uri` is `{uri}`, but this is stored as `{key}`");
        let finding = Diagnostic::error(Code::OtherName, location.clone(), message);
        realm.findings.push(finding);
        realm.uri = None;
        realm.realm = None;
    }
    Ok(realm)
}

impl Draft {
    fn new(input: &Input<'_>, place: &Place, written: Written, read: ReadRealm) -> Self {
        let (uri, location) = match read.uri {
            Some((uri, location)) => (Some(uri), location),
            None => {
                let mut location = Location::of_file(&place.name());
                location.pointer = read.pointer;
                (None, location)
            }
        };
        let mut before = input.previous.realm_slots.iter();
        // A stored document that does not say which realm it is has a key that does.
        let is_same = |slot: &&RealmSlot| {
            slot.place == *place && (slot.uri == uri || uri.is_none() && !place.is_file())
        };
        let served = before.find(is_same).and_then(|slot| slot.served.clone());
        // What is equal to what was served is the same.
        let newest = read.realm.map(|realm| match &served {
            Some(served) if **served == realm => served.clone(),
            _ => Arc::new(realm),
        });
        Self {
            slot: RealmSlot {
                place: place.clone(),
                uri: uri.or_else(|| served.as_ref().map(|realm| realm.uri.clone())),
                written,
                location,
                served: served.clone(),
            },
            newest,
            older: served.into_iter().collect(),
            findings: read.findings,
        }
    }

    /// A text that is no document.
    fn unreadable(place: Place, written: Written, findings: Vec<Diagnostic>) -> Self {
        Self {
            slot: RealmSlot {
                location: Location::of_file(&place.name()),
                place,
                uri: None,
                written,
                served: None,
            },
            newest: None,
            older: Vec::new(),
            findings,
        }
    }

    /// A realm whose present text is not known.
    fn held(slot: &RealmSlot, findings: Vec<Diagnostic>) -> Self {
        Self {
            slot: RealmSlot {
                place: slot.place.clone(),
                uri: slot.uri.clone(),
                written: slot.written.clone(),
                location: slot.location.clone(),
                served: slot.served.clone(),
            },
            newest: None,
            older: slot.served.iter().cloned().collect(),
            findings,
        }
    }
}
