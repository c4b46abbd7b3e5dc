//! Load and request together give what evaluation in one go gives. The input is lines: a template,
//! then the variables `a`, `b`, `c` and so on.

#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use wampgate::diagnostic::{Code, SourceId};
use wampgate::mops::{Context, Error, Scope, Template, TemplateMap, eval, partial};
use wampgate::value::Value;

const REQUEST: &str = r#"{
    "m": {"a": 1, "b": [1, 2]}, "l": [3, "x", {"a": 1}], "n": 42, "t": "text", "e": "", "z": null,
    "f": 13.99, "u": 18446744073709551615, "v": "{{request.t}}"
}"#;

fuzz_target!(|text: &str| {
    let mut parsed = (0..)
        .zip(text.lines())
        .filter_map(|(line, text)| Template::parse(text, SourceId(line)).ok());
    let Some(template) = parsed.next() else {
        return;
    };
    let names = ('a'..='z').map(String::from);
    let variables: TemplateMap = names.zip(parsed).collect();
    let scope = Scope::new()
        .templates("v", &variables)
        .later("request")
        .text_limit(1 << 16);
    let Ok(promise) = partial(&template, &scope) else {
        return;
    };
    let request: Value = serde_json::from_str(REQUEST).expect("it is JSON");
    let last = |bound: usize| bound - 1;
    let context = Context::new()
        .data("request", &request)
        .random(&last)
        .text_limit(1 << 16);
    let full = context.clone().templates("v", &variables);
    let (left, right) = (eval(&promise, &context), eval(&template, &full));
    // What load has made does not count at request, so the one may pass where the other has made
    // too much.
    if [&left, &right].into_iter().any(|it| matches!(it, Err(e) if e.code() == Code::TooLarge)) {
        return;
    }
    assert_eq!(essence(left), essence(right), "{promise}");
});

fn essence(result: Result<Cow<'_, Value>, Error>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{} {:?} {:?}", error.code(), error.span(), error.primary_root()),
    }
}
