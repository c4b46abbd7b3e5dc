//! What a template is made of: plain data, the same before and after partial evaluation.
//!
//! A [`Template`] without tags is a [`Template::Literal`]; every other one holds a tag somewhere.
//! After `partial`, what is not a literal is a promise: all its paths start at data of the request.
//! Read `parser.rs` for how it is made and `print.rs` for how it is written.

use std::sync::Arc;

use indexmap::IndexMap;

use super::functions::Function;
use crate::diagnostic::Span;
use crate::value::{Map, Value};

/// Templates by name, in the order in which they were written: variables, for instance.
pub type TemplateMap = IndexMap<String, Template>;

/// A JSON value that may hold tags.
///
/// Equality ignores where things were written.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    // INVARIANT: holds no tags; a `{{` in one of its texts is two braces. Shared, since one constant
    // (a table of status codes, say) may stand in thousands of promises.
    /// A value that is known.
    Literal(Arc<Value>),
    /// A list of which at least one item is not a literal; build it with [`Template::list`].
    List(Vec<Template>),
    /// A map of which at least one value is not a literal; build it with [`Template::map`].
    Map(Vec<(String, Template)>),
    /// One tag: gives a value with its type.
    Pipe(Box<Pipeline>),
    /// Text and tags: always gives a text. One tag alone is the form with escaped double quotes.
    Text(Vec<Part>),
}

/// A piece of a [`Template::Text`].
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// A tag, whose value is rendered into text.
    Tag(Pipeline),
}

/// The inside of a tag: a value that goes through functions.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Where the value comes from.
    pub primary: Primary,
    /// What it goes through.
    pub stages: Vec<Stage>,
    /// The whole tag with its braces.
    pub span: Span,
}

/// Where a pipeline begins.
#[derive(Debug, Clone, PartialEq)]
pub enum Primary {
    /// `$map`, `'text'`, or what partial evaluation has found out.
    Constant(Arc<Value>),
    /// A place in the context.
    Path(KeyPath),
    /// A variable whose value is a text, a list or a map that is not known yet. Only partial
    /// evaluation makes it: source has no way to write it.
    Template(Box<Template>),
}

/// One step of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// A function.
    Call(Call),
    /// A path that goes on in the value so far. Only partial evaluation makes it, where a path led
    /// into a variable whose value is not known yet.
    Walk(Vec<Segment>),
}

/// A function with its arguments.
#[derive(Debug, Clone)]
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// Its arguments, without the placeholder: literals, lists and tags.
    pub arguments: Vec<Template>,
    /// Whether the piped value is the second operand: `merge(other, _)`.
    pub piped_last: bool,
    /// The name and the arguments.
    pub span: Span,
    /// The same as it was written, for messages: constants that were put in later may be secrets.
    pub written: Arc<str>,
}

/// A place in the context: `request.body.items.0`.
#[derive(Debug, Clone)]
pub struct KeyPath {
    /// The first segment.
    pub root: Arc<str>,
    /// The others.
    pub segments: Vec<Segment>,
    /// The whole path as it was written; a path that partial evaluation joined keeps its first part's.
    pub span: Span,
}

/// One step of a path: a key of a map or an index into a list.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The key.
    pub key: Arc<str>,
    /// The key as a zero-based index, if it is one.
    pub index: Option<usize>,
    /// Where it was written.
    pub span: Span,
}

impl Template {
    /// Makes a literal.
    pub fn literal(value: impl Into<Value>) -> Self {
        Template::Literal(Arc::new(value.into()))
    }

    /// Makes a list: a literal where every item is one.
    pub fn list(items: Vec<Template>) -> Self {
        if items.iter().any(|item| item.as_literal().is_none()) {
            return Template::List(items);
        }
        Template::literal(
            items
                .into_iter()
                .filter_map(literal_value)
                .collect::<Vec<_>>(),
        )
    }

    /// Makes a map: a literal where every value is one. Of duplicate keys the last wins.
    pub fn map(entries: Vec<(String, Template)>) -> Self {
        if entries
            .iter()
            .any(|(_, value)| value.as_literal().is_none())
        {
            let unique: TemplateMap = entries.into_iter().collect();
            return Template::Map(unique.into_iter().collect());
        }
        let map: Map = entries
            .into_iter()
            .filter_map(|(key, value)| Some((key, literal_value(value)?)))
            .collect();
        Template::literal(map)
    }

    /// Returns the value, if nothing is left to evaluate.
    pub fn as_literal(&self) -> Option<&Value> {
        match self {
            Template::Literal(value) => Some(value),
            Template::List(_) | Template::Map(_) | Template::Pipe(_) | Template::Text(_) => None,
        }
    }

    /// Returns every path that is left: the data that the template needs.
    pub fn key_paths(&self) -> Vec<&KeyPath> {
        let mut paths = Vec::new();
        self.visit(&mut |path| paths.push(path));
        paths
    }

    /// Returns whether the template needs anything of `root`.
    pub fn uses(&self, root: &str) -> bool {
        self.key_paths().iter().any(|path| &*path.root == root)
    }

    /// Returns the first tag's place, where there is one: for findings about the whole.
    pub fn span(&self) -> Option<Span> {
        match self {
            Template::Literal(_) => None,
            Template::List(items) => items.iter().find_map(Template::span),
            Template::Map(entries) => entries.iter().find_map(|(_, value)| value.span()),
            Template::Pipe(pipeline) => Some(pipeline.span),
            Template::Text(parts) => parts.iter().find_map(|part| match part {
                Part::Text(_) => None,
                Part::Tag(pipeline) => Some(pipeline.span),
            }),
        }
    }

    fn visit<'t>(&'t self, found: &mut impl FnMut(&'t KeyPath)) {
        match self {
            Template::Literal(_) => {}
            Template::List(items) => items.iter().for_each(|item| item.visit(found)),
            Template::Map(entries) => entries.iter().for_each(|(_, value)| value.visit(found)),
            Template::Pipe(pipeline) => pipeline.visit(found),
            Template::Text(parts) => {
                for part in parts {
                    if let Part::Tag(pipeline) = part {
                        pipeline.visit(found);
                    }
                }
            }
        }
    }
}

/// Takes the value out of a literal, without a copy where nobody shares it.
fn literal_value(template: Template) -> Option<Value> {
    match template {
        Template::Literal(value) => Some(Arc::unwrap_or_clone(value)),
        Template::List(_) | Template::Map(_) | Template::Pipe(_) | Template::Text(_) => None,
    }
}

impl From<Value> for Template {
    fn from(value: Value) -> Self {
        Template::Literal(Arc::new(value))
    }
}

impl Pipeline {
    fn visit<'t>(&'t self, found: &mut impl FnMut(&'t KeyPath)) {
        match &self.primary {
            Primary::Constant(_) => {}
            Primary::Path(path) => found(path),
            Primary::Template(template) => template.visit(found),
        }
        for stage in &self.stages {
            if let Stage::Call(call) = stage {
                call.arguments.iter().for_each(|item| item.visit(found));
            }
        }
    }

    /// Returns the path, if the tag is nothing else: such a variable is another name of a place.
    pub(crate) fn as_path(&self) -> Option<&KeyPath> {
        match &self.primary {
            Primary::Path(path) if self.stages.is_empty() => Some(path),
            Primary::Path(_) | Primary::Constant(_) | Primary::Template(_) => None,
        }
    }
}

impl KeyPath {
    /// Returns whether the path leads to or into the place that these keys name, root first.
    pub fn starts_with(&self, keys: &[&str]) -> bool {
        match keys {
            [] => true,
            [root, keys @ ..] => {
                *self.root == **root
                    && keys.len() <= self.segments.len()
                    && keys
                        .iter()
                        .zip(&self.segments)
                        .all(|(key, segment)| **key == *segment.key)
            }
        }
    }
}

impl Segment {
    /// Makes a segment; digits without a leading zero are also an index.
    pub(crate) fn new(key: &str, span: Span) -> Self {
        let digits = key.bytes().all(|byte| byte.is_ascii_digit());
        let padded = key.len() > 1 && key.starts_with('0');
        Segment {
            index: if digits && !padded {
                key.parse().ok()
            } else {
                None
            },
            key: key.into(),
            span,
        }
    }

    /// Returns the same step as if it were written there.
    pub(crate) fn at(&self, span: Span) -> Self {
        Segment {
            span,
            ..self.clone()
        }
    }
}

impl PartialEq for Pipeline {
    fn eq(&self, other: &Self) -> bool {
        self.primary == other.primary && self.stages == other.stages
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.function.name == other.function.name
            && self.piped_last == other.piped_last
            && self.arguments == other.arguments
    }
}

impl PartialEq for KeyPath {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root && self.segments == other.segments
    }
}

impl PartialEq for Segment {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
