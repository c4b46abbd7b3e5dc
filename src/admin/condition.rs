//! What a request expects of a document: `If-Match`, `If-None-Match` and `ETag`.
//!
//! A tag names the revision of a document and its state, as in `"17.active"`, since both are in what
//! GET answers. A change asks for the revision alone: that a realm which came since has made a spec
//! active is no reason to refuse an edit of it.
//!
//! Reference: RFC 9110, "Conditional Requests".

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH};

use super::exchange::bad_request;
use crate::catalog::installed::{Entry, Origin};
use crate::problem::Problem;

/// Returns the tag of a document.
pub(super) fn etag(entry: &Entry) -> String {
    match entry.origin {
        Origin::Store { revision, .. } => format!("\"{revision}.{}\"", entry.state.name()),
        // Not by its hash: that of a realm's text would let a weak secret in it be guessed.
        Origin::File { .. } => format!("\"file-{}.{}\"", entry.time_ms, entry.state.name()),
    }
}

/// Returns whether the client has this already, so that 304 is enough.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> Result<bool, Problem> {
    Ok(match tags(headers, &IF_NONE_MATCH)? {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::These(tags)) => {
            let mut tags = tags.iter();
            tags.any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag)
        }
    })
}

/// What a change expects to find.
#[derive(Debug, Default)]
pub(super) struct Condition {
    matches: Option<Tags>,
    none_matches: Option<Tags>,
}

impl Condition {
    /// Reads the headers of a request.
    ///
    /// # Errors
    ///
    /// 400 for what is no list of tags: a condition that is not understood must not be dropped.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            matches: tags(headers, &IF_MATCH)?,
            none_matches: tags(headers, &IF_NONE_MATCH)?,
        })
    }

    /// Compares with the revision that is there.
    ///
    /// # Errors
    ///
    /// 412 where another is expected.
    pub(super) fn check(&self, present: Option<u64>) -> Result<(), Problem> {
        let is_present = |tags: &Tags, may_be_weak: bool| match (tags, present) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::These(tags), Some(present)) => tags.iter().any(|tag| {
                let strong = if may_be_weak {
                    tag.strip_prefix("W/").unwrap_or(tag)
                } else {
                    tag
                };
                revision_of(strong) == Some(present)
            }),
        };
        let holds = self
            .matches
            .as_ref()
            .is_none_or(|tags| is_present(tags, false));
        let is_other = self
            .none_matches
            .as_ref()
            .is_none_or(|tags| !is_present(tags, true));
        if holds && is_other {
            return Ok(());
        }
        let problem = Problem::new(StatusCode::PRECONDITION_FAILED);
        Err(match present {
            Some(revision) => problem
                .detail(format!("The present revision is {revision}."))
                .member("revision", revision),
            None => problem.detail("There is no such document in the store."),
        })
    }

    /// Returns whether anything is expected at all.
    pub(super) fn is_set(&self) -> bool {
        self.matches.is_some() || self.none_matches.is_some()
    }
}

/// `"17.active"` and `"17"` are 17.
fn revision_of(tag: &str) -> Option<u64> {
    let tag = tag.strip_prefix('"')?.strip_suffix('"')?;
    tag.split('.').next()?.parse().ok()
}

#[derive(Debug)]
enum Tags {
    /// `*`
    Any,
    These(Vec<String>),
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let mut all = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().unwrap_or_default();
        for tag in text.split(',').map(str::trim) {
            let bare = tag.strip_prefix("W/").unwrap_or(tag);
            let is_quoted = bare.len() >= 2 && bare.starts_with('"') && bare.ends_with('"');
            if tag != "*" && !is_quoted {
                let name = name.as_str();
                return Err(bad_request(format!(
                    "`{name}` is `*` or a list of tags in quotes, as `ETag` has them."
                )));
            }
            all.push(tag.to_owned());
        }
    }
    Ok(if all.is_empty() {
        None
    } else if all.iter().any(|tag| tag == "*") {
        Some(Tags::Any)
    } else {
        Some(Tags::These(all))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn status(name: HeaderName, value: &str, present: Option<u64>) -> u16 {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        let checked = Condition::of(&headers).and_then(|condition| condition.check(present));
        checked.map_or_else(|problem| problem.status().as_u16(), |()| 200)
    }

    #[test]
    fn a_change_goes_by_the_revision() {
        for (value, present, expected) in [
            ("\"7.active\"", Some(7), 200),
            ("\"7\"", Some(7), 200),
            ("\"7.rejected\"", Some(7), 200),
            ("\"6.active\", \"7.active\"", Some(7), 200),
            ("\"6.active\"", Some(7), 412),
            ("\"7.active\"", None, 412),
            ("W/\"7.active\"", Some(7), 412),
            ("*", Some(7), 200),
            ("*", None, 412),
            ("7", Some(7), 400),
            ("\"7", Some(7), 400),
            ("\"\"", Some(7), 412),
        ] {
            assert_eq!(
                status(IF_MATCH, value, present),
                expected,
                "{value} {present:?}"
            );
        }
        for (value, present, expected) in [
            ("*", None, 200),
            ("*", Some(7), 412),
            ("\"7.active\"", Some(7), 412),
            ("W/\"7.active\"", Some(7), 412),
            ("\"6.active\"", Some(7), 200),
            ("x", None, 400),
        ] {
            assert_eq!(
                status(IF_NONE_MATCH, value, present),
                expected,
                "{value} {present:?}"
            );
        }
    }
}
