//! What load leaves for a request: promises, what they need, whose fault they fail for.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wampgate::diagnostic::SourceId;
use wampgate::mops::{Context, Primary, Scope, Template, TemplateMap, eval, functions, partial};
use wampgate::value::{Map, Value};

fn parse(text: &str) -> Template {
    Template::parse(text, SourceId(0)).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn templates(text: &str) -> TemplateMap {
    let Value::Map(map) = json(text) else {
        panic!("no map: {text}");
    };
    let mut next = 1;
    map.iter()
        .map(|(key, value)| (key.clone(), Template::from_value(value, &mut next).unwrap()))
        .collect()
}

const VARIABLES: &str = r#"{
    "n": 5,
    "word": "it's",
    "query": "{{request.query_params}}",
    "first": "{{request.list |> head}}",
    "hello": "Hello {{request.name}}",
    "both": {"known": [1, "{{variables.n}}"], "later": "{{action.result}}"},
    "table": {"a": 1, "b": 2}
}"#;

fn left(template: &str) -> Template {
    let variables = templates(VARIABLES);
    let scope = Scope::new()
        .templates("variables", &variables)
        .later("request")
        .later("action");
    partial(&parse(template), &scope).unwrap()
}

#[test]
fn what_is_left_is_written_as_source() {
    for (template, source) in [
        ("{{variables.n |> string}}", "5"),
        (
            "{{variables.query |> get(x, {{variables.n}})}}",
            "{{request.query_params |> get(x, 5)}}",
        ),
        (
            "{{variables.query |> get(x, 5)}}",
            "{{request.query_params |> get(x, '5')}}",
        ),
        ("{{variables.query.x.y}}", "{{request.query_params.x.y}}"),
        (
            "{{variables.first.x |> default(a)}}",
            "{{request.list |> head .x |> default(a)}}",
        ),
        (
            "{{variables.word}} {{request.a}} {{variables.n}}!",
            "it's {{request.a}} 5!",
        ),
        (
            "\"{{variables.hello}}\"",
            "\"{{\"Hello {{request.name}}\"}}\"",
        ),
        (
            "{{variables.hello |> uppercase}}",
            "{{\"Hello {{request.name}}\" |> uppercase}}",
        ),
        ("{{variables.both.known}}", "[1,5]"),
        (
            "{{variables.both}}",
            r#"{"known":[1,5],"later":"{{action.result}}"}"#,
        ),
        (
            "{{variables.table |> get({{request.k}})}}",
            r#"{{{"a":1,"b":2} |> get({{request.k}})}}"#,
        ),
        (
            "{{variables.table |> random(1)}}",
            r#"{{{"a":1,"b":2} |> random('1')}}"#,
        ),
        (
            "{{variables.none |> default({{request.a}})}}",
            "{{\"{{request.a}}\"}}",
        ),
        (
            "{{variables.n |> default({{request.a}})}}",
            "{{5 |> default({{request.a}})}}",
        ),
        (
            "{{$map |> put(k, {{request.a}})}}",
            "{{$map |> put(k, {{request.a}})}}",
        ),
        (
            "{{request.m |> merge({{variables.table}}, _)}}",
            r#"{{request.m |> merge({"a":1,"b":2}, _)}}"#,
        ),
    ] {
        assert_eq!(left(template).to_string(), source, "{template}");
    }
}

#[test]
fn canonical_source_reads_back_as_the_same_template() {
    for text in [
        "plain",
        " {{ '{{' }} ",
        "{{request.a}}",
        "\"{{request.a}}\"",
        "\" {{request.a}}\"",
        "a{{request.a}}b{{request.b |> get('x y', [a, 'b,', {{request.c}}, $map])}}",
        "{{'{'}}{{request.a}}}",
        "{{'\"'}}{{request.a}}{{'\"'}}",
        "\"{{'\"'}}{{request.a}}\"",
        "{{'a' |> split('\\'\\\\')}}",
        "{{request.'a.b'.'it\\'s'.''.0 |> default('_') |> default('')}}",
        "{{$list |> head}}{{$map |> merge($map, _)}}",
        "\"{{'{{'}}\"",
        "{{'  '}}",
    ] {
        let template = parse(text);
        let source = template.to_string();
        assert_eq!(parse(&source), template, "{text} was written as {source}");
        assert_eq!(parse(&source).to_string(), source);
    }
}

#[test]
fn a_promise_tells_what_it_needs() {
    let paths = |template: &str| -> Vec<String> {
        left(template)
            .key_paths()
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(paths("{{variables.table}}"), [""; 0]);
    assert_eq!(
        paths("{{variables.query |> get({{action.result.args.0}}, [{{variables.hello}}])}}"),
        [
            "request.query_params",
            "action.result.args.0",
            "request.name"
        ]
    );
    assert!(left("{{variables.both}}").uses("action"));
    assert!(!left("{{variables.both.known}}").uses("action"));
    assert!(left("{{action.result.args}}").key_paths()[0].starts_with(&["action", "result"]));
    assert!(!left("{{action.result}}").key_paths()[0].starts_with(&["action", "result", "args"]));
}

#[test]
fn an_error_blames_the_root_that_the_pipeline_began_with() {
    let request = json(r#"{"query_params": {}, "list": [1], "name": "n", "t": "x"}"#);
    let action = json(r#"{"result": {"args": []}}"#);
    let context = Context::new()
        .data("request", &request)
        .data("action", &action);
    for (template, root) in [
        ("{{request.body}}", Some("request")),
        ("{{request.t |> integer}}", Some("request")),
        ("{{variables.query |> get(x)}}", Some("request")),
        ("{{variables.query.x}}", Some("request")),
        ("{{variables.first.x}}", Some("request")),
        ("{{action.result.kwargs}}", Some("action")),
        ("{{action.result.args |> nth(1)}}", Some("action")),
        ("{{variables.table |> get({{request.t}})}}", None),
        (
            "{{action.result |> get({{request.missing}})}}",
            Some("request"),
        ),
        ("{{variables.hello |> integer}}", None),
        ("{{$map |> get({{request.t}})}}", None),
        ("a {{request.missing}}", Some("request")),
        ("{{security.meta}}", None),
    ] {
        let variables = templates(VARIABLES);
        let scope = Scope::new()
            .templates("variables", &variables)
            .later("request")
            .later("action");
        let root_of = |template: &Template| {
            let error = eval(template, &context).unwrap_err();
            error.primary_root().map(str::to_owned)
        };
        match partial(&parse(template), &scope) {
            Ok(promise) => assert_eq!(root_of(&promise).as_deref(), root, "{template}"),
            Err(error) => assert_eq!(error.primary_root(), root, "{template}"),
        }
    }
}

#[test]
fn data_is_borrowed_not_copied() {
    let request = json(r#"{"body": {"list": [{"a": "x"}]}}"#);
    let context = Context::new().data("request", &request);
    for template in [
        "{{request.body}}",
        "{{request.body.list.0.a}}",
        "{{request.body |> get(list) |> head |> get(a)}}",
        "{{request.body.none |> default({{request.body}})}}",
        "{{request.body.list.0.a |> string |> trim}}",
        "plain",
    ] {
        let template = parse(template);
        let value = eval(&template, &context).unwrap();
        assert!(matches!(value, Cow::Borrowed(_)), "{template}");
    }
}

#[test]
fn constants_are_shared_by_all_promises() {
    let variables = templates(VARIABLES);
    let scope = Scope::new()
        .templates("variables", &variables)
        .later("request");
    let constant = |template: &str| match partial(&parse(template), &scope).unwrap() {
        Template::Pipe(pipeline) => match pipeline.primary {
            Primary::Constant(value) => value,
            other => panic!("{other:?}"),
        },
        Template::Literal(value) => value,
        other => panic!("{other:?}"),
    };
    for (one, other) in [
        (
            "{{variables.table}}",
            "{{variables.table |> get({{request.k}})}}",
        ),
        (
            "{{variables.both.known}}",
            "{{variables.both.known |> nth({{request.k}})}}",
        ),
        (
            "{{variables.table |> default($map)}}",
            "{{variables.table}}",
        ),
    ] {
        assert!(
            Arc::ptr_eq(&constant(one), &constant(other)),
            "{one} and {other}"
        );
    }
}

#[test]
fn thousands_of_templates_evaluate_a_variable_once() {
    let big: Vec<String> = (0..10_000)
        .map(|n| format!("\"k{n}\": \"{{{{variables.n}}}}\""))
        .collect();
    let variables = templates(&format!("{{\"n\": 1, \"big\": {{{}}}}}", big.join(",")));
    let scope = Scope::new()
        .templates("variables", &variables)
        .later("request");
    let template = parse("{{variables.big |> get({{request.k}})}}");
    // Each time anew this would be a hundred million steps.
    let promises: Vec<_> = (0..10_000)
        .map(|_| partial(&template, &scope).unwrap())
        .collect();
    let request = json(r#"{"k": "k77"}"#);
    let context = Context::new().data("request", &request);
    assert_eq!(*eval(&promises[9_999], &context).unwrap(), Value::I64(1));
}

#[test]
fn random_draws_from_the_source_that_is_handed_in() {
    let drawn = AtomicUsize::new(0);
    let source = |bound: usize| {
        drawn.fetch_add(1, Ordering::Relaxed);
        bound - 1
    };
    let promise = left("{{variables.table |> keys |> random(2)}}");
    assert!(promise.as_literal().is_none(), "it must not run at load");
    let context = Context::new().random(&source);
    assert_eq!(*eval(&promise, &context).unwrap(), json(r#"["b", "a"]"#));
    assert_eq!(drawn.load(Ordering::Relaxed), 2);
    let error = eval(&promise, &Context::new()).unwrap_err();
    assert_eq!(error.message(), "there is no source of randomness here");
}

#[test]
fn every_function_lets_the_empty_text_through_but_default() {
    for function in functions::all().filter(|function| function.name != "default") {
        let arguments: Vec<&str> = function
            .arguments
            .iter()
            .map(|_| "{{request.any}}")
            .collect();
        let call = match arguments.as_slice() {
            [] => function.name.to_owned(),
            some => format!("{}({})", function.name, some.join(", ")),
        };
        let request = json(r#"{"empty": "", "any": null}"#);
        let template = parse(&format!("{{{{request.empty |> {call}}}}}"));
        let context = Context::new().data("request", &request);
        assert_eq!(
            *eval(&template, &context).unwrap(),
            Value::from(""),
            "{call}"
        );
    }
}

#[test]
fn spans_point_into_the_text_in_bytes() {
    let errors = Template::parse("ä {{request.ö |> intger}}", SourceId(7)).unwrap_err();
    let span = errors[0].span();
    assert_eq!((span.source, span.start, span.end), (SourceId(7), 19, 25));
    let request = Value::Map(Map::new());
    let template = parse("ä {{request.ö.x}}");
    let error = eval(&template, &Context::new().data("request", &request)).unwrap_err();
    assert_eq!((error.span().start, error.span().end), (13, 15));
}
