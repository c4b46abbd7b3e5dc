//! What a request carries and wants against what a route takes and gives: media types, languages.
//!
//! A header that cannot be read is as good as absent: a client that garbles its wishes gets the
//! default rather than an error. Bytes are the listener's business, their meaning `gateway/codec.rs`'s.
//!
//! Reference: RFC 9110, "Content Negotiation"; RFC 4647, "Lookup"; the API specs' reference,
//! "Order of a request".

use http::HeaderMap;
use http::header::ACCEPT;

const JSON: &str = "application/json";

/// Returns `media_type` without its parameters.
pub fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Returns whether a body of type `content_type` is among what a route takes.
///
/// Parameters such as `charset` are ignored. A type that a route takes may be a range: `text/*`.
pub fn takes<S: AsRef<str>>(accepts: &[S], content_type: &str) -> bool {
    let content_type = essence(content_type);
    is_type(content_type)
        && accepts
            .iter()
            .any(|range| specificity(essence(range.as_ref()), content_type).is_some())
}

/// Returns the type among `provides` that the request's `Accept` likes best, or `None` when it
/// takes none of them.
///
/// Among equals JSON wins, then whatever stands first in `provides`. Without `Accept` everything is
/// equal.
pub fn accept<'p, S: AsRef<str>>(headers: &HeaderMap, provides: &'p [S]) -> Option<&'p str> {
    let provides = || provides.iter().map(AsRef::as_ref);
    let lists = || {
        let values = headers.get_all(ACCEPT).into_iter();
        values.filter_map(|value| value.to_str().ok())
    };
    if lists().flat_map(elements).next().is_none() {
        return better(provides().map(|provided| (provided, 1000)));
    }
    better(provides().map(|provided| {
        // The most specific range that fits says how much the type is wanted.
        let fitting = lists().flat_map(elements).filter_map(|(range, quality)| {
            specificity(range, essence(provided)).map(|rank| (rank, quality))
        });
        let quality = fitting.max_by_key(|&(rank, _)| rank);
        (provided, quality.map_or(0, |(_, quality)| quality))
    }))
}

fn better<'p>(rated: impl Iterator<Item = (&'p str, u16)>) -> Option<&'p str> {
    let mut best: Option<(&str, (u16, bool))> = None;
    for (provided, quality) in rated.filter(|&(_, quality)| quality > 0) {
        let rating = (quality, essence(provided).eq_ignore_ascii_case(JSON));
        if best.is_none_or(|(_, so_far)| rating > so_far) {
            best = Some((provided, rating));
        }
    }
    best.map(|(provided, _)| provided)
}

/// Returns the language among `languages` that `accept_language` asks for, else the first.
///
/// A range that fits nothing is shortened from its end (`en-GB` to `en`), in the order of the
/// client's preference; `*` takes the first language that was not excluded by `q=0`. Empty when
/// there are no languages at all.
pub fn language<'l, S: AsRef<str>>(accept_language: &str, languages: &'l [S]) -> &'l str {
    let known = || languages.iter().map(AsRef::as_ref);
    let default = known().next().unwrap_or_default();
    let mut ranges: Vec<(&str, u16)> = elements(accept_language).collect();
    // Stable: of equal wishes the first goes first.
    ranges.sort_by_key(|&(_, quality)| std::cmp::Reverse(quality));
    let is_excluded = |tag: &str| {
        let mut excluded = ranges.iter().filter(|&&(_, quality)| quality == 0);
        excluded.any(|(range, _)| range.eq_ignore_ascii_case(tag))
    };
    for &(range, _) in ranges.iter().filter(|&&(_, quality)| quality > 0) {
        let found = if range == "*" {
            known().find(|tag| !is_excluded(tag))
        } else {
            shortened(range).find_map(|range| {
                known().find(|tag| tag.eq_ignore_ascii_case(range) && !is_excluded(tag))
            })
        };
        if let Some(found) = found {
            return found;
        }
    }
    default
}

/// `zh-Hant-x-y`, `zh-Hant`, `zh`: a subtag of one character goes with the one after it.
fn shortened(range: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(range), |range| {
        let (shorter, _) = range.rsplit_once('-')?;
        match shorter.rsplit_once('-') {
            Some((shortest, single)) if single.len() == 1 => Some(shortest),
            _ => Some(shorter),
        }
    })
}

/// The elements of a list with their weights in thousandths; what makes no sense is left out.
fn elements(list: &str) -> impl Iterator<Item = (&str, u16)> {
    // A comma inside a quoted parameter would split it; its halves make no sense and fall out.
    list.split(',').filter_map(|element| {
        let mut parts = element.split(';').map(str::trim);
        let range = parts.next().filter(|range| !range.is_empty())?;
        let weight = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
        });
        Some((range, weight.map_or(Some(1000), thousandths)?))
    })
}

/// `0`, `0.5`, `1.000`.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

/// Returns how closely `range` names `media_type`: 0 for `*/*`, 2 for the type itself.
fn specificity(range: &str, media_type: &str) -> Option<u8> {
    // Some clients write a lone `*`, which was a default of Java's for a long time.
    if matches!(range, "*/*" | "*") {
        return Some(0);
    }
    if let Some(top) = range.strip_suffix("/*") {
        let (found, _) = media_type.split_once('/')?;
        return found.eq_ignore_ascii_case(top).then_some(1);
    }
    range.eq_ignore_ascii_case(media_type).then_some(2)
}

fn is_type(essence: &str) -> bool {
    let is_token = |text: &str| {
        let special = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
        let mut bytes = text.bytes();
        !text.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || special(byte))
    };
    essence
        .split_once('/')
        .is_some_and(|(top, sub)| is_token(top) && is_token(sub))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const BOTH: [&str; 2] = ["application/json", "application/msgpack"];

    fn accepted<'p>(accept: &[&str], provides: &'p [&str]) -> Option<&'p str> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        super::accept(&headers, provides)
    }

    #[test]
    fn a_body_is_taken_by_its_type_without_parameters() {
        assert!(takes(&BOTH, "application/json"));
        assert!(takes(&BOTH, "Application/JSON; charset=utf-8"));
        assert!(takes(&BOTH, " application/msgpack ;x=\"a;b\""));
        assert!(!takes(&BOTH, "text/plain"));
        assert!(!takes(&BOTH, "application/jsonx"));
        assert!(!takes(&BOTH, "application"));
        assert!(!takes(&BOTH, ""));
    }

    #[test]
    fn a_route_may_take_a_range_but_a_body_has_one_type() {
        assert!(takes(&["text/*"], "text/csv"));
        assert!(!takes(&["text/*"], "textual/csv"));
        assert!(takes(&["*/*"], "image/png"));
        assert!(!takes(&["*/*"], "no type"));
        assert!(!takes(&["*/*"], "/"));
    }

    #[test]
    fn without_accept_json_goes_first_else_what_stands_first() {
        assert_eq!(accepted(&[], &BOTH), Some("application/json"));
        assert_eq!(
            accepted(
                &[],
                &["application/cbor", "application/json; charset=utf-8"]
            ),
            Some("application/json; charset=utf-8")
        );
        assert_eq!(accepted(&[], &["text/csv", "text/plain"]), Some("text/csv"));
        assert_eq!(accepted(&[""], &BOTH), Some("application/json"));
        assert_eq!(accepted(&[], &[]), None);
    }

    #[test]
    fn the_weight_decides_and_json_wins_a_tie() {
        for (accept, expected) in [
            ("*/*", Some("application/json")),
            ("*", Some("application/json")),
            ("application/*", Some("application/json")),
            ("application/msgpack", Some("application/msgpack")),
            (
                "application/msgpack, application/json",
                Some("application/json"),
            ),
            (
                "application/json;q=0.5, application/msgpack",
                Some("application/msgpack"),
            ),
            (
                "application/json;q=0.5, */*;q=0.8",
                Some("application/msgpack"),
            ),
            (
                "*/*;q=0.1, application/json;q=0",
                Some("application/msgpack"),
            ),
            (
                "application/json ; charset=utf-8 ; Q=1.0",
                Some("application/json"),
            ),
            ("text/html, application/*;q=0.001", Some("application/json")),
            ("text/html", None),
            ("application/json;q=0, application/msgpack;q=0.000", None),
            ("*/*;q=0", None),
        ] {
            assert_eq!(accepted(&[accept], &BOTH), expected, "{accept}");
        }
    }

    #[test]
    fn several_accept_lines_are_one_list() {
        assert_eq!(
            accepted(
                &["application/json;q=0.2", "application/msgpack;q=0.3"],
                &BOTH
            ),
            Some("application/msgpack")
        );
    }

    #[test]
    fn what_makes_no_sense_in_a_list_is_left_out() {
        for accept in [
            "application/json;q=2, application/msgpack",
            "application/json;q=-1, application/msgpack",
            "application/json;q=0.1234, application/msgpack",
            "application/json;q=x, application/msgpack;q=0.1",
            ",, ;q=1, application/msgpack",
        ] {
            assert_eq!(
                accepted(&[accept], &BOTH),
                Some("application/msgpack"),
                "{accept}"
            );
        }
        assert_eq!(
            accepted(&["application/json;q=7"], &BOTH),
            Some("application/json")
        );
    }

    #[test]
    fn a_language_is_looked_up_from_the_longest_range_to_the_shortest() {
        let known = ["en", "de", "zh-Hant"];
        for (accept, expected) in [
            ("", "en"),
            ("de", "de"),
            ("DE-at", "de"),
            ("fr", "en"),
            ("fr, de;q=0.1", "de"),
            ("de;q=0.3, en-GB;q=0.8", "en"),
            ("zh-Hant-x-own", "zh-Hant"),
            ("zh", "en"),
            ("*", "en"),
            ("en;q=0, *", "de"),
            ("fr, *;q=0.5, en;q=0", "de"),
            ("de;q=9", "en"),
        ] {
            assert_eq!(language(accept, &known), expected, "{accept:?}");
        }
        assert_eq!(language("de", &[] as &[&str]), "");
    }
}
