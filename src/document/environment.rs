//! `${NAME}`, `${NAME:-default}` and `$${` in one text.

use std::ops::Range;

use super::{Piece, narrow};
use crate::diagnostic::{Code, Diagnostic, Location};

/// What became of one text.
pub(super) struct Outcome {
    pub(super) text: String,
    pub(super) pieces: Vec<Piece>,
    pub(super) problems: Vec<Problem>,
}

/// What is wrong with one `${`; the range is bytes of the text before.
pub(super) struct Problem {
    pub(super) range: Range<u32>,
    /// The name that is missing; none if there is no name.
    missing: Option<String>,
}

impl Problem {
    pub(super) fn into_diagnostic(self, location: Location) -> Diagnostic {
        match self.missing {
            Some(name) => Diagnostic::error(
                Code::MissingEnvironment,
                location,
                format!("`{name}` is not set in the environment"),
            )
            .with_hint(format!("set it, or write `${{{name}:-default}}`")),
            None => Diagnostic::error(
                Code::BadSubstitution,
                location,
                "expected `${NAME}` or `${NAME:-default}`",
            )
            .with_hint("a literal `${` is written `$${`"),
        }
    }
}

pub(super) fn substitute(before: &str, environment: &dyn Fn(&str) -> Option<String>) -> Outcome {
    let mut outcome = Outcome {
        text: String::with_capacity(before.len()),
        pieces: Vec::new(),
        problems: Vec::new(),
    };
    let mut done = 0;
    while let Some(found) = before[done..].find("${") {
        let open = done + found;
        if open > done && before.as_bytes()[open - 1] == b'$' {
            outcome.text.push_str(&before[done..open - 1]);
            outcome.put("${", open - 1..open + 2);
            done = open + 2;
            continue;
        }
        outcome.text.push_str(&before[done..open]);
        let Some(length) = before[open..].find('}') else {
            outcome.refuse(None, open..open + 2);
            outcome.text.push_str(&before[open..]);
            done = before.len();
            break;
        };
        let close = open + length + 1;
        let inner = &before[open + 2..close - 1];
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if is_name(name) {
            let value = environment(name).filter(|value| !value.is_empty() || default.is_none());
            match value.as_deref().or(default) {
                Some(value) => outcome.put(value, open..close),
                None => outcome.refuse(Some(name.to_owned()), open..close),
            }
        } else {
            outcome.refuse(None, open..close);
        }
        done = close;
    }
    outcome.text.push_str(&before[done..]);
    outcome
}

impl Outcome {
    fn put(&mut self, value: &str, before: Range<usize>) {
        let start = self.text.len();
        self.text.push_str(value);
        self.pieces.push(Piece {
            now: narrow(start)..narrow(self.text.len()),
            before: narrow(before.start)..narrow(before.end),
        });
    }

    fn refuse(&mut self, missing: Option<String>, before: Range<usize>) {
        self.problems.push(Problem {
            range: narrow(before.start)..narrow(before.end),
            missing,
        });
        // Nothing is put in, but later places must still be found.
        self.put("", before);
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next();
    first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Returns where a byte of the text now was before: inside a piece, where the piece begins, or ends
/// if it is the end of something.
pub(super) fn before(pieces: &[Piece], offset: u32, is_end: bool) -> u32 {
    let mut now = 0;
    let mut before = 0;
    for piece in pieces {
        let beyond = if is_end {
            offset <= piece.now.start
        } else {
            offset < piece.now.start
        };
        if beyond {
            break;
        }
        if is_end && offset <= piece.now.end {
            return piece.before.end;
        }
        if !is_end && offset < piece.now.end {
            return piece.before.start;
        }
        now = piece.now.end;
        before = piece.before.end;
    }
    before + (offset - now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_defaults_and_literals() {
        let environment = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${A}".to_owned()),
            _ => None,
        };
        for (before, after) in [
            ("${A}", "1"),
            ("x${A}y${A}", "x1y1"),
            ("${B:-two}", "two"),
            ("${B:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-e}", "e"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("${NESTED}", "${A}"),
            ("$A $ {A}", "$A $ {A}"),
        ] {
            let outcome = substitute(before, &environment);
            assert_eq!(outcome.text, after, "{before}");
            assert!(outcome.problems.is_empty(), "{before}");
        }
    }
}
