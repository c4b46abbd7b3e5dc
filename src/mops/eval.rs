//! A template and the whole context to a value: what happens per request.
//!
//! Nothing is parsed and no name is looked up here but keys of data. Values are borrowed as long as
//! possible: `{{request.body}}` copies nothing.
//!
//! The context may also hold templates, so that any template can be evaluated in one go. Requests do
//! not need that (partial evaluation has put variables in); the law that both ways agree does.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use super::ast::{Call, KeyPath, Part, Pipeline, Primary, Segment, Stage, Template, TemplateMap};
use super::error::{Error, ErrorKind};
use super::functions::{Arguments, Effects};
use super::navigate::{
    Aliases, Chain, Node, missing, not_there, place, start_of_walk, too_deep, walk,
};
use super::partial::last_span;
use super::{DEFAULT_TEXT_LIMIT, MAX_DEPTH};
use crate::value::{Map, Value};

/// Everything that a template may refer to when it is evaluated.
#[derive(Clone)]
pub struct Context<'v> {
    roots: Vec<(&'v str, Root<'v>)>,
    aliases: Option<&'v Aliases>,
    text_limit: usize,
    random: Option<&'v (dyn Fn(usize) -> usize + Sync)>,
}

#[derive(Debug, Clone, Copy)]
enum Root<'v> {
    Data(&'v Value),
    Templates(Node<'v>),
}

impl<'v> Context<'v> {
    /// Returns an empty context: no roots, no randomness, texts up to [`DEFAULT_TEXT_LIMIT`].
    pub fn new() -> Self {
        Context {
            roots: Vec::new(),
            aliases: None,
            text_limit: DEFAULT_TEXT_LIMIT,
            random: None,
        }
    }

    /// Adds a root that is data: it is never evaluated, whatever it looks like.
    #[must_use]
    pub fn data(mut self, root: &'v str, value: &'v Value) -> Self {
        self.roots.push((root, Root::Data(value)));
        self
    }

    /// Adds a root whose values are templates. A promise needs none.
    #[must_use]
    pub fn templates(mut self, root: &'v str, templates: &'v TemplateMap) -> Self {
        self.roots
            .push((root, Root::Templates(Node::Root(templates))));
        self
    }

    /// Sets other names of keys; a promise has been rid of them at load.
    #[must_use]
    pub fn aliases(mut self, aliases: &'v Aliases) -> Self {
        self.aliases = Some(aliases);
        self
    }

    /// Sets the longest text that may be made, in bytes; a whole evaluation may make four times as
    /// much.
    #[must_use]
    pub fn text_limit(mut self, bytes: usize) -> Self {
        self.text_limit = bytes;
        self
    }

    /// Sets the source of randomness: a number below its argument, each as likely as any other.
    #[must_use]
    pub fn random(mut self, below: &'v (dyn Fn(usize) -> usize + Sync)) -> Self {
        self.random = Some(below);
        self
    }
}

impl Default for Context<'_> {
    fn default() -> Self {
        Context::new()
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: the values may be secrets.
        f.debug_list()
            .entries(self.roots.iter().map(|(root, _)| root))
            .finish()
    }
}

/// Evaluates a template against a whole context.
///
/// # Errors
///
/// A path that leads nowhere, a function that cannot work on what it is given, a limit. Of several
/// the first, from left to right.
pub fn eval<'v>(template: &'v Template, context: &Context<'v>) -> Result<Cow<'v, Value>, Error> {
    let mut effects = Effects::new(context.text_limit);
    effects.random = context.random;
    let run = Run {
        context,
        effects,
        chain: RefCell::default(),
        depth: Cell::new(0),
    };
    run.template(template)
}

/// One evaluation.
struct Run<'c, 'v> {
    context: &'c Context<'v>,
    effects: Effects<'c>,
    chain: RefCell<Chain>,
    depth: Cell<usize>,
}

/// What a pipeline has come to.
struct Flow<'v> {
    state: State<'v>,
    /// The root of the data that it began with.
    root: Option<&'v str>,
}

enum State<'v> {
    Value(Cow<'v, Value>),
    /// A path led nowhere; only `default` goes on from here.
    Missing(Error),
}

impl<'v> Flow<'v> {
    fn value(value: Cow<'v, Value>, root: Option<&'v str>) -> Self {
        let state = State::Value(value);
        Flow { state, root }
    }

    fn missing(error: Error, root: Option<&'v str>) -> Self {
        let state = State::Missing(error);
        Flow { state, root }
    }

    fn finish(self) -> Result<Cow<'v, Value>, Error> {
        match self.state {
            State::Value(value) => Ok(value),
            State::Missing(error) => Err(error),
        }
    }
}

impl<'v> Run<'_, 'v> {
    fn template(&self, template: &'v Template) -> Result<Cow<'v, Value>, Error> {
        if let Template::Literal(value) = template {
            return Ok(Cow::Borrowed(value));
        }
        let depth = self.depth.get() + 1;
        if depth > MAX_DEPTH {
            return Err(too_deep(template.span().unwrap_or_default()));
        }
        self.depth.set(depth);
        let value = match template {
            Template::Literal(value) => Ok(Cow::Borrowed(&**value)),
            Template::List(items) => self.list(items),
            Template::Map(entries) => self.map(entries.iter().map(|(key, value)| (key, value))),
            Template::Pipe(pipeline) => self.pipeline(pipeline).and_then(Flow::finish),
            Template::Text(parts) => self.text(parts),
        };
        self.depth.set(depth - 1);
        value
    }

    fn list(&self, items: &'v [Template]) -> Result<Cow<'v, Value>, Error> {
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            list.push(self.owned(item)?);
        }
        Ok(Cow::Owned(Value::List(list)))
    }

    fn map(
        &self,
        entries: impl Iterator<Item = (&'v String, &'v Template)>,
    ) -> Result<Cow<'v, Value>, Error> {
        let mut map = Map::with_capacity(entries.size_hint().0);
        for (key, value) in entries {
            map.insert(key.clone(), self.owned(value)?);
        }
        Ok(Cow::Owned(Value::Map(map)))
    }

    fn owned(&self, template: &'v Template) -> Result<Value, Error> {
        let value = self.template(template)?;
        self.effects
            .own(value)
            .map_err(|kind| Error::new(kind, template.span().unwrap_or_default()))
    }

    fn text(&self, parts: &'v [Part]) -> Result<Cow<'v, Value>, Error> {
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Text(more) => {
                    let limit = self.effects.text_limit;
                    if more.len() > limit.saturating_sub(text.len()) {
                        let span = last_span(parts).unwrap_or_default();
                        return Err(Error::new(ErrorKind::TooLong { limit }, span));
                    }
                    text.push_str(more);
                }
                Part::Tag(pipeline) => {
                    let flow = self.pipeline(pipeline)?;
                    let root = flow.root;
                    let value = flow.finish()?;
                    self.effects
                        .render_into(&mut text, &value)
                        .map_err(|kind| Error::new(kind, pipeline.span).rooted(root))?;
                }
            }
        }
        Ok(Cow::Owned(Value::Text(text)))
    }

    fn pipeline(&self, pipeline: &'v Pipeline) -> Result<Flow<'v>, Error> {
        let mut flow = match &pipeline.primary {
            Primary::Constant(value) => Flow::value(Cow::Borrowed(value), None),
            Primary::Path(path) => self.path(path, &[])?,
            Primary::Template(template) => Flow::value(self.template(template)?, None),
        };
        let mut last: Option<&Call> = None;
        for stage in &pipeline.stages {
            flow = match stage {
                Stage::Walk(segments) => {
                    let segments: Vec<_> = segments.iter().collect();
                    self.go_on(flow, || start_of_walk(last), &segments)?
                }
                Stage::Call(call) => {
                    last = Some(call);
                    self.call(flow, call)?
                }
            };
        }
        Ok(flow)
    }

    fn call(&self, flow: Flow<'v>, call: &'v Call) -> Result<Flow<'v>, Error> {
        let Flow { state, root } = flow;
        let operand = match state {
            State::Value(operand) => operand,
            State::Missing(_) if call.function.is_default() => Cow::Owned(Value::Null),
            State::Missing(error) => return Err(error),
        };
        let mut arguments = Arguments {
            piped_last: call.piped_last,
            ..Arguments::default()
        };
        for (index, argument) in call.arguments.iter().enumerate() {
            let value = Some(self.template(argument)?);
            if index == 0 {
                arguments.first = value;
            } else {
                arguments.second = value;
            }
        }
        let value = call
            .function
            .apply(operand, arguments, &self.effects, call.span, root)
            .map_err(|error| error.written(&call.written))?;
        Ok(Flow::value(value, root))
    }

    /// Goes on along a path in the value so far.
    fn go_on(
        &self,
        flow: Flow<'v>,
        start: impl Fn() -> String,
        segments: &[&Segment],
    ) -> Result<Flow<'v>, Error> {
        if segments.is_empty() {
            return Ok(flow);
        }
        let Flow { state, root } = flow;
        let gone = |error: (usize, &Value)| {
            Flow::missing(missing(&start(), segments, error.0, error.1, root), root)
        };
        Ok(match state {
            State::Missing(error) => Flow::missing(error, root),
            State::Value(Cow::Borrowed(value)) => match walk(value, segments.iter().copied()) {
                Ok(value) => Flow::value(Cow::Borrowed(value), root),
                Err(error) => gone(error),
            },
            State::Value(Cow::Owned(value)) => match walk(&value, segments.iter().copied()) {
                Ok(value) => {
                    let owned = self.effects.own(Cow::Borrowed(value));
                    let span = segments
                        .first()
                        .map(|segment| segment.span)
                        .unwrap_or_default();
                    Flow::value(
                        Cow::Owned(owned.map_err(|kind| Error::new(kind, span))?),
                        root,
                    )
                }
                Err(error) => gone(error),
            },
        })
    }

    /// Follows a path, and on along `more`.
    fn path(&self, path: &'v KeyPath, more: &[&'v Segment]) -> Result<Flow<'v>, Error> {
        let found = self
            .context
            .roots
            .iter()
            .rev()
            .find(|(root, _)| **root == *path.root);
        match found.map(|(_, root)| *root) {
            Some(Root::Data(value)) => {
                if more.is_empty()
                    && self.context.aliases.is_none()
                    && let Ok(value) = walk(value, path.segments.iter())
                {
                    return Ok(Flow::value(Cow::Borrowed(value), Some(&path.root)));
                }
                Ok(self.data(value, path, more))
            }
            Some(Root::Templates(node)) => {
                let segments: Vec<_> = path.segments.iter().chain(more.iter().copied()).collect();
                self.node(node, path, &segments)
            }
            None => {
                let kind = ErrorKind::Missing {
                    key: path.root.to_string(),
                    within: "this context".to_owned(),
                    found: None,
                    nearest: None,
                };
                let root = Some(&*path.root);
                Ok(Flow::missing(
                    Error::new(kind, path.span).rooted(root),
                    root,
                ))
            }
        }
    }

    /// The slow way along a path in data: with other names of keys, or to an error.
    fn data(&self, value: &'v Value, path: &'v KeyPath, more: &[&'v Segment]) -> Flow<'v> {
        let mut segments: Vec<&Segment> =
            path.segments.iter().chain(more.iter().copied()).collect();
        let renamed;
        if let Some(aliases) = self.context.aliases
            && let Some((index, means)) = aliases.find(&path.root, &segments)
            && let Some(segment) = segments.get_mut(index)
        {
            renamed = means.at(segment.span);
            *segment = &renamed;
        }
        let root = Some(&*path.root);
        match walk(value, segments.iter().copied()) {
            Ok(value) => Flow::value(Cow::Borrowed(value), root),
            Err((done, reached)) => {
                Flow::missing(missing(&path.root, &segments, done, reached, root), root)
            }
        }
    }

    /// Follows a path among templates.
    fn node(&self, node: Node<'v>, path: &KeyPath, all: &[&'v Segment]) -> Result<Flow<'v>, Error> {
        let mut node = node;
        let mut done = 0;
        while let Some(segment) = all.get(done) {
            match node.step(segment) {
                Some(Some(next)) => node = next,
                Some(None) => {
                    let near = node.nearest(&segment.key);
                    let error = not_there(&path.root, all, done, None, near, None);
                    return Ok(Flow::missing(error, None));
                }
                None => break,
            }
            done += 1;
        }
        let rest = all.get(done..).unwrap_or_default();
        if let Node::Template(Template::Literal(value)) = node {
            return Ok(match walk(value, rest.iter().copied()) {
                Ok(value) => Flow::value(Cow::Borrowed(value), None),
                Err((more, reached)) => {
                    let error = missing(&path.root, all, done + more, reached, None);
                    Flow::missing(error, None)
                }
            });
        }
        let depth = self.depth.get() + 1;
        if depth > MAX_DEPTH {
            return Err(too_deep(path.span));
        }
        self.chain.borrow_mut().enter(node, path, rest)?;
        self.depth.set(depth);
        let flow = self.inside(node, path, all, done);
        self.depth.set(depth - 1);
        self.chain.borrow_mut().leave();
        flow
    }

    /// Evaluates a template that a path has led to, and goes on along the rest of the path.
    fn inside(
        &self,
        node: Node<'v>,
        path: &KeyPath,
        all: &[&'v Segment],
        done: usize,
    ) -> Result<Flow<'v>, Error> {
        let rest = all.get(done..).unwrap_or_default();
        let start = || place(&path.root, all.iter().copied().take(done));
        match node {
            Node::Root(templates) => Ok(Flow::value(self.map(templates.iter())?, None)),
            Node::Template(Template::Pipe(pipeline)) => match pipeline.as_path() {
                Some(inner) => self.path(inner, rest),
                None => {
                    let flow = self.pipeline(pipeline)?;
                    self.go_on(flow, start, rest)
                }
            },
            Node::Template(template) => {
                let flow = Flow::value(self.template(template)?, None);
                self.go_on(flow, start, rest)
            }
        }
    }
}
