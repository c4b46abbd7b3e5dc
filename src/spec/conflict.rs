//! Routes that match the same requests, equally well: nobody could say which one answers.
//!
//! They are looked for among the paths as they are written, so also beside other errors.
//!
//! Reference: `api-spec.md`, "Matching" and "Order of a request".

use std::collections::{HashMap, HashSet};

use http::Method;

use crate::diagnostic::{Code, Diagnostic, SourceId};
use crate::document::Document;

use super::route::{HostPattern, PathPattern, Segment};

/// One declared operation and what it would match.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) hosts: Vec<HostPattern>,
    pub(super) paths: Vec<PathPattern>,
    pub(super) method: Method,
    /// The operation in its document.
    pub(super) at: SourceId,
    /// What it is called in a message.
    pub(super) name: String,
}

/// The claims of one document.
pub(super) struct Claims<'d> {
    pub(super) document: &'d Document,
    pub(super) claims: Vec<Claim>,
}

/// Host, path and method, the names of variables left out.
type Shape<'c> = (HostPattern, PathPattern, &'c Method);

/// Compares claims, those of the first document first. Returns findings with the index of the
/// document that they are about: the later one of each pair, as what is there already stays.
///
/// Schemes do not tell routes apart: a request has its route before its scheme is looked at.
pub(super) fn find(documents: &[Claims<'_>]) -> Vec<(usize, Diagnostic)> {
    let mut held: HashMap<Shape<'_>, (usize, &Claim)> = HashMap::new();
    let mut reported = HashSet::new();
    let mut findings = Vec::new();
    for (index, claims) in documents.iter().enumerate() {
        for claim in &claims.claims {
            for (host, path) in shapes(claim) {
                let (holder_index, holder) = *held
                    .entry((host, path, &claim.method))
                    .or_insert((index, claim));
                let is_other = (holder_index, holder.at) != (index, claim.at);
                if is_other && reported.insert((holder_index, holder.at, index, claim.at)) {
                    let other = &documents[holder_index];
                    let place = other.document.location_of_key(holder.at);
                    let message = format!(
                        "{} matches the same requests as {} at {place}",
                        claim.name, holder.name
                    );
                    let location = claims.document.location_of_key(claim.at);
                    let finding = Diagnostic::error(Code::RouteConflict, location, message);
                    findings.push((index, finding));
                }
            }
        }
    }
    findings
}

fn shapes(claim: &Claim) -> impl Iterator<Item = (HostPattern, PathPattern)> {
    let nameless = |segment: &Segment| match segment {
        Segment::Variable(_) => Segment::Variable(String::new()),
        Segment::Literal(_) | Segment::Rest => segment.clone(),
    };
    claim.hosts.iter().flat_map(move |host| {
        let host = match host {
            HostPattern::Any => HostPattern::Any,
            HostPattern::Labels(labels) => {
                HostPattern::Labels(labels.iter().map(nameless).collect())
            }
        };
        claim.paths.iter().map(move |path| {
            let segments = path.segments().iter().map(nameless);
            (host.clone(), PathPattern::new(segments.collect()))
        })
    })
}
