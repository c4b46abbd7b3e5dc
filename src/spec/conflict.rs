//! Routes that match the same requests, equally well: nobody could say which one answers.
//!
//! They are looked for among the paths as they are written, so also beside other errors. Schemes do
//! not tell routes apart: a request has its route before its scheme is looked at.
//!
//! Reference: `api-spec.md`, "Matching" and "Order of a request".

use std::collections::{HashMap, HashSet};

use http::Method;

use crate::diagnostic::{Code, Diagnostic, SourceId};
use crate::document::Document;

use super::CompiledSpec;
use super::route::{HostPattern, PathPattern, Segment};

/// One declared operation and what it would match.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) shapes: Vec<Shape>,
    /// The operation in its document.
    pub(super) at: SourceId,
    /// What it is called in a message.
    pub(super) name: String,
}

/// What a route matches: host, path and method, the names of variables left out. Two routes of one
/// shape cannot both be served.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    host: HostPattern,
    path: PathPattern,
    method: Method,
}

/// Returns the shapes of all expansions of an operation.
pub(super) fn shapes(hosts: &[HostPattern], paths: &[PathPattern], method: &Method) -> Vec<Shape> {
    let nameless = |segment: &Segment| match segment {
        Segment::Variable(_) => Segment::Variable(String::new()),
        Segment::Literal(_) | Segment::Rest => segment.clone(),
    };
    let host = |host: &HostPattern| match host {
        HostPattern::Any => HostPattern::Any,
        HostPattern::Labels(labels) => HostPattern::Labels(labels.iter().map(nameless).collect()),
    };
    let path = |path: &PathPattern| {
        let segments = path.segments().iter().map(nameless);
        PathPattern::new(segments.collect())
    };
    let shape = |(host, path)| Shape {
        host,
        path,
        method: method.clone(),
    };
    let pairs = hosts
        .iter()
        .flat_map(|it| paths.iter().map(move |other| (host(it), path(other))));
    pairs.map(shape).collect()
}

/// Compares the claims of one document with each other. The later one of a pair is reported.
pub(super) fn within(document: &Document, claims: &[Claim]) -> Vec<Diagnostic> {
    let mut held: HashMap<&Shape, &Claim> = HashMap::new();
    let mut reported = HashSet::new();
    let mut findings = Vec::new();
    for claim in claims {
        for shape in &claim.shapes {
            let holder = *held.entry(shape).or_insert(claim);
            if holder.at != claim.at && reported.insert((holder.at, claim.at)) {
                findings.push(finding(document, claim, document, holder));
            }
        }
    }
    findings
}

fn finding(document: &Document, claim: &Claim, other: &Document, holder: &Claim) -> Diagnostic {
    let place = other.location_of_key(holder.at);
    let message = format!(
        "{} matches the same requests as {} at {place}",
        claim.name, holder.name
    );
    let location = document.location_of_key(claim.at);
    Diagnostic::error(Code::RouteConflict, location, message)
}

/// Who holds which id and which routes, of specs that are served together.
///
/// `T` names a spec to whoever asks.
#[derive(Debug)]
pub struct Holders<'s, T> {
    ids: HashMap<&'s str, (T, &'s CompiledSpec)>,
    routes: HashMap<&'s Shape, (T, &'s CompiledSpec, &'s Claim)>,
}

/// What only one spec can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holding<'s> {
    /// The API's id.
    Id(&'s str),
    /// A route.
    Route(&'s Shape),
}

impl<T> Default for Holders<'_, T> {
    fn default() -> Self {
        Self {
            ids: HashMap::new(),
            routes: HashMap::new(),
        }
    }
}

impl<'s, T: Copy + PartialEq> Holders<'s, T> {
    /// Lets a spec hold all that it claims, whoever held it before.
    pub fn take(&mut self, name: T, spec: &'s CompiledSpec) {
        if let Some(id) = spec.id() {
            self.ids.insert(id, (name, spec));
        }
        for claim in spec.claims() {
            for shape in &claim.shapes {
                self.routes.insert(shape, (name, spec, claim));
            }
        }
    }

    /// Lets a spec hold what nobody holds yet.
    pub fn take_what_is_free(&mut self, name: T, spec: &'s CompiledSpec) {
        if let Some(id) = spec.id() {
            self.ids.entry(id).or_insert((name, spec));
        }
        for claim in spec.claims() {
            for shape in &claim.shapes {
                self.routes.entry(shape).or_insert((name, spec, claim));
            }
        }
    }

    /// Takes from a spec what it holds.
    pub fn release(&mut self, name: T, spec: &'s CompiledSpec) {
        if let Some(id) = spec.id()
            && self.ids.get(id).is_some_and(|(holder, _)| *holder == name)
        {
            self.ids.remove(id);
        }
        for shape in spec.claims().iter().flat_map(|claim| &claim.shapes) {
            let holder = self.routes.get(shape);
            if holder.is_some_and(|(holder, ..)| *holder == name) {
                self.routes.remove(shape);
            }
        }
    }

    /// Returns who holds something.
    pub fn holder(&self, holding: Holding<'_>) -> Option<T> {
        match holding {
            Holding::Id(id) => self.ids.get(id).map(|(name, _)| *name),
            Holding::Route(shape) => self.routes.get(shape).map(|(name, ..)| *name),
        }
    }

    /// Returns what of a spec's claims others hold, and who they are.
    pub fn rivals<'o>(
        &self,
        name: T,
        spec: &'o CompiledSpec,
    ) -> impl Iterator<Item = (Holding<'o>, T)> {
        spec.holdings().filter_map(move |holding| {
            let holder = self.holder(holding)?;
            (holder != name).then_some((holding, holder))
        })
    }

    /// Returns a finding for each claim of a spec that another holds. Of another with the same id
    /// only that is told: all its routes are likely to be the same.
    pub fn conflicts(&self, name: T, spec: &CompiledSpec) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        let mut namesake = None;
        if let Some((at, id)) = spec.id_and_place()
            && let Some((holder, other)) = self.ids.get(id)
            && *holder != name
        {
            namesake = Some(*holder);
            let place = other.id_and_place().map(|(at, _)| at).unwrap_or_default();
            let message = format!("an API with the id `{id}` is there already, at {place}");
            findings.push(Diagnostic::error(Code::DuplicateApi, at, message));
        }
        for claim in spec.claims() {
            let mut reported: Vec<*const Claim> = Vec::new();
            for shape in &claim.shapes {
                if let Some((holder, other, held)) = self.routes.get(shape)
                    && *holder != name
                    && namesake != Some(*holder)
                    && !reported.contains(&std::ptr::from_ref(*held))
                {
                    reported.push(*held);
                    findings.push(finding(spec.document(), claim, other.document(), held));
                }
            }
        }
        findings
    }
}
