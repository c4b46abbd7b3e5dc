//! Texts.

use std::borrow::Cow;

use super::{ArgumentKind, Arguments, Effects, Example, Function, Output, Refusal, required};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "string",
        operand: "any",
        arguments: &[],
        description: "its text, as in an interpolation",
        examples: &[
            Example {
                input: "13.99",
                template: "{{x |> string}}",
                output: Output::Is("\"13.99\""),
            },
            Example {
                input: "42.0",
                template: "{{x |> string}}",
                output: Output::Is("\"42.0\""),
            },
            Example {
                input: "null",
                template: "{{x |> string}}",
                output: Output::Is("\"\""),
            },
            Example {
                input: r#"{"a": [1, true]}"#,
                template: "{{x |> string}}",
                output: Output::Is(r#""{\"a\":[1,true]}""#),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: string,
    },
    Function {
        name: "lowercase",
        operand: "text",
        arguments: &[],
        description: "the text in lower case",
        examples: &[Example {
            input: "\"ÄBC\"",
            template: "{{x |> lowercase}}",
            output: Output::Is("\"äbc\""),
        }],
        is_pure: true,
        takes_placeholder: false,
        run: lowercase,
    },
    Function {
        name: "uppercase",
        operand: "text",
        arguments: &[],
        description: "the text in upper case",
        examples: &[Example {
            input: "\"straße\"",
            template: "{{x |> uppercase}}",
            output: Output::Is("\"STRASSE\""),
        }],
        is_pure: true,
        takes_placeholder: false,
        run: uppercase,
    },
    Function {
        name: "trim",
        operand: "text",
        arguments: &[],
        description: "the text without the white space around it",
        examples: &[Example {
            input: "\" a b \"",
            template: "{{x |> trim}}",
            output: Output::Is("\"a b\""),
        }],
        is_pure: true,
        takes_placeholder: false,
        run: trim,
    },
    Function {
        name: "join",
        operand: "list",
        arguments: &[required("sep", ArgumentKind::Text)],
        description: "the items' texts in one, with `sep` between them",
        examples: &[
            Example {
                input: r#"["a", "b", 3]"#,
                template: "{{x |> join(', ')}}",
                output: Output::Is("\"a, b, 3\""),
            },
            Example {
                input: r#"["a", "b"]"#,
                template: "{{x |> join('')}}",
                output: Output::Is("\"ab\""),
            },
            Example {
                input: "[]",
                template: "{{x |> join(-)}}",
                output: Output::Is("\"\""),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: join,
    },
    Function {
        name: "split",
        operand: "text",
        arguments: &[required("sep", ArgumentKind::Separator)],
        description: "the list of the texts between each `sep`",
        examples: &[
            Example {
                input: "\"a,b,,c\"",
                template: "{{x |> split(',')}}",
                output: Output::Is(r#"["a", "b", "", "c"]"#),
            },
            Example {
                input: "\"abc\"",
                template: "{{x |> split('')}}",
                output: Output::Fails(
                    "`split` expects a text that is not empty as `sep`, found empty text",
                ),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: split,
    },
];

/// Returns the text that a function works on.
pub(super) fn text(operand: &Value) -> Result<&str, Refusal> {
    operand.as_text().ok_or(Refusal::Operand("a text"))
}

fn string<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    if operand.as_text().is_some() {
        return Ok(operand);
    }
    Ok(Cow::Owned(Value::Text(effects.render(&operand)?)))
}

/// Some letters take more bytes in the other case, up to three times as many.
const CASE_GROWTH: usize = 3;

fn lowercase<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let text = text(&operand)?;
    effects.charge(text.len().saturating_mul(CASE_GROWTH))?;
    let text = text.to_lowercase();
    effects.charge_text(text.len())?;
    Ok(Cow::Owned(Value::Text(text)))
}

fn uppercase<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let text = text(&operand)?;
    effects.charge(text.len().saturating_mul(CASE_GROWTH))?;
    let text = text.to_uppercase();
    effects.charge_text(text.len())?;
    Ok(Cow::Owned(Value::Text(text)))
}

fn trim<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let text = text(&operand)?;
    let trimmed = text.trim();
    if trimmed.len() == text.len() {
        return Ok(operand);
    }
    effects.charge(trimmed.len())?;
    Ok(Cow::Owned(Value::from(trimmed)))
}

fn join<'v>(
    operand: Cow<'v, Value>,
    arguments: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let items = operand.as_list().ok_or(Refusal::Operand("a list"))?;
    let separator = arguments
        .first
        .as_deref()
        .and_then(Value::as_text)
        .unwrap_or_default();
    // Before the separators are written: a long list with a long one would be very long.
    effects.charge_text(
        separator
            .len()
            .saturating_mul(items.len().saturating_sub(1)),
    )?;
    let mut joined = String::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            joined.push_str(separator);
        }
        effects.render_into(&mut joined, item)?;
    }
    Ok(Cow::Owned(Value::Text(joined)))
}

fn split<'v>(
    operand: Cow<'v, Value>,
    arguments: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let text = text(&operand)?;
    let separator = arguments
        .first
        .as_deref()
        .and_then(Value::as_text)
        .unwrap_or_default();
    let mut items = Vec::new();
    for item in text.split(separator) {
        let item = Value::from(item);
        effects.charge(super::weight(&item))?;
        items.push(item);
    }
    Ok(Cow::Owned(Value::List(items)))
}
