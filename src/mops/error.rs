//! What can be wrong with a template: a kind, a place, and a word of help.
//!
//! An error never holds the value it met, which may be a secret; it holds the value's type. Names
//! that a spec's author wrote (functions, paths, variables) are fine.

use std::fmt;
use std::sync::Arc;

use crate::diagnostic::{Code, Span, did_you_mean, nearest};

/// Why a template cannot be parsed or evaluated, and where.
///
/// Small (one pointer), since nearly every function of this module returns it.
#[derive(Clone, PartialEq)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone, PartialEq)]
struct Inner {
    kind: ErrorKind,
    span: Span,
    primary_root: Option<String>,
    expression: Option<Arc<str>>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The text does not follow the grammar.
    Syntax {
        /// What may stand there, in words.
        expected: Vec<&'static str>,
        /// What stands there.
        found: String,
    },
    /// A `{{` or a quote is never closed; the span is where it opens.
    Unclosed {
        /// What closes it.
        closed_by: &'static str,
    },
    /// Tags and lists, or JSON, are nested too deep.
    TooDeep {
        /// Levels allowed.
        limit: usize,
    },
    /// No function has this name.
    UnknownFunction {
        /// The name.
        name: String,
    },
    /// A function was given too few or too many arguments.
    ArgumentCount {
        /// The function.
        function: &'static str,
        /// How it is written.
        usage: String,
        /// How many arguments stand there.
        found: usize,
    },
    /// `_` stands where it means nothing, or `merge` lacks it.
    Placeholder,
    /// The first word of a path is no root of the context.
    UnknownRoot {
        /// The word.
        root: String,
        /// The root that is meant, probably.
        nearest: Option<String>,
    },
    /// A variable needs itself.
    Cycle {
        /// The variables from the first to its second mention.
        chain: Vec<String>,
    },
    /// Variables refer to variables in too long a chain.
    ChainTooLong {
        /// Variables allowed in a chain.
        limit: usize,
    },
    /// A path leads nowhere.
    Missing {
        /// The segment that is not there.
        key: String,
        /// What it was looked for in.
        within: String,
        /// The type of that, when it is neither a map nor a list.
        found: Option<&'static str>,
        /// The key that is meant, probably; only among what is known at load.
        nearest: Option<String>,
    },
    /// A function cannot work on what was piped into it.
    Operand {
        /// The function.
        function: &'static str,
        /// What it works on.
        expected: &'static str,
        /// The type it met.
        found: &'static str,
    },
    /// A function was given an argument it cannot use.
    Argument {
        /// The function.
        function: &'static str,
        /// The argument's name in the function's usage.
        argument: &'static str,
        /// What it must be.
        expected: &'static str,
        /// The type it met.
        found: &'static str,
    },
    /// The type is right but the value is not.
    Refused {
        /// The function.
        function: &'static str,
        /// Why, as in `the text is no number`.
        why: &'static str,
    },
    /// `get` did not find the key and has no default.
    NoSuchKey {
        /// The key that is meant, probably; only among what is known at load.
        nearest: Option<String>,
    },
    /// A value cannot be written as text.
    Unprintable,
    /// A text would be longer than allowed.
    TooLong {
        /// Bytes allowed.
        limit: usize,
    },
    /// An evaluation would make more than allowed.
    TooMuch,
    /// A template, with its variables put in, has too many parts.
    TooManyParts {
        /// Parts allowed.
        limit: usize,
    },
    /// The host handed in no source of randomness.
    NoRandom,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, span: Span) -> Self {
        Error(Box::new(Inner {
            kind,
            span,
            primary_root: None,
            expression: None,
        }))
    }

    /// Names what failed as its author wrote it.
    pub(crate) fn written(mut self, expression: &Arc<str>) -> Self {
        self.0.expression = Some(Arc::clone(expression));
        self
    }

    /// Names the key that is meant, where the map was known at load.
    pub(crate) fn with_nearest(mut self, name: Option<&str>) -> Self {
        if let ErrorKind::NoSuchKey { nearest } = &mut self.0.kind {
            *nearest = name.map(str::to_owned);
        }
        self
    }

    /// Names the root whose value the failing pipeline began with, unless an inner one did before.
    pub(crate) fn rooted(mut self, root: Option<&str>) -> Self {
        self.0.primary_root = root.map(str::to_owned);
        self
    }

    /// Returns what is wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Returns where: the part of the text at fault.
    pub fn span(&self) -> Span {
        self.0.span
    }

    /// Returns the first segment of the failing pipeline's primary path after variables are
    /// resolved, when that is data known only at evaluation (`request`, say).
    ///
    /// It is `None` when the pipeline begins with a constant, a text or a structure.
    pub fn primary_root(&self) -> Option<&str> {
        self.0.primary_root.as_deref()
    }

    /// Returns the function call at fault as its author wrote it, if it is one.
    pub fn expression(&self) -> Option<&str> {
        self.0.expression.as_deref()
    }

    /// Returns the code under which the finding is documented.
    pub fn code(&self) -> Code {
        match self.kind() {
            ErrorKind::Syntax { .. } => Code::ExpressionSyntax,
            ErrorKind::Unclosed { .. } => Code::Unclosed,
            ErrorKind::TooDeep { .. } | ErrorKind::ChainTooLong { .. } => Code::ExpressionTooDeep,
            ErrorKind::UnknownFunction { .. } => Code::UnknownFunction,
            ErrorKind::ArgumentCount { .. }
            | ErrorKind::Placeholder
            | ErrorKind::Argument { .. } => Code::BadArguments,
            ErrorKind::UnknownRoot { .. } => Code::UnknownRoot,
            ErrorKind::Cycle { .. } => Code::VariableCycle,
            ErrorKind::Missing { .. } | ErrorKind::NoSuchKey { .. } => Code::MissingName,
            ErrorKind::Operand { .. } => Code::OperandType,
            ErrorKind::Refused { .. } | ErrorKind::Unprintable | ErrorKind::NoRandom => {
                Code::OperandValue
            }
            ErrorKind::TooLong { .. } | ErrorKind::TooMuch | ErrorKind::TooManyParts { .. } => {
                Code::TooLarge
            }
        }
    }

    /// Returns the finding in one line, without its place.
    pub fn message(&self) -> String {
        match self.kind() {
            ErrorKind::Syntax { expected, found } => {
                format!("expected {}, found {found}", one_of(expected))
            }
            ErrorKind::Unclosed { closed_by } if *closed_by == "'" => {
                "a quote is never closed".to_owned()
            }
            ErrorKind::Unclosed { closed_by } => format!("no `{closed_by}` closes this tag"),
            ErrorKind::TooDeep { limit } => format!("nested deeper than {limit} levels"),
            ErrorKind::UnknownFunction { name } => format!("unknown function `{name}`"),
            ErrorKind::ArgumentCount {
                function, found, ..
            } => match found {
                0 => format!("`{function}` needs an argument"),
                1 => format!("`{function}` does not take 1 argument"),
                _ => format!("`{function}` does not take {found} arguments"),
            },
            ErrorKind::Placeholder => "`_` means the piped map, in `merge` only".to_owned(),
            ErrorKind::UnknownRoot { root, .. } => format!("unknown name `{root}`"),
            ErrorKind::Cycle { chain } => {
                let chain: Vec<_> = chain.iter().map(|name| format!("`{name}`")).collect();
                format!("a value needs itself: {}", chain.join(" -> "))
            }
            ErrorKind::ChainTooLong { limit } => {
                format!("more than {limit} variables refer to each other in a chain")
            }
            ErrorKind::Missing {
                key, within, found, ..
            } => match found {
                None => format!("no `{key}` in {within}"),
                Some(found) => format!("no `{key}` in {within}, which is {}", one(found)),
            },
            ErrorKind::Operand {
                function,
                expected,
                found,
            } => format!("`{function}` expects {expected}, found {found}"),
            ErrorKind::Argument {
                function,
                argument,
                expected,
                found,
            } => format!("`{function}` expects {expected} as `{argument}`, found {found}"),
            ErrorKind::Refused { function, why } => format!("`{function}` failed: {why}"),
            ErrorKind::NoSuchKey { .. } => {
                format!("`{}` found no such key", self.expression().unwrap_or("get"))
            }
            ErrorKind::Unprintable => "an infinity or NaN cannot be written as JSON".to_owned(),
            ErrorKind::TooLong { limit } => format!("the text is longer than {limit} bytes"),
            ErrorKind::TooMuch => "the result is too large".to_owned(),
            ErrorKind::TooManyParts { limit } => {
                format!("with its variables put in, this has more than {limit} parts")
            }
            ErrorKind::NoRandom => "there is no source of randomness here".to_owned(),
        }
    }

    /// Returns what to do about it, where that can be told: it stands beside the caret.
    pub fn hint(&self) -> Option<String> {
        match self.kind() {
            ErrorKind::UnknownFunction { name } => {
                let known = super::functions::all().map(|function| function.name);
                nearest(name, known).map(did_you_mean)
            }
            ErrorKind::UnknownRoot { nearest, .. } => nearest.as_deref().map(did_you_mean),
            ErrorKind::Missing {
                nearest: Some(near),
                ..
            }
            | ErrorKind::NoSuchKey {
                nearest: Some(near),
                ..
            } => Some(did_you_mean(near)),
            ErrorKind::Missing {
                found: Some(EMPTY_TEXT),
                ..
            } => Some("an absent body is the empty text: use `default` or `get`".to_owned()),
            ErrorKind::ArgumentCount { usage, .. } => Some(format!("write `{usage}`")),
            ErrorKind::Placeholder => {
                Some("write `merge(other)` or `merge(other, _)`; the text is `'_'`".to_owned())
            }
            ErrorKind::Unclosed { closed_by } if *closed_by == "}}" => {
                Some("a literal `{{` is written `{{ '{{' }}`".to_owned())
            }
            ErrorKind::NoSuchKey { nearest: None, .. } => {
                Some("`get(key, default)` tolerates an absent key".to_owned())
            }
            ErrorKind::Syntax { found, .. } => match found.as_str() {
                "`\"`" => Some("inside a tag, quotes are `'`".to_owned()),
                "`|`" => Some("a function stands behind `|>`".to_owned()),
                "`{`" => Some("a literal `{` before a tag is written `{{'{'}}`".to_owned()),
                _ => None,
            },
            ErrorKind::Unclosed { .. }
            | ErrorKind::TooDeep { .. }
            | ErrorKind::Cycle { .. }
            | ErrorKind::ChainTooLong { .. }
            | ErrorKind::Missing { .. }
            | ErrorKind::Operand { .. }
            | ErrorKind::Argument { .. }
            | ErrorKind::Refused { .. }
            | ErrorKind::Unprintable
            | ErrorKind::TooLong { .. }
            | ErrorKind::TooMuch
            | ErrorKind::TooManyParts { .. }
            | ErrorKind::NoRandom => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

/// What a type is called that means absence: the body of a request without one, for instance.
pub(super) const EMPTY_TEXT: &str = "empty text";

/// Puts an article before the name of a type.
fn one(type_name: &str) -> String {
    match type_name {
        "null" | "binary" => type_name.to_owned(),
        EMPTY_TEXT => format!("the {type_name}"),
        name if name.starts_with('i') => format!("an {name}"),
        name => format!("a {name}"),
    }
}

fn one_of(names: &[&str]) -> String {
    match names {
        [] => "something else".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
