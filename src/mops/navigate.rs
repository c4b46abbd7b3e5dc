//! What the two evaluators share: roots, other names of keys, steps along a path, the chain of
//! variables that are being evaluated.
//!
//! A path that leads into templates is followed lazily: a map or list is stepped into without
//! evaluating its other members, and a variable that is nothing but a path is another name of that
//! place. Any other tag is evaluated, and the path goes on in its value. `partial.rs` and `eval.rs`
//! must agree on this to the letter, or the law between them breaks.

use super::ast::{Call, KeyPath, Segment, Template, TemplateMap};
use super::error::{EMPTY_TEXT, Error, ErrorKind};
use super::{MAX_CHAIN, MAX_DEPTH};
use crate::diagnostic::{Span, nearest};
use crate::value::Value;

/// Other names of keys, from older specs: `action.result.arguments` for `action.result.args`.
///
/// Only what a path in a template says is renamed, never a key of data.
#[derive(Debug, Clone, Default)]
pub struct Aliases(Vec<Alias>);

#[derive(Debug, Clone)]
struct Alias {
    root: String,
    within: Vec<String>,
    key: String,
    means: Segment,
}

impl Aliases {
    /// Returns no aliases.
    pub const fn new() -> Self {
        Aliases(Vec::new())
    }

    /// Lets the last key of `path` (a root and at least one key, joined by dots) mean `key`.
    #[must_use]
    pub fn with(mut self, path: &str, key: &str) -> Self {
        let mut keys = path.split('.').map(str::to_owned);
        let root = keys.next().unwrap_or_default();
        let mut within: Vec<String> = keys.collect();
        if let Some(last) = within.pop() {
            self.0.push(Alias {
                root,
                within,
                key: last,
                means: Segment::new(key, Span::default()),
            });
        }
        self
    }

    /// Returns where in the path a key means another, and which.
    pub(super) fn find(&self, root: &str, segments: &[&Segment]) -> Option<(usize, &Segment)> {
        self.0.iter().find_map(|alias| {
            let mut segments = segments.iter();
            let matches = alias.root == root
                && alias
                    .within
                    .iter()
                    .chain([&alias.key])
                    .all(|key| segments.next().is_some_and(|segment| *segment.key == **key));
            matches.then_some((alias.within.len(), &alias.means))
        })
    }
}

/// Where a path has come to among templates.
#[derive(Debug, Clone, Copy)]
pub(super) enum Node<'a> {
    Root(&'a TemplateMap),
    Template(&'a Template),
}

impl<'a> Node<'a> {
    /// Tells nodes apart; the templates stay where they are as long as they are borrowed.
    pub(super) fn address(self) -> usize {
        match self {
            Node::Root(map) => std::ptr::from_ref(map).addr(),
            Node::Template(template) => std::ptr::from_ref(template).addr(),
        }
    }

    /// Steps into a map or list; `None` if it is neither.
    pub(super) fn step(self, segment: &Segment) -> Option<Option<Node<'a>>> {
        match self {
            Node::Root(map) => Some(map.get(&*segment.key).map(Node::Template)),
            Node::Template(Template::Map(entries)) => {
                let found = entries.iter().find(|(key, _)| **key == *segment.key);
                Some(found.map(|(_, value)| Node::Template(value)))
            }
            Node::Template(Template::List(items)) => Some(
                segment
                    .index
                    .and_then(|index| items.get(index))
                    .map(Node::Template),
            ),
            Node::Template(Template::Literal(_) | Template::Pipe(_) | Template::Text(_)) => None,
        }
    }

    /// Returns the key that is probably meant by one that is not there.
    pub(super) fn nearest(self, key: &str) -> Option<String> {
        match self {
            Node::Root(map) => nearest(key, map.keys().map(String::as_str)),
            Node::Template(Template::Map(entries)) => {
                nearest(key, entries.iter().map(|(key, _)| key.as_str()))
            }
            Node::Template(_) => None,
        }
        .map(str::to_owned)
    }
}

/// Steps along `segments` in a value; `Err` holds the number of steps that were possible and what
/// was reached.
pub(super) fn walk<'v, 's>(
    mut value: &'v Value,
    segments: impl Iterator<Item = &'s Segment>,
) -> Result<&'v Value, (usize, &'v Value)> {
    for (done, segment) in segments.enumerate() {
        value = step(value, segment).ok_or((done, value))?;
    }
    Ok(value)
}

fn step<'v>(value: &'v Value, segment: &Segment) -> Option<&'v Value> {
    match value {
        Value::Map(map) => map.get(&*segment.key),
        Value::List(items) => items.get(segment.index?),
        _ => None,
    }
}

/// Says that `segments[done]` is not in the value reached, of which only the type is told.
pub(super) fn missing(
    start: &str,
    segments: &[&Segment],
    done: usize,
    reached: &Value,
    root: Option<&str>,
) -> Error {
    let found = match reached {
        Value::Map(_) | Value::List(_) => None,
        other if other.is_empty_text() => Some(EMPTY_TEXT),
        other => Some(other.type_name()),
    };
    not_there(start, segments, done, found, None, root)
}

/// Says that `segments[done]` is not there; `start` is what they begin in.
pub(super) fn not_there(
    start: &str,
    segments: &[&Segment],
    done: usize,
    found: Option<&'static str>,
    nearest: Option<String>,
    root: Option<&str>,
) -> Error {
    let within = place(start, segments.iter().copied().take(done));
    let (key, span) = segments
        .get(done)
        .map_or((String::new(), Span::default()), |segment| {
            (segment.key.to_string(), segment.span)
        });
    let kind = ErrorKind::Missing {
        key,
        within: format!("`{within}`"),
        found,
        nearest,
    };
    Error::new(kind, span).rooted(root)
}

/// Writes a path.
pub(super) fn place<'s>(start: &str, segments: impl Iterator<Item = &'s Segment>) -> String {
    let mut place = start.to_owned();
    for segment in segments {
        place += &segment.to_string();
    }
    place
}

/// Says what a path goes on in.
pub(super) fn start_of_walk(last: Option<&Call>) -> String {
    match last {
        Some(call) => format!("... |> {}", call.written),
        None => "a variable's text".to_owned(),
    }
}

/// What is being evaluated, from the outermost variable to the innermost.
#[derive(Debug, Default)]
pub(super) struct Chain(Vec<Link>);

#[derive(Debug)]
struct Link {
    address: usize,
    /// Where the path goes on from there, when the place is another name for some other place.
    rest: Vec<String>,
    name: String,
}

impl Chain {
    /// Adds a variable. The caller takes it off with [`Chain::leave`], also after an error.
    pub(super) fn enter(
        &mut self,
        node: Node<'_>,
        path: &KeyPath,
        rest: &[&Segment],
    ) -> Result<(), Error> {
        let address = node.address();
        let rest: Vec<String> = rest.iter().map(|segment| segment.key.to_string()).collect();
        let name = path.to_string();
        let again = |link: &Link| link.address == address && link.rest == rest;
        if let Some(first) = self.0.iter().position(again) {
            let links = self.0.iter().skip(first).map(|link| link.name.clone());
            let chain = links.chain([name]).collect();
            return Err(Error::new(ErrorKind::Cycle { chain }, path.span));
        }
        if self.0.len() >= MAX_CHAIN
            && let Some(chain) = self.spiral()
        {
            return Err(Error::new(ErrorKind::Cycle { chain }, path.span));
        }
        if self.0.len() >= MAX_CHAIN {
            let kind = ErrorKind::ChainTooLong { limit: MAX_CHAIN };
            return Err(Error::new(kind, path.span));
        }
        self.0.push(Link {
            address,
            rest,
            name,
        });
        Ok(())
    }

    /// Returns one turn of a chain that comes back to the same variable with an ever longer path:
    /// it goes on for ever without a repetition.
    fn spiral(&self) -> Option<Vec<String>> {
        self.0.iter().enumerate().find_map(|(first, link)| {
            let mut later = self.0.iter().enumerate().skip(first + 1);
            let (last, _) = later.find(|(_, other)| other.address == link.address)?;
            let turn = self.0.iter().take(last + 1).skip(first);
            Some(turn.map(|link| link.name.clone()).collect())
        })
    }

    pub(super) fn leave(&mut self) {
        self.0.pop();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Says that evaluation recurses too deep.
pub(super) fn too_deep(span: Span) -> Error {
    Error::new(ErrorKind::TooDeep { limit: MAX_DEPTH }, span)
}
