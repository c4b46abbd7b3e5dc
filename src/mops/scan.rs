//! Brackets and quotes of a text, without its grammar: where a tag ends, and how deep tags nest.
//!
//! The parser asks before pest recurses, and where pest has refused.

use super::MAX_NESTING;

/// Where a tag ends.
pub(super) enum End {
    /// The tag ends before this byte.
    Closed(usize),
    /// What opens at this byte is never closed.
    Unclosed { at: usize, closed_by: &'static str },
}

/// Finds the end of the tag that opens at `start`, by brackets and quotes alone.
pub(super) fn scan(text: &str, start: usize) -> End {
    let bytes = text.as_bytes();
    let mut open = vec![start];
    let mut at = start + 2;
    while let Some(&byte) = bytes.get(at) {
        match (byte, bytes.get(at + 1)) {
            (b'{', Some(b'{')) => {
                open.push(at);
                at += 2;
            }
            (b'}', Some(b'}')) => {
                open.pop();
                at += 2;
                if open.is_empty() {
                    return End::Closed(at);
                }
            }
            (b'\'', _) => match quote_end(bytes, at) {
                Some(end) => at = end,
                None => return End::Unclosed { at, closed_by: "'" },
            },
            _ => at += 1,
        }
    }
    End::Unclosed {
        at: open.first().copied().unwrap_or(start),
        closed_by: "}}",
    }
}

/// Returns the byte after the quote that closes the one at `open`.
fn quote_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'\\', Some(b'\'' | b'\\')) => at += 2,
            (b'\'', _) => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Returns where tags and lists nest deeper than allowed, before anything recurses.
///
/// It reads brackets and quotes as the grammar does as long as the text is right; where it is not,
/// the parser stops before it goes deeper.
pub(super) fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut open: Vec<u8> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, bytes.get(at + 1)) {
            (b'{', Some(b'{')) => {
                open.push(b'{');
                at += 2;
            }
            _ if open.is_empty() => at += 1,
            (b'}', Some(b'}')) => {
                // Whatever was left open inside ends with the tag.
                while open.pop().is_some_and(|bracket| bracket != b'{') {}
                at += 2;
            }
            (b'[', _) => {
                open.push(b'[');
                at += 1;
            }
            (b']', _) => {
                if open.last() == Some(&b'[') {
                    open.pop();
                }
                at += 1;
            }
            (b'\'', _) => at = quote_end(bytes, at).unwrap_or(bytes.len()),
            _ => at += 1,
        }
        if open.len() > MAX_NESTING {
            return Some(at - 1);
        }
    }
    None
}
