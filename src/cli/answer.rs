//! What a gateway's admin API answers, and how that is told to a person.

use anyhow::Context;
use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap};

use super::upload::Upload;
use crate::diagnostic::{Code, Diagnostic, Location};
use crate::value::{Map, Value, json};

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// Makes an error of a status that is no success.
    pub(super) fn success(self) -> anyhow::Result<Self> {
        anyhow::ensure!(self.status.is_success(), "{}", self.refusal());
        Ok(self)
    }

    /// Returns the JSON body.
    pub(super) fn value(&self) -> anyhow::Result<Value> {
        json::from_json(&self.body).context("the answer is no JSON: is that an admin API?")
    }

    /// Returns the body as text.
    pub(super) fn text(&self) -> anyhow::Result<&str> {
        std::str::from_utf8(&self.body).context("the answer is no text")
    }

    /// Returns a member of the JSON body, if there is one.
    pub(super) fn member(&self, name: &str) -> Option<Value> {
        match json::from_json(&self.body) {
            Ok(Value::Map(mut map)) => map.swap_remove(name),
            _ => None,
        }
    }

    /// Returns what the gateway says against it, in a line: what its problem details tell, and the
    /// status.
    ///
    /// Reference: RFC 9457.
    pub(super) fn refusal(&self) -> String {
        let detail = self.member("detail");
        match detail.as_ref().and_then(Value::as_text) {
            Some(detail) => format!("{} ({})", detail.trim_end_matches('.'), self.status),
            None => format!("the gateway answered {}", self.status),
        }
    }

    /// Returns what is wrong, each finding rendered as `check` renders its own: with the line where it is
    /// about `upload`, without a place where it is about other documents. None where the answer has none.
    pub(super) fn findings(&self, upload: Option<&Upload>, colour: bool) -> Vec<String> {
        let Some(Value::List(errors)) = self.member("errors") else {
            return Vec::new();
        };
        let errors = errors.iter().filter_map(Value::as_map);
        errors.map(|error| finding(error, upload, colour)).collect()
    }

    /// Returns the query of the next page's address, if there is one.
    ///
    /// Reference: RFC 8288, "The Link Header Field".
    pub(super) fn next_query(&self) -> Option<String> {
        let links = self.headers.get_all(header::LINK).into_iter();
        let links = links.filter_map(|value| value.to_str().ok());
        links.flat_map(|value| value.split(',')).find_map(|link| {
            let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            let is_next = parameters
                .split(';')
                .any(|it| matches!(it.trim(), "rel=next" | "rel=\"next\""));
            let (_, query) = target.split_once('?')?;
            is_next.then(|| query.to_owned())
        })
    }
}

/// One finding of an answer, rendered with the line and a caret where it is about `upload`.
///
/// A code that only a newer gateway knows is shown as it comes.
fn finding(error: &Map, upload: Option<&Upload>, colour: bool) -> String {
    let text = |name: &str| error.get(name).and_then(Value::as_text);
    let number = |name: &str| {
        let number = error.get(name).and_then(Value::as_u64)?;
        u32::try_from(number).ok()
    };
    let message = text("message").or(text("detail")).unwrap_or_default();
    let place = number("line").zip(number("column"));
    let pointer = text("pointer").unwrap_or_default();
    let location = upload.map_or_else(Location::default, |upload| upload.locate(place, pointer));
    let Some(code) = text("code").and_then(Code::from_name) else {
        let code = text("code").unwrap_or("?");
        return format!("error[{code}]: {message}\n  --> {location} at {pointer}");
    };
    let mut finding = Diagnostic::error(code, location, message);
    finding.hint = text("hint").map(str::to_owned);
    finding.render(colour)
}
