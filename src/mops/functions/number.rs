//! Numbers: conversions to and from them, and what is done with them.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::{Arguments, Effects, Example, Function, Output, Refusal};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "integer",
        operand: "integer, float, text",
        arguments: &[],
        description: "the integer; a fraction is cut off toward zero",
        examples: &[
            Example {
                input: "13.99",
                template: "{{x |> integer}}",
                output: Output::Is("13"),
            },
            Example {
                input: "-0.5",
                template: "{{x |> integer}}",
                output: Output::Is("0"),
            },
            Example {
                input: "\"42.9\"",
                template: "{{x |> integer}}",
                output: Output::Is("42"),
            },
            Example {
                input: "\"18446744073709551615\"",
                template: "{{x |> integer}}",
                output: Output::Is("18446744073709551615"),
            },
            Example {
                input: "\"inf\"",
                template: "{{x |> integer}}",
                output: Output::Fails("`integer` failed: the text is no number"),
            },
            Example {
                input: "1e30",
                template: "{{x |> integer}}",
                output: Output::Fails("`integer` failed: the number is beyond 64 bits"),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: integer,
    },
    Function {
        name: "float",
        operand: "integer, float, text",
        arguments: &[],
        description: "the float",
        examples: &[
            Example {
                input: "3",
                template: "{{x |> float}}",
                output: Output::Is("3.0"),
            },
            Example {
                input: "\"1.5e3\"",
                template: "{{x |> float}}",
                output: Output::Is("1500.0"),
            },
            Example {
                input: "\"NaN\"",
                template: "{{x |> float}}",
                output: Output::Fails("`float` failed: the text is no number"),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: float,
    },
    Function {
        name: "boolean",
        operand: "`0` `\"0\"` `false` `\"false\"`, `1` `\"1\"` `true` `\"true\"`",
        arguments: &[],
        description: "the boolean; anything else is an error",
        examples: &[
            Example {
                input: "\"1\"",
                template: "{{x |> boolean}}",
                output: Output::Is("true"),
            },
            Example {
                input: "0",
                template: "{{x |> boolean}}",
                output: Output::Is("false"),
            },
            Example {
                input: "\"yes\"",
                template: "{{x |> boolean}}",
                output: Output::Fails("`boolean` failed: it is neither 0, 1, true nor false"),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: boolean,
    },
    Function {
        name: "abs",
        operand: "number",
        arguments: &[],
        description: "its absolute value",
        examples: &[
            Example {
                input: "-3",
                template: "{{x |> abs}}",
                output: Output::Is("3"),
            },
            Example {
                input: "-1.5",
                template: "{{x |> abs}}",
                output: Output::Is("1.5"),
            },
            Example {
                input: "-9223372036854775808",
                template: "{{x |> abs}}",
                output: Output::Is("9223372036854775808"),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: abs,
    },
];

fn integer<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    _: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let number = match &*operand {
        Value::I64(_) | Value::U64(_) => return Ok(operand),
        Value::F64(number) => truncated(*number)?,
        Value::Text(text) => integer_of_text(text)?,
        _ => return Err(Refusal::Operand("a number or a text")),
    };
    Ok(Cow::Owned(number))
}

const BEYOND: Refusal = Refusal::Value("the number is beyond 64 bits");
const NO_NUMBER: Refusal = Refusal::Value("the text is no number");

/// Cuts the fraction off.
fn truncated(number: f64) -> Result<Value, Refusal> {
    /// 2^63 and 2^64: powers of two, so they are exact.
    const I64_END: f64 = 9_223_372_036_854_775_808.0;
    const U64_END: f64 = 18_446_744_073_709_551_616.0;
    if number.is_nan() {
        return Err(Refusal::Value("the float is not a number"));
    }
    let number = number.trunc();
    if (-I64_END..I64_END).contains(&number) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "its range was just checked"
        )]
        return Ok(Value::I64(number as i64));
    }
    if (I64_END..U64_END).contains(&number) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "its range was just checked"
        )]
        return Ok(Value::from(number as u64));
    }
    Err(BEYOND)
}

/// Reads decimal digits exactly, whatever stands after the point; everything else as a float.
fn integer_of_text(text: &str) -> Result<Value, Refusal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    let is_decimal =
        |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if is_decimal(digits) && is_decimal(fraction) {
        if let Ok(number) = whole.parse::<i64>() {
            return Ok(Value::I64(number));
        }
        return whole.parse::<u64>().map(Value::from).map_err(|_| BEYOND);
    }
    truncated(float_of_text(text)?)
}

/// Reads a finite float; the names of those that are not finite are no numbers.
fn float_of_text(text: &str) -> Result<f64, Refusal> {
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err(NO_NUMBER);
    }
    let number: f64 = text.parse().map_err(|_| NO_NUMBER)?;
    if number.is_finite() {
        Ok(number)
    } else {
        Err(Refusal::Value("the number is too large"))
    }
}

fn float<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    _: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a float of a large integer is the nearest one"
    )]
    let number = match &*operand {
        Value::F64(_) => return Ok(operand),
        Value::I64(number) => *number as f64,
        Value::U64(number) => *number as f64,
        Value::Text(text) => float_of_text(text)?,
        _ => return Err(Refusal::Operand("a number or a text")),
    };
    Ok(Cow::Owned(Value::F64(number)))
}

fn boolean<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    _: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let flag = match &*operand {
        Value::Bool(_) => return Ok(operand),
        Value::I64(0) => false,
        Value::I64(1) => true,
        Value::Text(text) if text == "0" || text == "false" => false,
        Value::Text(text) if text == "1" || text == "true" => true,
        Value::I64(_) | Value::U64(_) | Value::Text(_) => {
            return Err(Refusal::Value("it is neither 0, 1, true nor false"));
        }
        _ => return Err(Refusal::Operand("0, 1, true or false")),
    };
    Ok(Cow::Owned(Value::Bool(flag)))
}

fn abs<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    _: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    match &*operand {
        Value::I64(number) => Ok(Cow::Owned(Value::from(number.unsigned_abs()))),
        Value::U64(_) => Ok(operand),
        Value::F64(number) => Ok(Cow::Owned(Value::F64(number.abs()))),
        _ => Err(Refusal::Operand("a number")),
    }
}

/// Returns a number from zero, given as one or as a text of one.
pub(super) fn count(value: &Value) -> Option<usize> {
    match value {
        Value::I64(number) => usize::try_from(*number).ok(),
        // A list is never so long: the largest count there is does for it.
        Value::U64(number) => Some(usize::try_from(*number).unwrap_or(usize::MAX)),
        Value::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

/// Orders numbers by value, then texts; nothing else has an order.
pub(super) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        (Value::Text(_), right) => number(right).map(|_| Ordering::Greater),
        (left, Value::Text(_)) => number(left).map(|_| Ordering::Less),
        (left, right) => match (number(left)?, number(right)?) {
            (Number::Integer(left), Number::Integer(right)) => Some(left.cmp(&right)),
            (Number::Float(left), Number::Float(right)) => left.partial_cmp(&right),
            (Number::Integer(left), Number::Float(right)) => mixed(left, right),
            (Number::Float(left), Number::Integer(right)) => {
                mixed(right, left).map(Ordering::reverse)
            }
        },
    }
}

enum Number {
    Integer(i128),
    Float(f64),
}

fn number(value: &Value) -> Option<Number> {
    match value {
        Value::I64(number) => Some(Number::Integer(i128::from(*number))),
        Value::U64(number) => Some(Number::Integer(i128::from(*number))),
        Value::F64(number) if !number.is_nan() => Some(Number::Float(*number)),
        _ => None,
    }
}

/// Compares exactly: a float of a large integer would be another number.
fn mixed(integer: i128, float: f64) -> Option<Ordering> {
    // The cast saturates, which is right for infinities too.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fraction is compared afterwards"
    )]
    let whole = float.trunc() as i128;
    Some(integer.cmp(&whole).then_with(|| {
        0.0_f64
            .partial_cmp(&float.fract())
            .unwrap_or(Ordering::Equal)
    }))
}
