//! The functions: what each is called, what it takes, and examples that are its tests.
//!
//! One file per family below. A function is added there, to its family's list, and nowhere else:
//! the parser, the guide's table and the tests read the registry. What holds for all of them (the
//! empty text passes through; arguments are checked) is done here, once.

// One signature for all, so that they stand in one table: some take and return their operand
// without a copy, others only look at it.
#[expect(
    clippy::needless_pass_by_value,
    reason = "all functions have one signature"
)]
mod list;
#[expect(
    clippy::needless_pass_by_value,
    reason = "all functions have one signature"
)]
mod map;
#[expect(
    clippy::needless_pass_by_value,
    reason = "all functions have one signature"
)]
mod encoding;
mod number;
#[expect(
    clippy::needless_pass_by_value,
    reason = "all functions have one signature"
)]
mod text;

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use super::error::{EMPTY_TEXT, Error, ErrorKind};
use super::print::render;
use crate::diagnostic::Span;
use crate::value::Value;

/// A function of the language.
pub struct Function {
    /// The name, as in `base64:encode`.
    pub name: &'static str,
    /// What may be piped into it, in words.
    pub operand: &'static str,
    /// What it is called with, in order; the optional ones are at the end.
    pub arguments: &'static [Argument],
    /// What it gives, in one line.
    pub description: &'static str,
    /// Calls and what they give.
    pub examples: &'static [Example],
    /// Whether it gives the same every time; if not, it never runs at load.
    pub is_pure: bool,
    /// Whether one of two arguments may be `_`, which stands for the piped value.
    pub takes_placeholder: bool,
    pub(crate) run: Run,
}

/// An argument of a function.
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    /// Its name in usages and messages.
    pub name: &'static str,
    /// What it must be.
    pub kind: ArgumentKind,
    /// Whether it may be left out.
    pub is_optional: bool,
}

/// What an argument must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgumentKind {
    /// Any value.
    Any,
    /// A text, or an integer that is taken as text: a key of a map.
    Key,
    /// A text.
    Text,
    /// A text that is not empty: the empty one is everywhere, so nothing can be split at it.
    Separator,
    /// A number from zero, or a text of one.
    Count,
    /// A list of keys.
    Keys,
    /// A map.
    Map,
}

/// A call and what it gives.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// The value of `x`, as JSON.
    pub input: &'static str,
    /// The template.
    pub template: &'static str,
    /// What it gives.
    pub output: Output,
}

/// What an example gives.
#[derive(Debug, Clone, Copy)]
pub enum Output {
    /// This JSON value.
    Is(&'static str),
    /// An error with this message.
    Fails(&'static str),
}

/// The code of a function.
pub(crate) type Run =
    for<'v> fn(Cow<'v, Value>, Arguments<'v>, &Effects<'_>) -> Result<Cow<'v, Value>, Refusal>;

/// The arguments of one call, already of the kinds that the function declares.
#[derive(Debug, Default)]
pub(crate) struct Arguments<'v> {
    pub(crate) first: Option<Cow<'v, Value>>,
    pub(crate) second: Option<Cow<'v, Value>>,
    /// Whether the piped value is the second operand.
    pub(crate) piped_last: bool,
}

/// Why a function gives nothing.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The operand is of the wrong type.
    Operand(&'static str),
    /// The operand is of the right type, but this is wrong with it.
    Value(&'static str),
    /// The map has no such key.
    NoSuchKey,
    /// Anything that is not about the function.
    Other(ErrorKind),
}

/// What a function may use besides its operands: a bounded amount of memory, and randomness.
pub(crate) struct Effects<'a> {
    /// Longest text that may be made, in bytes.
    pub(crate) text_limit: usize,
    /// Bytes that may still be made.
    pub(crate) left: Cell<usize>,
    /// Gives a number below its argument, each as likely as any other.
    pub(crate) random: Option<&'a (dyn Fn(usize) -> usize + Sync)>,
}

impl Effects<'_> {
    /// An evaluation may make this many times the longest text.
    const TEXTS: usize = 4;
    /// What it may make at least, so that a small limit for texts does not stop small structures.
    const LEAST: usize = 1 << 20;

    pub(crate) fn new(text_limit: usize) -> Self {
        Effects {
            text_limit,
            left: Cell::new(text_limit.saturating_mul(Self::TEXTS).max(Self::LEAST)),
            random: None,
        }
    }

    /// Takes `bytes` from what may still be made.
    pub(crate) fn charge(&self, bytes: usize) -> Result<(), ErrorKind> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or(ErrorKind::TooMuch)?);
        Ok(())
    }

    /// Refuses a text of so many bytes, before it is made.
    pub(crate) fn charge_text(&self, bytes: usize) -> Result<(), ErrorKind> {
        if bytes > self.text_limit {
            let limit = self.text_limit;
            return Err(ErrorKind::TooLong { limit });
        }
        self.charge(bytes)
    }

    /// Makes a value our own; a copy counts.
    pub(crate) fn own(&self, value: Cow<'_, Value>) -> Result<Value, ErrorKind> {
        match value {
            Cow::Owned(value) => Ok(value),
            Cow::Borrowed(value) => {
                self.charge(weight(value))?;
                Ok(value.clone())
            }
        }
    }

    /// Renders a value into text within the limit.
    pub(crate) fn render(&self, value: &Value) -> Result<String, ErrorKind> {
        let mut text = String::new();
        self.render_into(&mut text, value)?;
        Ok(text)
    }

    /// Adds a rendered value to a text, which stays within the limit.
    pub(crate) fn render_into(&self, text: &mut String, value: &Value) -> Result<(), ErrorKind> {
        let before = text.len();
        render(text, value, self.text_limit)?;
        self.charge(text.len() - before)
    }
}

/// Returns about how many bytes a value takes.
pub(crate) fn weight(value: &Value) -> usize {
    let inside = match value {
        Value::Null | Value::Bool(_) | Value::I64(_) | Value::U64(_) | Value::F64(_) => 0,
        Value::Text(text) => text.len(),
        // Shared, never copied.
        Value::Bytes(_) => 0,
        Value::List(items) => items.iter().map(weight).sum(),
        Value::Map(map) => map
            .iter()
            .map(|(key, value)| key.len() + 32 + weight(value))
            .sum(),
    };
    32 + inside
}

impl From<ErrorKind> for Refusal {
    fn from(kind: ErrorKind) -> Self {
        Refusal::Other(kind)
    }
}

/// Returns all functions, family by family.
pub fn all() -> impl Iterator<Item = &'static Function> {
    [
        number::FUNCTIONS,
        text::FUNCTIONS,
        list::FUNCTIONS,
        map::FUNCTIONS,
        encoding::FUNCTIONS,
    ]
    .into_iter()
    .flatten()
}

/// Returns the function with this name.
pub fn find(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name == name)
}

impl Function {
    /// Returns how it is written: `get(key[, default])`. Alternatives are parted by backticks.
    pub fn usage(&self) -> String {
        if self.arguments.is_empty() {
            return self.name.to_owned();
        }
        let mut usage = format!("{}(", self.name);
        for (index, argument) in self.arguments.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let (open, close) = if argument.is_optional {
                ("[", "]")
            } else {
                ("", "")
            };
            usage += &format!("{open}{comma}{}{close}", argument.name);
        }
        usage.push(')');
        if self.takes_placeholder {
            let name = self.name;
            usage += &format!("`, `{name}(_, other)` or `{name}(other, _)");
        }
        usage
    }

    /// Returns whether it can be called with so many arguments, the placeholder not counted.
    pub(crate) fn accepts(&self, count: usize) -> bool {
        let required = self
            .arguments
            .iter()
            .filter(|argument| !argument.is_optional)
            .count();
        (required..=self.arguments.len()).contains(&count)
    }

    /// Whether it is the one function that takes care of what is missing.
    pub(crate) fn is_default(&self) -> bool {
        self.name == "default"
    }

    /// Checks one argument against its declared kind.
    pub(crate) fn check(&self, index: usize, value: &Value) -> Result<(), ErrorKind> {
        let Some(argument) = self.arguments.get(index) else {
            return Ok(());
        };
        let expected = match argument.kind {
            ArgumentKind::Any => return Ok(()),
            ArgumentKind::Key
                if matches!(value, Value::Text(_) | Value::I64(_) | Value::U64(_)) =>
            {
                return Ok(());
            }
            ArgumentKind::Key => "a key",
            ArgumentKind::Text if value.as_text().is_some() => return Ok(()),
            ArgumentKind::Text => "a text",
            ArgumentKind::Separator if value.as_text().is_some_and(|text| !text.is_empty()) => {
                return Ok(());
            }
            ArgumentKind::Separator => "a text that is not empty",
            ArgumentKind::Count if number::count(value).is_some() => return Ok(()),
            ArgumentKind::Count => "a number from zero",
            ArgumentKind::Keys => match value {
                Value::List(keys)
                    if keys.iter().all(|key| {
                        matches!(key, Value::Text(_) | Value::I64(_) | Value::U64(_))
                    }) =>
                {
                    return Ok(());
                }
                _ => "a list of keys",
            },
            ArgumentKind::Map if value.as_map().is_some() => return Ok(()),
            ArgumentKind::Map => "a map",
        };
        Err(ErrorKind::Argument {
            function: self.name,
            argument: argument.name,
            expected,
            found: if value.is_empty_text() {
                EMPTY_TEXT
            } else {
                value.type_name()
            },
        })
    }

    /// Runs the function; `root` says whose data the pipeline began with.
    pub(crate) fn apply<'v>(
        &self,
        operand: Cow<'v, Value>,
        arguments: Arguments<'v>,
        effects: &Effects<'_>,
        span: Span,
        root: Option<&str>,
    ) -> Result<Cow<'v, Value>, Error> {
        if operand.is_empty_text() && !self.is_default() {
            return Ok(operand);
        }
        let found = operand.type_name();
        let refuse = |kind| Error::new(kind, span).rooted(root);
        for (index, argument) in [&arguments.first, &arguments.second]
            .into_iter()
            .enumerate()
        {
            if let Some(value) = argument {
                self.check(index, value).map_err(refuse)?;
            }
        }
        (self.run)(operand, arguments, effects).map_err(|refusal| {
            let function = self.name;
            refuse(match refusal {
                Refusal::Operand(expected) => ErrorKind::Operand {
                    function,
                    expected,
                    found,
                },
                Refusal::Value(why) => ErrorKind::Refused { function, why },
                Refusal::NoSuchKey => ErrorKind::NoSuchKey { nearest: None },
                Refusal::Other(kind) => kind,
            })
        })
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Returns a key as text: an integer is written in decimal.
pub(crate) fn key_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Text(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// Declares an argument that has to be there.
const fn required(name: &'static str, kind: ArgumentKind) -> Argument {
    Argument {
        name,
        kind,
        is_optional: false,
    }
}

fn integer(length: usize) -> Value {
    Value::from(u64::try_from(length).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceId;
    use crate::mops::{Context, Template, eval};

    #[test]
    fn the_examples_give_what_they_say() {
        let first = |_: usize| 0;
        for function in all() {
            assert!(!function.examples.is_empty(), "{function:?} has no example");
            for example in function.examples {
                let input: Value = serde_json::from_str(example.input).unwrap();
                let template = Template::parse(example.template, SourceId(0)).unwrap();
                let context = Context::new().data("x", &input).random(&first);
                let found = eval(&template, &context);
                match (found, example.output) {
                    (Ok(value), Output::Is(json)) => {
                        let wanted: Value = serde_json::from_str(json).unwrap();
                        assert_eq!(*value, wanted, "{example:?}");
                        // Value's equality ignores the order of keys.
                        assert_eq!(value.to_string(), wanted.to_string(), "{example:?}");
                    }
                    (Err(error), Output::Fails(message)) => {
                        assert_eq!(error.message(), message, "{example:?}");
                        assert_eq!(error.primary_root(), Some("x"), "{example:?}");
                    }
                    (found, _) => panic!("{example:?} gave {found:?}"),
                }
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().map(|function| function.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
