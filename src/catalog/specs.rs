//! The specs of a compilation: each text by itself, then which of them are served together.

use std::collections::HashMap;
use std::sync::Arc;

use super::installed::{Entry, Environment, Input, Place, State, Written};
use super::resolve::{Contender, resolve};
use super::{parse_stored, parse_text, refused_realm, unless_we_fail};
use crate::diagnostic::{Code, Diagnostic};
use crate::realm::Realm;
use crate::spec::{CompiledSpec, Holders};
use crate::store::Kind;
use crate::uri::Uri;

/// A spec: its text, and the one that is served.
#[derive(Debug)]
pub(super) struct SpecSlot {
    place: Place,
    written: Written,
    newest: Arc<SpecText>,
    served: Option<Arc<SpecText>>,
}

/// A text compiled by itself.
#[derive(Debug)]
pub(super) struct SpecText {
    text: Arc<str>,
    /// Or why it is no document.
    spec: Result<CompiledSpec, Vec<Diagnostic>>,
    /// What is wrong about where it is kept.
    misplaced: Option<Diagnostic>,
}

impl SpecText {
    fn new(place: &Place, text: &Arc<str>, environment: Environment<'_>) -> Self {
        let name = place.name();
        let compile = || {
            let document = match place {
                Place::File(_) => parse_text(&name, text, environment),
                Place::Stored(_) => parse_stored(&name, text),
            };
            document.map(CompiledSpec::new)
        };
        let spec = unless_we_fail(&name, compile);
        let misplaced = match (place, &spec) {
            (Place::Stored(key), Ok(spec)) => misplaced(key, spec),
            (Place::Stored(_), Err(_)) | (Place::File(_), _) => None,
        };
        Self {
            text: text.clone(),
            spec,
            misplaced,
        }
    }

    /// Returns the spec, if there is no error in it.
    fn good(&self) -> Option<&CompiledSpec> {
        let spec = self.spec.as_ref().ok()?;
        (self.misplaced.is_none() && !spec.has_errors()).then_some(spec)
    }

    fn realm(&self) -> Option<&Uri> {
        self.good()?.realm()
    }

    /// Returns all that was found, `others` about it among them.
    fn findings_and(&self, others: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let others = self.misplaced.iter().cloned().chain(others);
        match &self.spec {
            Ok(spec) => spec.findings_and(others.collect()),
            Err(findings) => findings.iter().cloned().chain(others).collect(),
        }
    }
}

/// The present text of a document, and what may be served of it.
struct Draft {
    slot: SpecSlot,
    candidates: Vec<Arc<SpecText>>,
    /// Whether the first candidate is the present text.
    has_newest: bool,
    was_served: bool,
    /// Why the present text is not a candidate, beside what is wrong with it by itself.
    refusals: Vec<Diagnostic>,
}

pub(super) struct Specs {
    pub(super) slots: Vec<SpecSlot>,
    pub(super) entries: Vec<Entry>,
    pub(super) served: Vec<Served>,
}

/// A spec that is served.
pub(super) struct Served(Arc<SpecText>);

impl std::ops::Deref for Served {
    type Target = CompiledSpec;

    fn deref(&self) -> &CompiledSpec {
        self.0.good().expect("only a good spec is served")
    }
}

/// Compiles the specs. `realms` are served; `refused` are configured and are not.
pub(super) fn compile(input: &Input<'_>, realms: &[Arc<Realm>], refused: &[Uri]) -> Specs {
    let known = Realms {
        served: realms.iter().map(|realm| &realm.uri).collect(),
        before: &input.previous.served_realms,
        refused,
    };
    let drafts = drafts(input, &known);
    let before = &input.previous.spec_slots;
    let contenders: Vec<Contender<'_>> = drafts
        .iter()
        .map(|draft| Contender {
            candidates: draft.candidates.iter().filter_map(|it| it.good()).collect(),
            is_file: draft.slot.place.is_file(),
            was_served: draft.was_served,
            last_good: draft.last_good(),
        })
        .collect();
    let incumbents = before
        .iter()
        .filter_map(|slot| slot.served.as_ref()?.good());
    let chosen = resolve(&contenders, incumbents);

    let mut holders = Holders::default();
    for (index, contender) in contenders.iter().enumerate() {
        if let Some(spec) = chosen[index].and_then(|at| contender.candidates.get(at)) {
            holders.take(index, spec);
        }
    }
    let refusals: Vec<Vec<Diagnostic>> = drafts
        .iter()
        .enumerate()
        .map(|(index, draft)| {
            if !draft.has_newest || chosen[index] == Some(0) {
                return draft.refusals.clone();
            }
            let newest = draft.slot.newest.good();
            let mut findings = newest
                .map(|spec| holders.conflicts(index, spec))
                .unwrap_or_default();
            for finding in &mut findings {
                if finding.code == Code::DuplicateApi && !draft.slot.place.is_file() {
                    finding.hint = Some("a file wins over a stored document".to_owned());
                }
            }
            findings
        })
        .collect();
    drop((holders, contenders));

    let mut finished: Vec<(SpecSlot, Entry)> = drafts
        .into_iter()
        .zip(chosen.into_iter().zip(refusals))
        .map(|(draft, (chosen, refusals))| draft.finish(chosen, refusals))
        .collect();
    finished.sort_by(|(a, _), (b, _)| match (&a.place, &b.place) {
        (Place::File(_), Place::File(_)) => std::cmp::Ordering::Equal,
        (a, b) => a.cmp(b),
    });
    let (slots, entries): (Vec<SpecSlot>, Vec<Entry>) = finished.into_iter().unzip();
    let served = slots.iter().filter_map(|slot| slot.served.clone());
    Specs {
        served: served.map(Served).collect(),
        slots,
        entries,
    }
}

/// Returns whether the same texts are served.
pub(super) fn serves_the_same(slots: &[SpecSlot], before: &[SpecSlot]) -> bool {
    fn served(slots: &[SpecSlot]) -> impl Iterator<Item = &Arc<SpecText>> {
        slots.iter().filter_map(|slot| slot.served.as_ref())
    }
    served(slots).count() == served(before).count()
        && served(slots)
            .zip(served(before))
            .all(|(a, b)| Arc::ptr_eq(a, b))
}

/// Which realms there are.
struct Realms<'r> {
    served: Vec<&'r Uri>,
    before: &'r [Arc<Realm>],
    refused: &'r [Uri],
}

impl Realms<'_> {
    fn has(&self, realm: &Uri) -> bool {
        self.served.contains(&realm)
    }

    fn had(&self, realm: &Uri) -> bool {
        self.before.iter().any(|before| before.uri == *realm)
    }

    /// Returns why a good spec cannot be served: its realm.
    fn refusal(&self, text: &SpecText) -> Option<Diagnostic> {
        let spec = text.good()?;
        let unknown = spec.unknown_realm(self.served.iter().copied())?;
        let realm = spec.realm()?;
        if self.refused.contains(realm) {
            return Some(refused_realm(realm, unknown.location));
        }
        Some(unknown)
    }
}

/// Gathers every document with what may be served of it, in the order in which they count.
fn drafts(input: &Input<'_>, realms: &Realms<'_>) -> Vec<Draft> {
    let before: HashMap<&Place, &SpecSlot> = input
        .previous
        .spec_slots
        .iter()
        .map(|slot| (&slot.place, slot))
        .collect();
    let mut drafts = Vec::new();
    for file in input.files(Kind::Spec) {
        let place = Place::File(file.name.clone());
        let before = before.get(&place).copied();
        let written = before.map(|slot| &slot.written);
        let written = Written::in_file(&file.name, &file.text, input.time_ms, written);
        drafts.push(Draft::new(input, realms, place, written, before, &[]));
    }
    for slot in &input.previous.spec_slots {
        // Nearly always there is none, and the files are not looked through.
        if let Place::File(name) = &slot.place
            && let Some(unread) = input.unread(name)
            && input
                .files(Kind::Spec)
                .iter()
                .all(|file| file.name != *name)
        {
            drafts.push(Draft::unread(realms, slot, unread));
        }
    }
    for (record, text) in input.records(Kind::Spec) {
        let place = Place::Stored(record.key.id.clone());
        let before = before.get(&place).copied();
        let written = Written::in_store(record, text);
        let older: Vec<&Arc<str>> = input.older(record).collect();
        drafts.push(Draft::new(input, realms, place, written, before, &older));
    }
    drafts
}

impl Draft {
    fn new(
        input: &Input<'_>,
        realms: &Realms<'_>,
        place: Place,
        written: Written,
        before: Option<&SpecSlot>,
        older: &[&Arc<str>],
    ) -> Self {
        let served = before.and_then(|slot| slot.served.clone());
        let compile = |text: &Arc<str>| {
            let kept = before.into_iter().map(|slot| &slot.newest).chain(&served);
            let kept = kept.into_iter().find(|kept| kept.text == *text).cloned();
            kept.unwrap_or_else(|| Arc::new(SpecText::new(&place, text, input.environment)))
        };
        let newest = compile(&written.text);
        let may_serve = |text: &SpecText| text.realm().is_some_and(|realm| realms.has(realm));
        let mut candidates = Vec::new();
        let has_newest = may_serve(&newest);
        if has_newest {
            candidates.push(newest.clone());
        }
        candidates.extend(last_good(realms, &served, &candidates));
        if served.is_none() {
            candidates.extend(
                older
                    .iter()
                    .map(|text| compile(text))
                    .filter(|it| may_serve(it)),
            );
        }
        Self {
            refusals: realms.refusal(&newest).into_iter().collect(),
            was_served: served.is_some(),
            has_newest,
            candidates,
            slot: SpecSlot {
                place,
                written,
                newest,
                served,
            },
        }
    }

    /// A file that was there before and cannot be read now.
    fn unread(realms: &Realms<'_>, slot: &SpecSlot, unread: &Diagnostic) -> Self {
        Self {
            candidates: last_good(realms, &slot.served, &[]).into_iter().collect(),
            has_newest: false,
            was_served: slot.served.is_some(),
            refusals: vec![unread.clone()],
            slot: SpecSlot {
                place: slot.place.clone(),
                written: slot.written.clone(),
                newest: slot.newest.clone(),
                served: slot.served.clone(),
            },
        }
    }

    /// Returns which of the candidates was served before.
    fn last_good(&self) -> Option<usize> {
        let served = self.slot.served.as_ref()?;
        let mut candidates = self.candidates.iter();
        candidates.position(|candidate| Arc::ptr_eq(candidate, served))
    }

    fn finish(mut self, chosen: Option<usize>, refusals: Vec<Diagnostic>) -> (SpecSlot, Entry) {
        let is_active = self.has_newest && chosen == Some(0);
        let state = if is_active {
            State::Active
        } else {
            State::Rejected
        };
        let slot = &mut self.slot;
        slot.served = chosen.and_then(|at| self.candidates.get(at).cloned());
        let id = |text: &SpecText| text.spec.as_ref().ok()?.id().map(str::to_owned);
        let id = match &slot.place {
            Place::Stored(id) => id.clone(),
            Place::File(name) => slot
                .served
                .as_deref()
                .and_then(id)
                .or_else(|| id(&slot.newest))
                .unwrap_or_else(|| name.clone()),
        };
        let findings = slot.newest.findings_and(refusals);
        let serves_older = !is_active && slot.served.is_some();
        let entry = slot.written.entry(id, state, findings, serves_older);
        (self.slot, entry)
    }
}

/// Returns what was served before, if it may go on: a realm that is gone lasts as long as that.
fn last_good(
    realms: &Realms<'_>,
    served: &Option<Arc<SpecText>>,
    others: &[Arc<SpecText>],
) -> Option<Arc<SpecText>> {
    let served = served.as_ref()?;
    let realm = served.realm()?;
    let is_there = realms.has(realm) || realms.had(realm);
    let is_new = others.iter().all(|other| !Arc::ptr_eq(other, served));
    (is_there && is_new).then(|| served.clone())
}

/// Returns the finding about a stored spec that says it is another one.
fn misplaced(key: &str, spec: &CompiledSpec) -> Option<Diagnostic> {
    let (location, id) = spec.id_and_place()?;
    if id == key {
        return None;
    }
    let message = format!("the `id` is `{id}`, but this is stored as `{key}`");
    Some(Diagnostic::error(Code::OtherName, location, message))
}
