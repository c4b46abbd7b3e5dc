//! Laws, tried on generated input.

/// Stores: what every store does, and the embedded one beside a model.
#[path = "store/embedded.rs"]
mod store;

/// Mops: load and request together give what evaluation in one go gives; parsing never panics; what
/// is printed reads back.
mod mops {
    use std::mem::discriminant;

    use proptest::prelude::*;
    use wampgate::diagnostic::SourceId;
    use wampgate::mops::functions::ArgumentKind;
    use wampgate::mops::{
        Aliases, Context, Error, Scope, Template, TemplateMap, eval, functions, partial,
    };
    use wampgate::value::{Map, Value};

    const VARIABLES: usize = 6;

    const CASES: u32 = 400;

    /// A path; variables refer to later ones but for a few, so that most templates load.
    fn path(first: usize) -> BoxedStrategy<String> {
        let data = prop::sample::select(vec![
            "request",
            "request.body",
            "request.body.m",
            "request.body.l",
            "request.body.l.0",
            "request.body.n",
            "request.body.t",
            "request.body.empty",
            "request.body.null",
            "request.body.f",
            "request.body.evil",
            "request.path_params",
            "request.path_params.id",
            "request.missing",
            "action.result.args",
            "action.result.arguments",
            "security.meta",
        ])
        .prop_map(str::to_owned);
        let variable = (first..VARIABLES).prop_map(|n| format!("variables.v{n}"));
        let any_variable = (0..VARIABLES).prop_map(|n| format!("variables.v{n}"));
        let other = prop::sample::select(vec![
            "status_codes",
            "request",
            "request.body",
            "variables.none",
        ])
        .prop_map(str::to_owned);
        let start = if first < VARIABLES {
            prop_oneof![8 => data, 8 => variable, 1 => any_variable, 1 => other].boxed()
        } else {
            prop_oneof![10 => data, 1 => other].boxed()
        };
        let tail = prop_oneof![
            6 => Just(""),
            1 => Just(".a"),
            1 => Just(".b"),
            1 => Just(".0"),
            1 => Just(".a.0"),
        ];
        (start, tail).prop_map(|(start, tail)| start + tail).boxed()
    }

    fn word() -> BoxedStrategy<String> {
        prop::sample::select(vec![
            "a", "b", "0", "1", "2", "x", "42.9", "''", "'a b'", "$map", "$list", "-1", "true",
            "'{{'",
        ])
        .prop_map(str::to_owned)
        .boxed()
    }

    /// A function with arguments that are mostly of the right number.
    fn call(argument: BoxedStrategy<String>) -> BoxedStrategy<String> {
        let function = prop_oneof![
            2 => (0..functions::all().count()).prop_map(|n| functions::all().nth(n).unwrap()),
            1 => Just(functions::find("default").unwrap()),
            1 => Just(functions::find("get").unwrap()),
        ];
        (function, argument.clone(), argument, any::<u8>())
            .prop_map(|(function, first, second, choice)| {
                let name = function.name;
                // A known argument of the wrong kind is refused at load: only now and then one.
                let fit = |at: usize, given: String| match function.arguments[at].kind {
                    _ if given.starts_with("{{") || choice.is_multiple_of(16) => given,
                    ArgumentKind::Count => "1".to_owned(),
                    ArgumentKind::Map => "$map".to_owned(),
                    ArgumentKind::Keys => "[a, b]".to_owned(),
                    ArgumentKind::Key | ArgumentKind::Text | ArgumentKind::Separator => {
                        "a".to_owned()
                    }
                    ArgumentKind::Any => given,
                };
                match (function.arguments.len(), choice % 4) {
                    (0, _) => name.to_owned(),
                    (2, 0) if function.arguments[1].is_optional => {
                        format!("{name}({})", fit(0, first))
                    }
                    (2, _) => format!("{name}({}, {})", fit(0, first), fit(1, second)),
                    (_, 0) if function.takes_placeholder => format!("{name}({}, _)", fit(0, first)),
                    (_, 1) if function.takes_placeholder => format!("{name}(_, {})", fit(0, first)),
                    _ => format!("{name}({})", fit(0, first)),
                }
            })
            .boxed()
    }

    fn tag(first: usize) -> BoxedStrategy<String> {
        let primary = move || {
            prop_oneof![
                6 => path(first),
                1 => Just("$map".to_owned()),
                1 => Just("$list".to_owned()),
                1 => Just("'quoted'".to_owned()),
            ]
        };
        let plain = prop_oneof![2 => primary().prop_map(|p| format!("{{{{{p}}}}}")), 1 => word()];
        let argument = plain.prop_recursive(3, 12, 2, move |inner| {
            let tag = (primary(), prop::collection::vec(call(inner.clone()), 0..2)).prop_map(
                |(primary, calls)| {
                    let calls: String = calls.iter().map(|call| format!(" |> {call}")).collect();
                    format!("{{{{{primary}{calls}}}}}")
                },
            );
            prop_oneof![
                3 => tag,
                1 => prop::collection::vec(inner, 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            ]
        });
        let head = prop_oneof![20 => path(first), 1 => Just("$map".to_owned()), 1 => Just("'q'".to_owned())];
        (head, prop::collection::vec(call(argument.boxed()), 0..3))
            .prop_map(|(primary, calls)| {
                let calls: String = calls.iter().map(|call| format!(" |> {call}")).collect();
                format!("{{{{{primary}{calls}}}}}")
            })
            .boxed()
    }

    fn text(first: usize) -> BoxedStrategy<String> {
        prop_oneof![
            6 => tag(first),
            1 => tag(first).prop_map(|tag| format!("\"{tag}\"")),
            2 => (tag(first), tag(first)).prop_map(|(a, b)| format!("a {a} \"{b}")),
        ]
        .boxed()
    }

    fn template(first: usize) -> BoxedStrategy<Value> {
        let leaf = prop_oneof![
            6 => text(first).prop_map(Value::from),
            1 => Just(Value::I64(7)),
            1 => Just(Value::Null),
        ];
        leaf.prop_recursive(2, 6, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
                prop::collection::vec(inner, 0..3).prop_map(|values| {
                    let keys = ["a", "b", "c"].map(str::to_owned);
                    Value::Map(keys.into_iter().zip(values).collect::<Map>())
                }),
            ]
        })
        .boxed()
    }

    fn variables() -> BoxedStrategy<Vec<Value>> {
        (1..=VARIABLES).map(template).collect::<Vec<_>>().boxed()
    }

    fn data() -> (Value, Value) {
        let request = r#"{
            "body": {
                "m": {"a": {"0": 1}, "b": [1, 2], "x": "y"}, "l": [3, "x", {"a": 1}], "n": 42, "t": "text",
                "empty": "", "null": null, "f": 13.99, "evil": "{{security.meta}}"
            },
            "bindings": {"id": "7", "a": 1}
        }"#;
        let action = r#"{"result": {"args": [1, {"a": 2}], "kwargs": {}}}"#;
        (
            serde_json::from_str(request).unwrap(),
            serde_json::from_str(action).unwrap(),
        )
    }

    /// An error but for its words: those of a promise may name another way to the same place.
    fn essence(error: &Error) -> String {
        let (span, root) = (error.span(), error.primary_root());
        format!(
            "{:?} {span:?} {root:?} {:?}",
            discriminant(error.kind()),
            error.expression()
        )
    }

    fn outcome(result: Result<std::borrow::Cow<'_, Value>, Error>) -> String {
        match result {
            Ok(value) => value.to_string(),
            Err(error) => essence(&error),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

        #[test]
        fn load_and_request_agree_with_evaluation_in_one_go(
            template in template(0),
            values in variables(),
            order in any::<prop::sample::Index>(),
        ) {
            let mut next = 0;
            let mut read = |value: &Value| Template::from_value(value, &mut next).unwrap();
            let template = read(&template);
            let variables: TemplateMap =
                values.iter().enumerate().map(|(n, value)| (format!("v{n}"), read(value))).collect();
            let status_codes = TemplateMap::from([("a".to_owned(), read(&Value::from("{{variables.v5}}")))]);
            let aliases = Aliases::new()
                .with("request.path_params", "bindings")
                .with("action.result.arguments", "args");
            let scope = || {
                Scope::new()
                    .templates("variables", &variables)
                    .templates("status_codes", &status_codes)
                    .later("request")
                    .later("action")
                    .later("security")
                    .aliases(&aliases)
            };
            let (request, action) = data();
            let last = |bound: usize| bound - 1;
            let context = Context::new().data("request", &request).data("action", &action).random(&last);
            let full = context
                .clone()
                .templates("variables", &variables)
                .templates("status_codes", &status_codes)
                .aliases(&aliases);
            let expected = outcome(eval(&template, &full));

            let fresh = scope();
            if let Ok(promise) = partial(&template, &fresh) {
                prop_assert_eq!(outcome(eval(&promise, &context)), expected.clone(), "{}", promise);
                // Once more changes nothing: promises of one level are variables of the next.
                let again = partial(&promise, &fresh).unwrap();
                prop_assert_eq!(outcome(eval(&again, &context)), expected.clone(), "{}", again);
                for path in promise.key_paths() {
                    prop_assert!(["request", "action", "security"].contains(&&*path.root));
                }
                // What others have asked for before makes no difference.
                let used = scope();
                let first = format!("v{}", order.index(VARIABLES));
                let _ = partial(&variables[&first], &used).is_ok();
                let _ = partial(&Template::parse("{{variables}}", SourceId(99)).unwrap(), &used).is_ok();
                let later = partial(&template, &used);
                prop_assert_eq!(later.as_ref(), Ok(&promise));
            } else {
                let used = scope();
                let first = format!("v{}", order.index(VARIABLES));
                let _ = partial(&variables[&first], &used).is_ok();
                prop_assert!(partial(&template, &used).is_err());
            }
        }

        #[test]
        fn what_is_printed_reads_back(template in template(0)) {
            let read = |value: &Value| Template::from_value(value, &mut 0).unwrap();
            let parsed = read(&template);
            let printed = parsed.to_value();
            prop_assert_eq!(&read(&printed), &parsed, "{}", printed);
            prop_assert_eq!(read(&printed).to_value(), printed);
        }

        #[test]
        fn any_text_is_parsed_or_refused(
            text in prop::collection::vec(
                prop_oneof![
                    prop::sample::select(vec![
                        "{{", "}}", "{", "}", "'", "\"", "[", "]", "(", ")", ",", ".", "|>", "|", " ", "\\",
                        "a", "_", "$map", "get", "merge", "integer", "1", "ä",
                    ]).prop_map(str::to_owned),
                    any::<char>().prop_map(String::from),
                ],
                0..40,
            )
        ) {
            let text = text.concat();
            match Template::parse(&text, SourceId(0)) {
                Ok(template) => {
                    // As JSON: `{{$map}}` is a literal, which only JSON tells from the text `{}`.
                    let printed = template.to_value();
                    prop_assert_eq!(Template::from_value(&printed, &mut 0), Ok(template), "{}", printed);
                }
                Err(errors) => {
                    prop_assert!(!errors.is_empty());
                    for error in errors {
                        let span = error.span();
                        prop_assert!(text.get(span.start as usize..span.end as usize).is_some(), "{:?}", error);
                        prop_assert!(!error.message().is_empty());
                    }
                }
            }
        }
    }

    /// The law says nothing where load fails: most of what is generated must load.
    #[test]
    fn the_generator_makes_templates_that_load_and_that_fail_at_request() {
        use proptest::strategy::ValueTree;
        use proptest::test_runner::TestRunner;
        let mut runner = TestRunner::deterministic();
        let (request, action) = data();
        let (mut promises, mut values_made, mut failures) = (0, 0, 0);
        for _ in 0..500 {
            let (template, values) = (template(0), variables())
                .new_tree(&mut runner)
                .unwrap()
                .current();
            let read = |value: &Value| Template::from_value(value, &mut 0).unwrap();
            let variables: TemplateMap = values
                .iter()
                .enumerate()
                .map(|(n, value)| (format!("v{n}"), read(value)))
                .collect();
            let scope = Scope::new()
                .templates("variables", &variables)
                .templates("status_codes", &variables)
                .later("request")
                .later("action")
                .later("security");
            let Ok(promise) = partial(&read(&template), &scope) else {
                continue;
            };
            promises += usize::from(promise.as_literal().is_none());
            let context = Context::new()
                .data("request", &request)
                .data("action", &action);
            match eval(&promise, &context) {
                Ok(_) => values_made += 1,
                Err(_) => failures += 1,
            }
        }
        assert!(
            promises > 80 && values_made > 100 && failures > 50,
            "{promises} promises, {values_made} values, {failures} failures"
        );
    }
}
