//! A template and what is known at load to a template: a literal, or a promise.
//!
//! Paths into templates (variables, defaults, status codes) are followed as `navigate.rs` says and what
//! they lead to is put in; pure functions of known values run; everything else stays, in the order
//! in which it will be evaluated. What is put in is remembered in the [`Scope`], so that a thousand
//! templates that refer to one variable evaluate it once and share its value.
//!
//! The law: wherever [`partial`] succeeds, evaluating its result gives what evaluating the template
//! against everything would have given, errors included. So nothing is simplified away that could
//! fail: `default` of a known value keeps arguments that are not known yet.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::ast::{Call, KeyPath, Part, Pipeline, Primary, Segment, Stage, Template};
use super::error::{Error, ErrorKind};
use super::functions::{Arguments, Effects, key_text, weight};
use super::navigate::{Chain, Node, missing, not_there, place, start_of_walk, too_deep, walk};
use super::parser::{push_text, text_or_literal};
use super::scope::{Memo, Root, Scope};
use super::{MAX_CHAIN, MAX_DEPTH, MAX_PARTS};
use crate::diagnostic::{Span, nearest};
use crate::value::{Map, Value};

/// Evaluates what can be evaluated at load.
///
/// Gives a [`Template::Literal`] when everything was known, else a promise that refers to data of
/// later roots only.
///
/// # Errors
///
/// Whatever is certain to fail: an unknown root, a variable that is missing or needs itself, a
/// function on known values that fails, a known argument of the wrong type, a limit.
pub fn partial(template: &Template, scope: &Scope<'_>) -> Result<Template, Error> {
    let run = Run {
        scope,
        effects: Effects::new(scope.text_limit),
        chain: RefCell::default(),
        depth: Cell::new(0),
        deepest: Cell::new(0),
        longest: Cell::new(0),
        parts: Cell::new(0),
    };
    run.template(template)
}

/// One partial evaluation.
struct Run<'s, 'a> {
    scope: &'s Scope<'a>,
    effects: Effects<'s>,
    chain: RefCell<Chain>,
    depth: Cell<usize>,
    /// The greatest depth since somebody began to watch.
    deepest: Cell<usize>,
    /// The longest chain since somebody began to watch.
    longest: Cell<usize>,
    /// Parts of templates seen or put in.
    parts: Cell<usize>,
}

/// What a pipeline has come to.
enum State {
    Known(Arc<Value>),
    /// A tag that is left.
    Left(Pipeline),
    /// A text, list or map that is left.
    Whole(Template),
    /// A path that leads nowhere; only `default` goes on from here.
    Missing(Error),
}

impl State {
    fn finish(self) -> Result<Template, Error> {
        match self {
            State::Known(value) => Ok(Template::Literal(value)),
            State::Left(pipeline) => Ok(Template::Pipe(Box::new(pipeline))),
            State::Whole(template) => Ok(template),
            State::Missing(error) => Err(error),
        }
    }

    fn from_template(template: Template) -> Self {
        match template {
            Template::Literal(value) => State::Known(value),
            Template::Pipe(pipeline) => State::Left(*pipeline),
            whole @ (Template::List(_) | Template::Map(_) | Template::Text(_)) => {
                State::Whole(whole)
            }
        }
    }

    /// Adds a step to what is left.
    fn then(self, stage: Stage, span: Span) -> Self {
        let begin = |primary| Pipeline {
            primary,
            stages: Vec::new(),
            span,
        };
        let mut pipeline = match self {
            State::Left(pipeline) => pipeline,
            State::Known(value) => begin(Primary::Constant(value)),
            State::Whole(template) => begin(Primary::Template(Box::new(template))),
            missing @ State::Missing(_) => return missing,
        };
        pipeline.stages.push(stage);
        State::Left(pipeline)
    }
}

impl<'a> Run<'_, 'a> {
    fn template(&self, template: &Template) -> Result<Template, Error> {
        let span = || template.span().unwrap_or_default();
        self.count(1, span)?;
        if let Template::Literal(value) = template {
            return Ok(Template::Literal(Arc::clone(value)));
        }
        self.deeper(span)?;
        let result = match template {
            Template::Literal(value) => Ok(Template::Literal(Arc::clone(value))),
            Template::List(items) => self.list(items),
            Template::Map(entries) => self.map(entries.iter().map(|(key, value)| (key, value))),
            Template::Pipe(pipeline) => self.pipeline(pipeline).and_then(State::finish),
            Template::Text(parts) => self.text(parts),
        };
        self.depth.set(self.depth.get() - 1);
        result
    }

    fn count(&self, parts: usize, span: impl Fn() -> Span) -> Result<(), Error> {
        let parts = self.parts.get().saturating_add(parts);
        self.parts.set(parts);
        if parts > MAX_PARTS {
            let kind = ErrorKind::TooManyParts { limit: MAX_PARTS };
            return Err(Error::new(kind, span()));
        }
        Ok(())
    }

    fn deeper(&self, span: impl Fn() -> Span) -> Result<(), Error> {
        let depth = self.depth.get() + 1;
        if depth > MAX_DEPTH {
            return Err(too_deep(span()));
        }
        self.depth.set(depth);
        self.deepest.set(self.deepest.get().max(depth));
        Ok(())
    }

    fn list(&self, items: &[Template]) -> Result<Template, Error> {
        let items = items
            .iter()
            .map(|item| self.template(item))
            .collect::<Result<Vec<_>, _>>()?;
        if items.iter().any(|item| item.as_literal().is_none()) {
            return Ok(Template::List(items));
        }
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            list.push(self.owned(item)?);
        }
        Ok(Template::literal(list))
    }

    fn map<'t>(
        &self,
        entries: impl Iterator<Item = (&'t String, &'t Template)>,
    ) -> Result<Template, Error> {
        let entries = entries
            .map(|(key, value)| Ok((key.clone(), self.template(value)?)))
            .collect::<Result<Vec<_>, _>>()?;
        if entries
            .iter()
            .any(|(_, value)| value.as_literal().is_none())
        {
            return Ok(Template::Map(entries));
        }
        let mut map = Map::with_capacity(entries.len());
        for (key, value) in entries {
            map.insert(key, self.owned(value)?);
        }
        Ok(Template::literal(map))
    }

    /// Takes the value out of a literal; a copy of a shared one counts.
    fn owned(&self, literal: Template) -> Result<Value, Error> {
        let Template::Literal(value) = literal else {
            return Ok(Value::Null);
        };
        Arc::try_unwrap(value).or_else(|shared| {
            self.effects
                .own(Cow::Borrowed(&shared))
                .map_err(|kind| Error::new(kind, Span::default()))
        })
    }

    fn text(&self, parts: &[Part]) -> Result<Template, Error> {
        let mut left = Vec::with_capacity(parts.len());
        let mut room = self.effects.text_limit;
        for part in parts {
            let (state, span) = match part {
                Part::Text(text) => (State::Known(Arc::new(Value::from(text.as_str()))), None),
                Part::Tag(tag) => (self.pipeline(tag)?, Some(tag.span)),
            };
            match state {
                State::Known(value) => {
                    let limit = self.effects.text_limit;
                    let text = self.effects.render(&value).and_then(|text| {
                        room = room
                            .checked_sub(text.len())
                            .ok_or(ErrorKind::TooLong { limit })?;
                        Ok(text)
                    });
                    let span = span.or(last_span(parts)).unwrap_or_default();
                    push_text(&mut left, &text.map_err(|kind| Error::new(kind, span))?);
                }
                State::Left(pipeline) => left.push(Part::Tag(pipeline)),
                State::Whole(template) => left.push(Part::Tag(Pipeline {
                    primary: Primary::Template(Box::new(template)),
                    stages: Vec::new(),
                    span: span.unwrap_or_default(),
                })),
                State::Missing(error) => return Err(error),
            }
        }
        Ok(text_or_literal(left))
    }

    fn pipeline(&self, pipeline: &Pipeline) -> Result<State, Error> {
        let mut state = match &pipeline.primary {
            Primary::Constant(value) => State::Known(Arc::clone(value)),
            Primary::Path(path) => self.path(path, &[])?,
            Primary::Template(template) => match self.template(template)? {
                // Opaque: what is missing inside stays an error for the functions that follow.
                Template::Pipe(inner) => State::Left(Pipeline {
                    primary: Primary::Template(Box::new(Template::Pipe(inner))),
                    stages: Vec::new(),
                    span: pipeline.span,
                }),
                known_or_whole => State::from_template(known_or_whole),
            },
        };
        let mut last: Option<&Call> = None;
        for stage in &pipeline.stages {
            self.count(1, || pipeline.span)?;
            state = match stage {
                Stage::Walk(segments) => {
                    let segments: Vec<_> = segments.iter().collect();
                    self.go_on(state, || start_of_walk(last), &segments, pipeline.span)?
                }
                Stage::Call(call) => {
                    last = Some(call);
                    self.call(state, call, pipeline.span)?
                }
            };
        }
        // What was put in stands where this tag stands.
        if let State::Left(left) = &mut state {
            left.span = pipeline.span;
        }
        Ok(state)
    }

    fn call(&self, state: State, call: &Call, tag: Span) -> Result<State, Error> {
        let state = match state {
            State::Missing(error) if !call.function.is_default() => return Err(error),
            state => state,
        };
        let arguments = call
            .arguments
            .iter()
            .map(|argument| self.template(argument))
            .collect::<Result<Vec<_>, _>>()?;
        for (index, argument) in arguments.iter().enumerate() {
            if let Some(value) = argument.as_literal() {
                let checked = call.function.check(index, value);
                checked.map_err(|kind| Error::new(kind, call.span).written(&call.written))?;
            }
        }
        let all_known = arguments
            .iter()
            .all(|argument| argument.as_literal().is_some());
        match state {
            // `default` alone comes here: its argument is the value.
            State::Missing(_) => Ok(match arguments.into_iter().next() {
                Some(Template::Literal(value)) => State::Known(value),
                Some(left) => State::Left(Pipeline {
                    primary: Primary::Template(Box::new(left)),
                    stages: Vec::new(),
                    span: tag,
                }),
                None => State::Known(Arc::new(Value::Null)),
            }),
            State::Known(value) if all_known && call.function.is_pure => {
                self.run(&value, call, &arguments)
            }
            left => Ok(left.then(
                Stage::Call(Call {
                    arguments,
                    ..call.clone()
                }),
                tag,
            )),
        }
    }

    /// Runs a function of known values.
    fn run(&self, value: &Arc<Value>, call: &Call, given: &[Template]) -> Result<State, Error> {
        let mut given = given
            .iter()
            .map(|item| item.as_literal().map(Cow::Borrowed));
        let arguments = Arguments {
            first: given.next().flatten(),
            second: given.next().flatten(),
            piped_last: call.piped_last,
        };
        let key = arguments.first.clone();
        let operand = Cow::Borrowed(&**value);
        let result = call
            .function
            .apply(operand, arguments, &self.effects, call.span, None)
            .map_err(|error| {
                let key = key.as_deref().map(key_text);
                let near = value
                    .as_map()
                    .zip(key)
                    .and_then(|(map, key)| nearest(&key, map.keys().map(String::as_str)));
                error.with_nearest(near).written(&call.written)
            })?;
        Ok(State::Known(match result {
            Cow::Borrowed(same) if std::ptr::eq(same, &**value) => Arc::clone(value),
            other => {
                let owned = self.effects.own(other);
                Arc::new(owned.map_err(|kind| Error::new(kind, call.span))?)
            }
        }))
    }

    /// Goes on along a path in what is known so far, or later.
    fn go_on(
        &self,
        state: State,
        start: impl Fn() -> String,
        segments: &[&Segment],
        span: Span,
    ) -> Result<State, Error> {
        if segments.is_empty() {
            return Ok(state);
        }
        match state {
            State::Known(value) => match walk(&value, segments.iter().copied()) {
                Ok(inner) => {
                    let owned = self.effects.own(Cow::Borrowed(inner));
                    Ok(State::Known(Arc::new(
                        owned.map_err(|kind| Error::new(kind, span))?,
                    )))
                }
                Err((done, reached)) => Ok(State::Missing(missing(
                    &start(),
                    segments,
                    done,
                    reached,
                    None,
                ))),
            },
            left => {
                let segments = segments.iter().copied().cloned().collect();
                Ok(left.then(Stage::Walk(segments), span))
            }
        }
    }

    /// Follows a path, and on along `more`.
    fn path(&self, path: &KeyPath, more: &[&Segment]) -> Result<State, Error> {
        let mut segments: Vec<&Segment> =
            path.segments.iter().chain(more.iter().copied()).collect();
        let found = self
            .scope
            .roots
            .iter()
            .rev()
            .find(|(root, _)| **root == *path.root);
        match found.map(|(_, root)| *root) {
            Some(Root::Templates(node)) => self.node(node, path, &segments),
            Some(Root::Later) => {
                let renamed;
                if let Some(aliases) = self.scope.aliases
                    && let Some((index, means)) = aliases.find(&path.root, &segments)
                    && let Some(segment) = segments.get_mut(index)
                {
                    renamed = means.at(segment.span);
                    *segment = &renamed;
                }
                Ok(State::Left(Pipeline {
                    primary: Primary::Path(KeyPath {
                        root: Arc::clone(&path.root),
                        segments: segments.into_iter().cloned().collect(),
                        span: path.span,
                    }),
                    stages: Vec::new(),
                    span: path.span,
                }))
            }
            None => {
                let known = self.scope.roots.iter().map(|(root, _)| *root);
                let kind = ErrorKind::UnknownRoot {
                    root: path.root.to_string(),
                    nearest: nearest(&path.root, known).map(str::to_owned),
                };
                let length = u32::try_from(path.root.len()).unwrap_or(u32::MAX);
                let span = Span {
                    end: path.span.start.saturating_add(length),
                    ..path.span
                };
                Err(Error::new(kind, span))
            }
        }
    }

    /// Follows a path among templates.
    fn node(&self, node: Node<'a>, path: &KeyPath, all: &[&Segment]) -> Result<State, Error> {
        let mut node = node;
        let mut done = 0;
        while let Some(segment) = all.get(done) {
            match node.step(segment) {
                Some(Some(next)) => node = next,
                Some(None) => {
                    let near = node.nearest(&segment.key);
                    let error = not_there(&path.root, all, done, None, near, None);
                    return Ok(State::Missing(error));
                }
                None => break,
            }
            done += 1;
        }
        let rest = all.get(done..).unwrap_or_default();
        if let Node::Template(Template::Literal(value)) = node {
            return match walk(value, rest.iter().copied()) {
                Ok(inner) => self.constant(value, inner, path.span).map(State::Known),
                Err((more, reached)) => {
                    let error = missing(&path.root, all, done + more, reached, None);
                    Ok(State::Missing(error))
                }
            };
        }
        if let Node::Template(Template::Pipe(pipeline)) = node
            && let Some(inner) = pipeline.as_path()
            && !rest.is_empty()
        {
            return self.entered(node, path, rest, || self.path(inner, rest));
        }
        let state = self.whole(node, path)?;
        self.go_on(
            state,
            || place(&path.root, all.iter().copied().take(done)),
            rest,
            path.span,
        )
    }

    /// Shares a constant or a part of it: one copy serves all templates.
    fn constant(&self, whole: &Arc<Value>, inner: &Value, span: Span) -> Result<Arc<Value>, Error> {
        if std::ptr::eq(inner, &**whole) {
            return Ok(Arc::clone(whole));
        }
        let address = std::ptr::from_ref(inner).addr();
        if let Some(shared) = self.scope.constants.borrow().get(&address) {
            return Ok(Arc::clone(shared));
        }
        self.effects
            .charge(weight(inner))
            .map_err(|kind| Error::new(kind, span))?;
        let shared = Arc::new(inner.clone());
        self.scope
            .constants
            .borrow_mut()
            .insert(address, Arc::clone(&shared));
        Ok(shared)
    }

    /// Evaluates a template among the roots, once per scope.
    fn whole(&self, node: Node<'a>, path: &KeyPath) -> Result<State, Error> {
        let address = node.address();
        let memo = self.scope.evaluated.borrow().get(&address).cloned();
        if let Some(memo) = memo {
            let chain = self.chain.borrow().len() + memo.chain;
            let depth = self.depth.get() + memo.depth;
            if chain > MAX_CHAIN {
                let kind = ErrorKind::ChainTooLong { limit: MAX_CHAIN };
                return Err(Error::new(kind, path.span));
            }
            if depth > MAX_DEPTH {
                return Err(too_deep(path.span));
            }
            self.longest.set(self.longest.get().max(chain));
            self.deepest.set(self.deepest.get().max(depth));
            self.count(memo.parts, || path.span)?;
            return Ok(State::from_template(memo.template));
        }
        let chain = self.chain.borrow().len();
        let (depth, parts) = (self.depth.get(), self.parts.get());
        let longest = self.longest.replace(chain);
        let deepest = self.deepest.replace(depth);
        let state = self.entered(node, path, &[], || match node {
            Node::Root(templates) => self.map(templates.iter()).map(State::from_template),
            Node::Template(Template::Pipe(pipeline)) => self.pipeline(pipeline),
            Node::Template(template) => self.template(template).map(State::from_template),
        })?;
        let state = match state {
            State::Missing(error) => State::Missing(error),
            found => {
                let template = found.finish()?;
                let memo = Memo {
                    chain: self.longest.get() - chain,
                    depth: self.deepest.get() - depth,
                    parts: parts_of(&template),
                    template,
                };
                self.parts.set(parts.saturating_add(memo.parts));
                let template = memo.template.clone();
                self.scope.evaluated.borrow_mut().insert(address, memo);
                State::from_template(template)
            }
        };
        self.longest.set(self.longest.get().max(longest));
        self.deepest.set(self.deepest.get().max(deepest));
        Ok(state)
    }

    /// Runs `inside` with one more variable in the chain.
    fn entered(
        &self,
        node: Node<'_>,
        path: &KeyPath,
        rest: &[&Segment],
        inside: impl FnOnce() -> Result<State, Error>,
    ) -> Result<State, Error> {
        self.deeper(|| path.span)?;
        self.chain.borrow_mut().enter(node, path, rest)?;
        self.longest
            .set(self.longest.get().max(self.chain.borrow().len()));
        let state = inside();
        self.chain.borrow_mut().leave();
        self.depth.set(self.depth.get() - 1);
        state
    }
}

/// Returns the place of the last tag: the one to name when the text around it is too long.
pub(super) fn last_span(parts: &[Part]) -> Option<Span> {
    parts.iter().rev().find_map(|part| match part {
        Part::Tag(tag) => Some(tag.span),
        Part::Text(_) => None,
    })
}

/// Counts what a template is made of.
fn parts_of(template: &Template) -> usize {
    let pipeline = |pipeline: &Pipeline| {
        let primary = match &pipeline.primary {
            Primary::Constant(_) | Primary::Path(_) => 1,
            Primary::Template(template) => parts_of(template),
        };
        let stages = pipeline.stages.iter().map(|stage| match stage {
            Stage::Walk(_) => 1,
            Stage::Call(call) => 1 + call.arguments.iter().map(parts_of).sum::<usize>(),
        });
        primary + stages.sum::<usize>()
    };
    match template {
        Template::Literal(_) => 1,
        Template::List(items) => 1 + items.iter().map(parts_of).sum::<usize>(),
        Template::Map(entries) => {
            1 + entries
                .iter()
                .map(|(_, item)| parts_of(item))
                .sum::<usize>()
        }
        Template::Pipe(tag) => pipeline(tag),
        Template::Text(parts) => {
            let parts = parts.iter().map(|part| match part {
                Part::Text(_) => 1,
                Part::Tag(tag) => pipeline(tag),
            });
            1 + parts.sum::<usize>()
        }
    }
}
