//! What a request asks for: its host's labels and its path's segments, ready for matching.
//!
//! The path is split first and decoded segment by segment, so that `%2F` stays inside its segment.
//! Plain `.` and `..` are resolved and never climb above the root; encoded ones, encoded NUL and
//! bytes that are not UTF-8 are refused, because an upstream might read them in another way.
//! Empty segments are kept: `/a//b` is not `/a/b`.
//!
//! Reference: RFC 3986, "Remove Dot Segments"; `api-spec.md`, "Matching".

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Why a path cannot be matched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It does not begin at the root: `*`, which only OPTIONS may ask for.
    #[error("the path does not begin with a slash")]
    NotFromRoot,
    /// A segment's decoded bytes are not UTF-8.
    #[error("segment {0} of the path is not UTF-8 after decoding")]
    NotUtf8(usize),
    /// `%00` in a segment.
    #[error("segment {0} of the path holds an encoded NUL")]
    Nul(usize),
    /// `%2e` or `%2e%2e` as a whole segment.
    #[error("segment {0} of the path is an encoded dot segment")]
    EncodedDots(usize),
    /// A `%` that two hexadecimal digits do not follow.
    #[error("segment {0} of the path has a `%` without two hexadecimal digits")]
    BadEscape(usize),
}

/// Splits and decodes `path` (as received, without the query).
///
/// A trailing slash makes no difference.
///
/// # Errors
///
/// [`BadPath`] for the first segment that cannot be matched, counted from one.
pub fn segments(path: &str) -> Result<Vec<Cow<'_, str>>, BadPath> {
    if path.is_empty() {
        // The target of CONNECT has none.
        return Ok(Vec::new());
    }
    let path = path.strip_prefix('/').ok_or(BadPath::NotFromRoot)?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut segments = Vec::with_capacity(8);
    if path.is_empty() {
        return Ok(segments);
    }
    for (index, raw) in path.split('/').enumerate() {
        match raw {
            "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(decode(raw, index + 1)?),
        }
    }
    Ok(segments)
}

fn decode(raw: &str, place: usize) -> Result<Cow<'_, str>, BadPath> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    if !escapes_are_whole(raw) {
        return Err(BadPath::BadEscape(place));
    }
    let decoded = percent_decode_str(raw)
        .decode_utf8()
        .map_err(|_| BadPath::NotUtf8(place))?;
    if decoded.contains('\0') {
        return Err(BadPath::Nul(place));
    }
    if matches!(decoded.as_ref(), "." | "..") {
        return Err(BadPath::EncodedDots(place));
    }
    Ok(decoded)
}

fn escapes_are_whole(raw: &str) -> bool {
    let bytes = raw.as_bytes();
    bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'%')
        .all(|(at, _)| {
            bytes
                .get(at + 1..at + 3)
                .is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
        })
}

/// Returns the host without its port and without a leading or trailing dot, in lower case.
pub fn normalise_host(authority: &str) -> String {
    let host = match authority.strip_prefix('[') {
        // An IPv6 literal: the colons inside are its own.
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host),
    };
    host.trim_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: &[&str]) {
        assert_eq!(segments(path).unwrap(), expected, "{path}");
    }

    #[test]
    fn a_trailing_slash_makes_no_difference() {
        check("/", &[]);
        check("", &[]);
        check("/a/b", &["a", "b"]);
        check("/a/b/", &["a", "b"]);
    }

    #[test]
    fn dot_segments_are_resolved_and_never_climb_above_the_root() {
        check("/a/./b", &["a", "b"]);
        check("/a/../b", &["b"]);
        check("/../../etc", &["etc"]);
        check("/a/..", &[]);
    }

    #[test]
    fn an_encoded_slash_stays_in_its_segment() {
        check("/a%2Fb/c", &["a/b", "c"]);
        check("/caf%C3%A9", &["café"]);
        check("/a+b", &["a+b"]);
    }

    #[test]
    fn empty_segments_are_kept() {
        check("/a//b", &["a", "", "b"]);
    }

    #[test]
    fn what_an_upstream_could_read_differently_is_refused() {
        assert_eq!(segments("/a/%2e%2E/b"), Err(BadPath::EncodedDots(2)));
        assert_eq!(segments("/%2e"), Err(BadPath::EncodedDots(1)));
        assert_eq!(segments("/a%00"), Err(BadPath::Nul(1)));
        assert_eq!(segments("/%ff"), Err(BadPath::NotUtf8(1)));
        assert_eq!(segments("/100%"), Err(BadPath::BadEscape(1)));
        assert_eq!(segments("/%zz"), Err(BadPath::BadEscape(1)));
        assert_eq!(segments("*"), Err(BadPath::NotFromRoot));
    }

    #[test]
    fn hosts_lose_port_dots_and_case() {
        assert_eq!(normalise_host("API.Example.org:8080"), "api.example.org");
        assert_eq!(normalise_host(".example.org."), "example.org");
        assert_eq!(normalise_host("[::1]:8080"), "::1");
        assert_eq!(normalise_host("localhost"), "localhost");
    }
}
