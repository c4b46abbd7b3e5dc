//! Mops, the expression language of API specs: JSON with tags, such as
//! `{{request.query_params |> get(_limit, 10) |> integer}}`.
//!
//! ```text
//!           spec is loaded                                        request comes in
//! text ──► parser ──► Template ──► partial ──► Template ─────────► eval ──► Value
//!                        (ast)        ▲        literal or promise    ▲
//!                                   Scope                         Context
//!                      variables, defaults, status codes     request, action, security
//! ```
//!
//! A **template** is a JSON value. In it, a string that is one tag has the tag's value with its
//! type; a string of text and tags is a text; `"\"{{n}}\""` is a text even of one tag; every other
//! string is itself. A **tag** holds a pipeline: a path into the context (or `$map`, `$list`, a
//! `'quoted text'`), then functions behind `|>`. Arguments that are bare words are texts.
//!
//! The language knows no names. The host says which roots hold templates, known at load
//! ([`Scope::templates`]) and evaluated in turn, and which hold data ([`Scope::later`],
//! [`Context::data`]), which is never evaluated, whatever it looks like.
//!
//! One AST serves both stages: [`partial()`] takes a [`Template`] and gives one, in which everything
//! known has become a literal; [`eval()`] does the rest. Wherever `partial` succeeds, both together
//! give what evaluation in one go would have given, errors included.
//!
//! ```
//! use wampgate::diagnostic::SourceId;
//! use wampgate::mops::{Context, Scope, Template, TemplateMap, eval, partial};
//! use wampgate::value::{Map, Value};
//!
//! let parse = |text| Template::parse(text, SourceId::default()).expect("it is grammatical");
//! let variables = TemplateMap::from([("greeting".to_owned(), parse("Hello {{request.name}}"))]);
//! let scope = Scope::new().templates("variables", &variables).later("request");
//!
//! let promise = partial(&parse("{{variables.greeting |> uppercase}}"), &scope)?;
//!
//! let request = Value::Map(Map::from([("name".to_owned(), Value::from("you"))]));
//! let context = Context::new().data("request", &request);
//! assert_eq!(*eval(&promise, &context)?, Value::from("HELLO YOU"));
//! # Ok::<(), wampgate::mops::Error>(())
//! ```
//!
//! This module is pure: no clock, no environment, no randomness of its own (it is handed in), no
//! I/O. It never panics, and its work is bounded: nesting, chains of variables, the size of what is
//! made. Users read `docs/mops.md`; readers of the code go on with `mops/ast.rs`.

mod ast;
mod error;
mod eval;
pub mod functions;
mod navigate;
mod parser;
mod partial;
mod print;
mod scan;
mod scope;
mod trial;

pub use ast::{Call, KeyPath, Part, Pipeline, Primary, Segment, Stage, Template, TemplateMap};
pub use error::{Error, ErrorKind};
pub use eval::{Context, eval};
pub use navigate::Aliases;
pub use partial::partial;
pub(crate) use print::render;
pub use scope::Scope;
pub use trial::{Explanation, Roots, Trial};

/// Deepest nesting of tags and lists inside one text, and of lists and maps around it.
pub const MAX_NESTING: usize = 64;

/// Longest chain of variables that refer to each other.
pub const MAX_CHAIN: usize = 64;

/// Deepest nesting of all that, once variables are put in.
pub const MAX_DEPTH: usize = 192;

/// Most parts (texts, tags, functions, items) of a template, once variables are put in.
pub const MAX_PARTS: usize = 100_000;

/// Longest text that an evaluation makes unless its host says otherwise: 8 MiB.
pub const DEFAULT_TEXT_LIMIT: usize = 8 << 20;
