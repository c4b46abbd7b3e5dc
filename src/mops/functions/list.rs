//! Lists.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::number::{compare, count};
use super::{ArgumentKind, Arguments, Effects, Example, Function, Output, Refusal};
use super::{integer, required, weight};
use crate::mops::error::ErrorKind;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "head",
        operand: "list",
        arguments: &[],
        description: "the first item; of an empty list the empty text",
        examples: &[
            Example {
                input: "[1, 2]",
                template: "{{x |> head}}",
                output: Output::Is("1"),
            },
            Example {
                input: "[]",
                template: "{{x |> head}}",
                output: Output::Is("\"\""),
            },
            Example {
                input: "3",
                template: "{{x |> head}}",
                output: Output::Fails("`head` expects a list, found integer"),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: head,
    },
    Function {
        name: "last",
        operand: "list",
        arguments: &[],
        description: "the last item; of an empty list the empty text",
        examples: &[
            Example {
                input: "[1, 2]",
                template: "{{x |> last}}",
                output: Output::Is("2"),
            },
            Example {
                input: "[]",
                template: "{{x |> last}}",
                output: Output::Is("\"\""),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: last,
    },
    Function {
        name: "tail",
        operand: "list",
        arguments: &[],
        description: "the list without its first item; of an empty list the empty list",
        examples: &[
            Example {
                input: "[1, 2, 3]",
                template: "{{x |> tail}}",
                output: Output::Is("[2, 3]"),
            },
            Example {
                input: "[]",
                template: "{{x |> tail}}",
                output: Output::Is("[]"),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: tail,
    },
    Function {
        name: "min",
        operand: "list",
        arguments: &[],
        description: "the least item, numbers by value before texts; of an empty list the empty text",
        examples: &[
            Example {
                input: "[10, 2.5, \"1\"]",
                template: "{{x |> min}}",
                output: Output::Is("2.5"),
            },
            Example {
                input: "[]",
                template: "{{x |> min}}",
                output: Output::Is("\"\""),
            },
            Example {
                input: "[1, null]",
                template: "{{x |> min}}",
                output: Output::Fails("`min` failed: an item is neither a number nor a text"),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: min,
    },
    Function {
        name: "max",
        operand: "list",
        arguments: &[],
        description: "the greatest item, numbers by value before texts; of an empty list the empty text",
        examples: &[
            Example {
                input: "[10, 2.5]",
                template: "{{x |> max}}",
                output: Output::Is("10"),
            },
            Example {
                input: "[10, \"1\"]",
                template: "{{x |> max}}",
                output: Output::Is("\"1\""),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: max,
    },
    Function {
        name: "nth",
        operand: "list",
        arguments: &[required("n", ArgumentKind::Count)],
        description: "the n-th item, from one; outside the list is an error",
        examples: &[
            Example {
                input: "[\"a\", \"b\"]",
                template: "{{x |> nth(2)}}",
                output: Output::Is("\"b\""),
            },
            Example {
                input: "[\"a\", \"b\"]",
                template: "{{x |> nth(3)}}",
                output: Output::Fails("`nth` failed: the list has no such item"),
            },
            Example {
                input: "[\"a\", \"b\"]",
                template: "{{x |> nth(0)}}",
                output: Output::Fails("`nth` failed: the list has no such item"),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: nth,
    },
    Function {
        name: "random",
        operand: "list",
        arguments: &[required("n", ArgumentKind::Count)],
        description: "n items in random order without repeats; all of them, if n is larger",
        examples: &[
            Example {
                input: "[7]",
                template: "{{x |> random(5)}}",
                output: Output::Is("[7]"),
            },
            Example {
                input: "[7, 8]",
                template: "{{x |> random(0)}}",
                output: Output::Is("[]"),
            },
        ],
        is_pure: false,
        takes_placeholder: false,
        run: random,
    },
    Function {
        name: "length",
        operand: "list, text",
        arguments: &[],
        description: "how many items or characters",
        examples: &[
            Example {
                input: "[1, 2]",
                template: "{{x |> length}}",
                output: Output::Is("2"),
            },
            Example {
                input: "\"äöü\"",
                template: "{{x |> length}}",
                output: Output::Is("3"),
            },
            Example {
                input: "\"\"",
                template: "{{x |> length}}",
                output: Output::Is("\"\""),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: length,
    },
];

fn list(operand: &Value) -> Result<&[Value], Refusal> {
    operand.as_list().ok_or(Refusal::Operand("a list"))
}

/// Takes one item out of a list, without a copy.
fn item(operand: Cow<'_, Value>, index: usize) -> Option<Cow<'_, Value>> {
    match operand {
        Cow::Borrowed(list) => list.as_list()?.get(index).map(Cow::Borrowed),
        Cow::Owned(Value::List(mut items)) => {
            (index < items.len()).then(|| Cow::Owned(items.swap_remove(index)))
        }
        Cow::Owned(_) => None,
    }
}

fn item_or_nothing(operand: Cow<'_, Value>, index: usize) -> Cow<'_, Value> {
    item(operand, index).unwrap_or_else(|| Cow::Owned(Value::from("")))
}

fn head<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    _: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    list(&operand)?;
    Ok(item_or_nothing(operand, 0))
}

fn last<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    _: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let end = list(&operand)?.len();
    Ok(item_or_nothing(operand, end.saturating_sub(1)))
}

fn tail<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let rest = list(&operand)?.get(1..).unwrap_or_default();
    if let Cow::Borrowed(_) = operand {
        effects.charge(rest.iter().map(weight).sum())?;
        return Ok(Cow::Owned(Value::List(rest.to_vec())));
    }
    match operand.into_owned() {
        Value::List(mut items) => {
            items.drain(..items.len().min(1));
            Ok(Cow::Owned(Value::List(items)))
        }
        other => Ok(Cow::Owned(other)),
    }
}

fn min<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    _: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let index = extreme(list(&operand)?, Ordering::Less)?;
    Ok(item_or_nothing(operand, index))
}

fn max<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    _: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let index = extreme(list(&operand)?, Ordering::Greater)?;
    Ok(item_or_nothing(operand, index))
}

/// Returns where the first item is that no other one is beyond.
fn extreme(items: &[Value], beyond: Ordering) -> Result<usize, Refusal> {
    const UNORDERED: Refusal = Refusal::Value("an item is neither a number nor a text");
    let mut best = 0;
    for (index, item) in items.iter().enumerate() {
        let held = items.get(best).unwrap_or(item);
        if compare(item, held).ok_or(UNORDERED)? == beyond {
            best = index;
        }
    }
    Ok(best)
}

fn nth<'v>(
    operand: Cow<'v, Value>,
    arguments: Arguments<'v>,
    _: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    list(&operand)?;
    let index = arguments
        .first
        .as_deref()
        .and_then(count)
        .and_then(|n| n.checked_sub(1));
    index
        .and_then(|index| item(operand, index))
        .ok_or(Refusal::Value("the list has no such item"))
}

fn random<'v>(
    operand: Cow<'v, Value>,
    arguments: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    list(&operand)?;
    let wanted = arguments.first.as_deref().and_then(count).unwrap_or(0);
    let below = effects.random.ok_or(ErrorKind::NoRandom)?;
    let Value::List(mut items) = effects.own(operand)? else {
        return Err(Refusal::Operand("a list"));
    };
    // The first steps of a Fisher-Yates shuffle: each place gets one of what is left.
    let wanted = wanted.min(items.len());
    for place in 0..wanted {
        let left = items.len() - place;
        items.swap(place, place + below(left).min(left - 1));
    }
    items.truncate(wanted);
    Ok(Cow::Owned(Value::List(items)))
}

fn length<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    _: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let length = match &*operand {
        Value::List(items) => items.len(),
        Value::Text(text) => text.chars().count(),
        _ => return Err(Refusal::Operand("a list or a text")),
    };
    Ok(Cow::Owned(integer(length)))
}
