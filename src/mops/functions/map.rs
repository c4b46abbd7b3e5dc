//! Maps, and `default`.

use std::borrow::Cow;

use super::{Argument, ArgumentKind, Arguments, Effects, Example, Function, Output, Refusal};
use super::{integer, key_text, required, weight};
use crate::value::{Map, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "size",
        operand: "map",
        arguments: &[],
        description: "how many keys",
        examples: &[Example {
            input: r#"{"a": 1}"#,
            template: "{{x |> size}}",
            output: Output::Is("1"),
        }],
        is_pure: true,
        takes_placeholder: false,
        run: size,
    },
    Function {
        name: "get",
        operand: "map",
        arguments: &[
            required("key", ArgumentKind::Key),
            Argument {
                name: "default",
                kind: ArgumentKind::Any,
                is_optional: true,
            },
        ],
        description: "the key's value; an absent key gives the default, or is an error without one",
        examples: &[
            Example {
                input: r#"{"a": 1}"#,
                template: "{{x |> get(a)}}",
                output: Output::Is("1"),
            },
            Example {
                input: r#"{"a": 1}"#,
                template: "{{x |> get(b, 500)}}",
                output: Output::Is("\"500\""),
            },
            Example {
                input: r#"{"a": 1}"#,
                template: "{{x |> get(b, $map)}}",
                output: Output::Is("{}"),
            },
            Example {
                input: r#"{"a": 1}"#,
                template: "{{x |> get(b)}}",
                output: Output::Fails("`get(b)` found no such key"),
            },
            Example {
                input: "\"\"",
                template: "{{x |> get(b)}}",
                output: Output::Is("\"\""),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: get,
    },
    Function {
        name: "put",
        operand: "map",
        arguments: &[
            required("key", ArgumentKind::Key),
            required("value", ArgumentKind::Any),
        ],
        description: "the map with that key set, in its old place or at the end",
        examples: &[
            Example {
                input: r#"{"a": 1, "b": 2}"#,
                template: "{{x |> put(a, 'one') |> put(c, [])}}",
                output: Output::Is(r#"{"a": "one", "b": 2, "c": []}"#),
            },
            Example {
                input: "1",
                template: "{{x |> put(a, b)}}",
                output: Output::Fails("`put` expects a map, found integer"),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: put,
    },
    Function {
        name: "merge",
        operand: "map",
        arguments: &[required("other", ArgumentKind::Map)],
        description: "both maps in one; `other` wins, or with `merge(other, _)` the piped map",
        examples: &[
            Example {
                input: r#"{"a": 1, "b": 2}"#,
                template: "{{x |> merge({{$map |> put(b, c)}})}}",
                output: Output::Is(r#"{"a": 1, "b": "c"}"#),
            },
            Example {
                input: r#"{"a": 1, "b": 2}"#,
                template: "{{x |> merge(_, {{$map |> put(b, c)}})}}",
                output: Output::Is(r#"{"a": 1, "b": "c"}"#),
            },
            Example {
                input: r#"{"a": 1, "b": 2}"#,
                template: "{{x |> merge({{$map |> put(b, c)}}, _)}}",
                output: Output::Is(r#"{"b": 2, "a": 1}"#),
            },
        ],
        is_pure: true,
        takes_placeholder: true,
        run: merge,
    },
    Function {
        name: "with",
        operand: "map",
        arguments: &[required("keys", ArgumentKind::Keys)],
        description: "only these keys, in the map's order; absent ones are ignored",
        examples: &[Example {
            input: r#"{"a": 1, "b": 2, "c": 3}"#,
            template: "{{x |> with([c, a, z])}}",
            output: Output::Is(r#"{"a": 1, "c": 3}"#),
        }],
        is_pure: true,
        takes_placeholder: false,
        run: with,
    },
    Function {
        name: "without",
        operand: "map",
        arguments: &[required("keys", ArgumentKind::Keys)],
        description: "all but these keys; absent ones are ignored",
        examples: &[Example {
            input: r#"{"_limit": "10", "color": "red"}"#,
            template: "{{x |> without([_limit,_sort])}}",
            output: Output::Is(r#"{"color": "red"}"#),
        }],
        is_pure: true,
        takes_placeholder: false,
        run: without,
    },
    Function {
        name: "keys",
        operand: "map",
        arguments: &[],
        description: "the list of its keys, in the map's order",
        examples: &[Example {
            input: r#"{"b": 1, "a": 2}"#,
            template: "{{x |> keys}}",
            output: Output::Is(r#"["b", "a"]"#),
        }],
        is_pure: true,
        takes_placeholder: false,
        run: keys,
    },
    Function {
        name: "values",
        operand: "map",
        arguments: &[],
        description: "the list of its values, in the map's order",
        examples: &[Example {
            input: r#"{"b": 1, "a": 2}"#,
            template: "{{x |> values}}",
            output: Output::Is("[1, 2]"),
        }],
        is_pure: true,
        takes_placeholder: false,
        run: values,
    },
    Function {
        name: "default",
        operand: "any; as the first function also a missing path",
        arguments: &[required("value", ArgumentKind::Any)],
        description: "`value` where the operand is missing, null or the empty text",
        examples: &[
            Example {
                input: "null",
                template: "{{x |> default(1)}}",
                output: Output::Is("\"1\""),
            },
            Example {
                input: "\"\"",
                template: "{{x |> default([])}}",
                output: Output::Is("[]"),
            },
            Example {
                input: "0",
                template: "{{x |> default(1)}}",
                output: Output::Is("0"),
            },
            Example {
                input: "{}",
                template: "{{x.a.b |> default(1)}}",
                output: Output::Is("\"1\""),
            },
            Example {
                input: "{}",
                template: "{{x |> get(a) |> default(1)}}",
                output: Output::Fails("`get(a)` found no such key"),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: default,
    },
];

fn map(operand: &Value) -> Result<&Map, Refusal> {
    operand.as_map().ok_or(Refusal::Operand("a map"))
}

fn size<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    _: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    Ok(Cow::Owned(integer(map(&operand)?.len())))
}

fn get<'v>(
    operand: Cow<'v, Value>,
    arguments: Arguments<'v>,
    _: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    map(&operand)?;
    let key = arguments.first.as_deref().map(key_text).unwrap_or_default();
    let found = match operand {
        Cow::Borrowed(map) => map
            .as_map()
            .and_then(|map| map.get(&*key))
            .map(Cow::Borrowed),
        Cow::Owned(Value::Map(mut map)) => map.swap_remove(&*key).map(Cow::Owned),
        Cow::Owned(_) => None,
    };
    found.or(arguments.second).ok_or(Refusal::NoSuchKey)
}

fn put<'v>(
    operand: Cow<'v, Value>,
    arguments: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    map(&operand)?;
    let key = arguments.first.as_deref().map(key_text).unwrap_or_default();
    let value = effects.own(arguments.second.unwrap_or_default())?;
    let Value::Map(mut map) = effects.own(operand)? else {
        return Err(Refusal::Operand("a map"));
    };
    effects.charge(key.len())?;
    map.insert(key.into_owned(), value);
    Ok(Cow::Owned(Value::Map(map)))
}

fn merge<'v>(
    operand: Cow<'v, Value>,
    arguments: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    map(&operand)?;
    let other = arguments.first.unwrap_or_default();
    let (below, above) = if arguments.piped_last {
        (other, operand)
    } else {
        (operand, other)
    };
    let (Value::Map(mut below), Value::Map(above)) = (effects.own(below)?, effects.own(above)?)
    else {
        return Err(Refusal::Operand("a map"));
    };
    below.extend(above);
    Ok(Cow::Owned(Value::Map(below)))
}

fn with<'v>(
    operand: Cow<'v, Value>,
    arguments: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    filtered(operand, &arguments, effects, true)
}

fn without<'v>(
    operand: Cow<'v, Value>,
    arguments: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    filtered(operand, &arguments, effects, false)
}

/// Keeps the named keys, or all the others.
fn filtered<'v>(
    operand: Cow<'v, Value>,
    arguments: &Arguments<'v>,
    effects: &Effects<'_>,
    keep: bool,
) -> Result<Cow<'v, Value>, Refusal> {
    let keys = arguments
        .first
        .as_deref()
        .and_then(Value::as_list)
        .unwrap_or_default();
    // A set: both the map and the list may be long, and come with a request.
    let keys: std::collections::HashSet<_> = keys.iter().map(key_text).collect();
    let wanted = |key: &str| keys.contains(key) == keep;
    map(&operand)?;
    match operand {
        Cow::Owned(Value::Map(mut map)) => {
            map.retain(|key, _| wanted(key));
            Ok(Cow::Owned(Value::Map(map)))
        }
        borrowed => {
            let mut kept = Map::new();
            for (key, value) in map(&borrowed)? {
                if wanted(key) {
                    effects.charge(key.len() + weight(value))?;
                    kept.insert(key.clone(), value.clone());
                }
            }
            Ok(Cow::Owned(Value::Map(kept)))
        }
    }
}

fn keys<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let map = map(&operand)?;
    effects.charge(map.keys().map(|key| key.len() + 32).sum())?;
    Ok(Cow::Owned(
        map.keys()
            .map(|key| Value::from(key.as_str()))
            .collect::<Vec<_>>()
            .into(),
    ))
}

fn values<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    map(&operand)?;
    let Value::Map(map) = effects.own(operand)? else {
        return Err(Refusal::Operand("a map"));
    };
    Ok(Cow::Owned(map.into_values().collect::<Vec<_>>().into()))
}

fn default<'v>(
    operand: Cow<'v, Value>,
    arguments: Arguments<'v>,
    _: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    if matches!(*operand, Value::Null) || operand.is_empty_text() {
        return Ok(arguments.first.unwrap_or_default());
    }
    Ok(operand)
}
