//! The evaluator is total: what is too deep, too long or too much is an error, soon.

use wampgate::diagnostic::{Code, SourceId};
use wampgate::mops::{
    Context, DEFAULT_TEXT_LIMIT, Error, MAX_CHAIN, MAX_NESTING, Scope, Template, TemplateMap, eval,
    partial,
};
use wampgate::value::{Map, Value};

fn parse(text: &str) -> Result<Template, Vec<Error>> {
    Template::parse(text, SourceId(0))
}

fn variables(entries: impl IntoIterator<Item = (String, String)>) -> TemplateMap {
    entries
        .into_iter()
        .map(|(name, text)| (name, parse(&text).unwrap()))
        .collect()
}

/// Runs on a stack of the size that the workers of an async runtime have, in a build with the
/// large frames of no optimization.
fn on_a_worker(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    thread.spawn(run).unwrap().join().unwrap();
}

fn code_of(template: &str, variables: &TemplateMap) -> Result<Template, Code> {
    let scope = Scope::new()
        .templates("variables", variables)
        .later("request");
    partial(&parse(template).unwrap(), &scope).map_err(|error| error.code())
}

fn nested_tags(levels: usize) -> String {
    let open = "{{request.m |> get(".repeat(levels - 1);
    format!("{open}{{{{request.a}}}}{}", ")}}".repeat(levels - 1))
}

fn nested_lists(levels: usize) -> String {
    format!(
        "{{{{request.m |> with({}{})}}}}",
        "[".repeat(levels),
        "]".repeat(levels)
    )
}

#[test]
fn tags_nest_as_deep_as_allowed_and_no_deeper() {
    on_a_worker(|| {
        assert!(parse(&nested_tags(MAX_NESTING)).is_ok());
        let errors = parse(&nested_tags(MAX_NESTING + 1)).unwrap_err();
        assert_eq!(errors[0].code(), Code::ExpressionTooDeep);
        assert!(parse(&nested_lists(MAX_NESTING - 1)).is_ok());
        let errors = parse(&nested_lists(MAX_NESTING)).unwrap_err();
        assert_eq!(errors[0].code(), Code::ExpressionTooDeep);
    });
}

#[test]
fn hostile_nesting_is_refused_before_it_recurses() {
    on_a_worker(|| {
        for open in [
            "{{",
            "[",
            "{{a|>f(",
            "{{a|>f([",
            "{{a|>f({{",
            "{{'",
            "{{a|>get([",
        ] {
            let text = format!("{{{{a |> get({}", open.repeat(100_000));
            assert!(parse(&text).is_err(), "{open}");
        }
    });
}

/// Each tag is parsed by itself where one is wrong: that must not read the rest of the text again.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "it is real time that this is about"
)]
fn thousands_of_mistakes_in_one_text_are_found_in_seconds() {
    let start = std::time::Instant::now();
    let errors = parse(&"{{a..b}} text ".repeat(5_000)).unwrap_err();
    assert_eq!(errors.len(), 5_000);
    assert!(start.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn json_nests_as_deep_as_allowed_and_no_deeper() {
    let nested = |levels| {
        let tag = Value::from("{{request.a}}");
        (0..levels).fold(tag, |inner, _| Value::List(vec![inner]))
    };
    let parse = |value| Template::from_value(&value, &mut 0);
    assert!(parse(nested(MAX_NESTING)).is_ok());
    let errors = parse(nested(MAX_NESTING + 1)).unwrap_err();
    assert_eq!(errors[0].code(), Code::ExpressionTooDeep);
}

/// `v0` refers to `v1` and so on; the last is a number.
fn chain(links: usize) -> TemplateMap {
    let link = |n: usize| {
        (
            format!("v{n}"),
            format!("{{{{variables.v{} |> string}}}}", n + 1),
        )
    };
    let last = (format!("v{}", links - 1), "{{request.n}}".to_owned());
    variables((0..links - 1).map(link).chain([last]))
}

#[test]
fn a_chain_of_variables_is_bounded_whichever_is_evaluated_first() {
    on_a_worker(|| {
        assert!(code_of("{{variables.v0}}", &chain(MAX_CHAIN)).is_ok());
        let long = chain(MAX_CHAIN + 1);
        assert_eq!(
            code_of("{{variables.v0}}", &long),
            Err(Code::ExpressionTooDeep)
        );
        // The other end first: what is remembered must not make the chain look shorter.
        let scope = Scope::new().templates("variables", &long).later("request");
        for n in (1..=MAX_CHAIN).rev() {
            partial(&parse(&format!("{{{{variables.v{n}}}}}")).unwrap(), &scope).unwrap();
        }
        let error = partial(&parse("{{variables.v0}}").unwrap(), &scope).unwrap_err();
        assert_eq!(error.code(), Code::ExpressionTooDeep);
    });
}

#[test]
fn the_deepest_template_fits_on_the_stack_of_a_worker() {
    on_a_worker(|| {
        // Variables in lists in tags: every level costs more than one step of recursion.
        let link = |n: usize| {
            let inner = format!("{{{{variables.v{}}}}}", n + 1);
            let tag = format!("{{{{$map |> put(a, [[{inner}]])}}}}");
            (format!("v{n}"), tag)
        };
        let mut deepest = None;
        for links in 2..=MAX_CHAIN {
            let last = (format!("v{}", links - 1), "{{request.n}}".to_owned());
            let variables = variables((0..links - 1).map(link).chain([last]));
            match code_of("{{variables.v0}}", &variables) {
                Ok(template) => deepest = Some(template),
                Err(code) => assert_eq!(code, Code::ExpressionTooDeep),
            }
        }
        let promise = deepest.unwrap();
        let request = Value::Map(Map::from([("n".to_owned(), Value::I64(1))]));
        eval(&promise, &Context::new().data("request", &request)).unwrap();
        assert!(promise.to_string().len() > 100);
        assert_eq!(promise.key_paths().len(), 1);
    });
}

/// Each variable holds the next one several times.
fn laughs(pattern: impl Fn(&str) -> String, last: &str) -> TemplateMap {
    let link = |n: usize| {
        (
            format!("v{n}"),
            pattern(&format!("{{{{variables.v{}}}}}", n + 1)),
        )
    };
    variables(
        (0..40)
            .map(link)
            .chain([("v40".to_owned(), last.to_owned())]),
    )
}

#[test]
fn a_billion_laughs_are_refused_at_load() {
    type Pattern = (&'static str, fn(&str) -> String);
    let patterns: [Pattern; 4] = [
        ("text", |v| format!("{v}{v}")),
        ("list", |v| format!("{{{{$map |> put(a, [{v},{v}])}}}}")),
        ("map", |v| {
            format!("{{{{$map |> put(a, {v}) |> put(b, {v})}}}}")
        }),
        ("default", |v| {
            format!("{{{{request.x |> default({v}) |> default({v})}}}}")
        }),
    ];
    for (name, pattern) in patterns {
        for last in ["lol", "{{request.x}}"] {
            let found = code_of("{{variables.v0}}", &laughs(pattern, last));
            assert_eq!(found, Err(Code::TooLarge), "{name} of {last}");
        }
    }
}

#[test]
fn json_of_json_of_json_is_refused_when_it_becomes_too_long() {
    let steps = " |> json:encode".repeat(60);
    let found = code_of(&format!("{{{{'\"\"\"' {steps}}}}}"), &TemplateMap::new());
    assert_eq!(found, Err(Code::TooLarge));
}

#[test]
fn a_text_is_as_long_as_allowed_and_no_longer() {
    let request = Value::Map(Map::from([("t".to_owned(), Value::from("12345"))]));
    let context = Context::new().data("request", &request);
    let template = parse("{{request.t}}{{request.t}}").unwrap();
    assert!(eval(&template, &context.clone().text_limit(10)).is_ok());
    let error = eval(&template, &context.clone().text_limit(9)).unwrap_err();
    assert_eq!(error.message(), "the text is longer than 9 bytes");
    assert_eq!(error.primary_root(), Some("request"));
    for functions in [
        "uri:encode",
        "base64:encode",
        "json:encode",
        "split('') |> join(xxx)",
    ] {
        let functions = functions.replace("split('')", "split('3')");
        let template = parse(&format!("{{{{'3 3 3' |> {functions}}}}}")).unwrap();
        assert!(
            eval(&template, &Context::new().text_limit(20)).is_ok(),
            "{functions}"
        );
        let error = eval(&template, &Context::new().text_limit(6)).unwrap_err();
        assert_eq!(error.code(), Code::TooLarge, "{functions}");
    }
}

#[test]
fn an_evaluation_makes_only_so_much() {
    // Every step copies the body once more.
    let body = Value::Map(Map::from([(
        "body".to_owned(),
        Value::from("x".repeat(1 << 20)),
    )]));
    let puts: String = (0..200)
        .map(|n| format!(" |> put(k{n}, {{{{request.body}}}})"))
        .collect();
    let template = parse(&format!("{{{{$map{puts}}}}}")).unwrap();
    let error = eval(&template, &Context::new().data("request", &body)).unwrap_err();
    assert_eq!(error.message(), "the result is too large");
    const { assert!(200 << 20 > 4 * DEFAULT_TEXT_LIMIT) };
}
