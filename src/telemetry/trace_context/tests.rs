//! The cases of the W3C's own test suite for services (`test/test.py` of its `trace-context`
//! repository), as a table, and what holds for any text at all.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const ID: &str = "12345678901234567890123456789012-1234567890123456";

fn read(lines: &[(&str, &str)]) -> Option<TraceContext> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    TraceContext::from_headers(&headers)
}

/// What is passed on of one `traceparent`, empty if nothing.
fn parent(value: &str) -> String {
    let context = read(&[("traceparent", value)]);
    context.map_or_else(String::new, |context| context.parent.to_string())
}

/// What is passed on of lines of `tracestate`, empty if nothing.
fn states(lines: &[&str]) -> String {
    let parent = format!("00-{ID}-01");
    let mut all = vec![("traceparent", parent.as_str())];
    all.extend(lines.iter().map(|line| ("tracestate", *line)));
    let context = read(&all).expect("the parent is valid");
    context.state.unwrap_or_default().into()
}

#[test]
fn a_valid_parent_is_passed_on() {
    for (value, expected) in [
        (format!("00-{ID}-01"), format!("00-{ID}-01")),
        (format!("00-{ID}-00"), format!("00-{ID}-00")),
        // The flag of Level 2 is kept; what nobody knows is not.
        (format!("00-{ID}-03"), format!("00-{ID}-03")),
        (format!("00-{ID}-ff"), format!("00-{ID}-03")),
        // Versions to come.
        (format!("cc-{ID}-01"), format!("00-{ID}-01")),
        (
            format!("cc-{ID}-01-what-the-future-will-be-like"),
            format!("00-{ID}-01"),
        ),
    ] {
        assert_eq!(parent(&value), expected, "{value}");
    }
}

#[test]
fn any_other_parent_is_none() {
    let (trace, span) = ID.split_once('-').unwrap();
    for value in [
        String::new(),
        format!("00-{ID}-01."),
        format!("00-{ID}-01-what-the-future-will-be-like"),
        format!("cc-{ID}-01.what-the-future-will-be-like"),
        format!("ff-{ID}-01"),
        format!(".0-{ID}-01"),
        format!("0.-{ID}-01"),
        format!("000-{ID}-01"),
        format!("0000-{ID}-01"),
        format!("0-{ID}-01"),
        format!("00-00000000000000000000000000000000-{span}-01"),
        format!("00-.2345678901234567890123456789012-{span}-01"),
        format!("00-1234567890123456789012345678901.-{span}-01"),
        format!("00-1234567890123456789012345678901A-{span}-01"),
        format!("00-{trace}3-{span}-01"),
        format!("00-1234567890123456789012345678901-{span}-01"),
        format!("00-{trace}-0000000000000000-01"),
        format!("00-{trace}-.234567890123456-01"),
        format!("00-{trace}-123456789012345.-01"),
        format!("00-{trace}-123456789012345B-01"),
        format!("00-{trace}-12345678901234567-01"),
        format!("00-{trace}-123456789012345-01"),
        format!("00-{ID}-.0"),
        format!("00-{ID}-0."),
        format!("00-{ID}-0F"),
        format!("00-{ID}-001"),
        format!("00-{ID}-1"),
        format!("00_{trace}_{span}_01"),
        format!(" 00-{ID}-01"),
    ] {
        assert_eq!(parent(&value), "", "{value}");
    }
}

#[test]
fn two_parents_are_none_and_names_are_exact() {
    let [first, second] = [format!("00-{ID}-01"), format!("00-{ID}-00")];
    for pair in [[&first, &first], [&first, &second]] {
        let lines = pair.map(|line| ("traceparent", line.as_str()));
        assert_eq!(read(&lines), None);
    }
    for (name, is_it) in [
        ("TraceParent", true),
        ("TRACEPARENT", true),
        ("trace-parent", false),
        ("trace_parent", false),
        ("trace.parent", false),
    ] {
        assert_eq!(read(&[(name, &first)]).is_some(), is_it, "{name}");
    }
    assert_eq!(read(&[("tracestate", "foo=1")]), None);
    assert_eq!(
        read(&[("traceparent", "nonsense"), ("tracestate", "foo=1")]),
        None
    );
}

#[test]
fn the_lines_of_a_state_are_one() {
    for (lines, expected) in [
        (&["foo=1"] as &[_], "foo=1"),
        (&["foo=1,", "bar=2"], "foo=1,bar=2"),
        (&["foo=1", "", "bar=2"], "foo=1,bar=2"),
        (
            &["foo=1", "bar=2", "rojo=1,congo=2", "baz=3"],
            "foo=1,bar=2,rojo=1,congo=2,baz=3",
        ),
        (&["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
        (&["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], "foo=1,bar=2,baz=3"),
        (&[" foo=1"], "foo=1"),
        (&["foo=1 "], "foo=1"),
        (&["foo= 1"], "foo= 1"),
        (
            &["a0123456789-_*/= !\"#$%&'()*+-./0123456789:;<>?@AZ[\\]^_`az{|}~"],
            "a0123456789-_*/= !\"#$%&'()*+-./0123456789:;<>?@AZ[\\]^_`az{|}~",
        ),
        (&["0-_*/@a-_*/=1"], "0-_*/@a-_*/=1"),
        (&["", ",", " , "], ""),
        (&[], ""),
    ] {
        assert_eq!(states(lines), expected, "{lines:?}");
    }
}

#[test]
fn a_state_with_one_bad_member_is_none_at_all() {
    for line in [
        "foo",
        "foo=1,bar",
        "=1",
        "foo=1,foo=1",
        "foo=1,foo=2",
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "0foo=1",
        "foo@=1,bar=2",
        "@foo=1,bar=2",
        "foo@@bar=1,bar=2",
        "foo@bar@baz=1,bar=2",
        "foo@0bar=1",
        "foo=bar=baz",
        "foo=,bar=3",
        "foo=\u{fc}",
        "foo=a\tb",
    ] {
        assert_eq!(states(&[line]), "", "{line}");
    }
    assert_eq!(states(&["bar=1", "foo=1", "foo=2"]), "");
}

#[test]
fn a_state_has_limits() {
    let many = |count: usize| {
        (0..count)
            .map(|n| format!("bar{n:02}={n:02}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(states(&[&many(32).join(",")]), many(32).join(","));
    assert_eq!(states(&[&many(33).join(",")]), "");
    let halves = [many(33)[..16].join(","), many(33)[16..].join(",")];
    assert_eq!(states(&[&halves[0], &halves[1]]), "");

    for (key, is_good) in [
        ("z".repeat(256), true),
        ("z".repeat(257), false),
        (format!("{}@{}", "t".repeat(241), "v".repeat(14)), true),
        (format!("{}@v", "t".repeat(242)), false),
        (format!("t@{}", "v".repeat(15)), false),
    ] {
        let line = format!("{key}=1");
        let expected = if is_good { line.clone() } else { String::new() };
        assert_eq!(states(&[&line]), expected, "{line}");
    }
    for (length, is_good) in [(256, true), (257, false)] {
        let line = format!("foo={}", "x".repeat(length));
        let expected = if is_good { line.clone() } else { String::new() };
        assert_eq!(states(&[&line]), expected);
    }
}

#[test]
fn a_long_state_loses_its_long_members_first_and_then_the_oldest() {
    let member = |key: &str, length: usize| format!("{key}={}", "x".repeat(length - key.len() - 1));
    let long = member("long", 200);
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|key| member(key, 127));
    // 4 * 127 + 3 commas: 511 bytes.
    let fits = [a.clone(), b.clone(), c.clone(), d.clone()].join(",");
    assert_eq!(states(&[&fits]), fits);
    assert_eq!(states(&[&long, &fits]), fits);
    assert_eq!(states(&[&fits, &long]), fits);
    assert_eq!(states(&[&fits, "e=1"]), fits);
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Some(parent) = TraceParent::parse(&text) {
            // What is passed on reads back as the same.
            prop_assert_eq!(TraceParent::parse(parent.to_string().as_bytes()), Some(parent));
        }
        if let Some(joined) = state([text.as_slice()].into_iter()) {
            prop_assert!(joined.len() <= MAX_STATE_LENGTH);
            prop_assert_eq!(state([joined.as_bytes()].into_iter()), Some(joined.clone()));
        }
    }

    #[test]
    fn what_is_nearly_right_is_right_or_nothing(
        text in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}",
        place in 0_usize..55,
        byte in any::<u8>(),
    ) {
        let mut text = text.into_bytes();
        text[place] = byte;
        if let Some(parent) = TraceParent::parse(&text) {
            let shown = parent.to_string();
            prop_assert_eq!(&shown.as_bytes()[3..52], &text[3..52]);
        }
    }

    #[test]
    fn members_come_through_in_order(
        members in proptest::collection::vec(("[a-z][a-z0-9_*/-]{0,20}", "[!-+.-<>-~]{1,20}"), 0..40)
    ) {
        let lines: Vec<_> = members.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let joined = state(lines.iter().map(String::as_bytes));
        let joined = joined.as_deref().unwrap_or_default();
        let rest = joined.split(',').filter(|member| !member.is_empty());
        let mut all = lines.iter();
        for member in rest {
            prop_assert!(all.any(|line| line == member));
        }
    }
}
