//! Text to [`Template`]: the only file that sees pest.
//!
//! Pest parses the whole text at once when it is right. When it is not, each tag is parsed by
//! itself, so that all of them are reported; a scanner that knows only brackets and quotes tells
//! where a broken tag ends, and where one that never ends began (a PEG by itself reports that at
//! the end of the text). The same scanner bounds the nesting before pest recurses.

use std::sync::Arc;

use pest::Parser as _;
use pest::error::{ErrorVariant, InputLocation};
use pest::iterators::Pair;

use self::grammar::{Grammar, Rule};
use super::MAX_NESTING;
use super::ast::{Call, KeyPath, Part, Pipeline, Primary, Segment, Stage, Template};
use super::error::{Error, ErrorKind};
use super::functions;
use super::scan::{End, scan, too_deep};
use crate::diagnostic::{SourceId, Span};
use crate::value::{Map, Value};

/// What pest derives is private, and its items cannot be documented.
mod grammar {
    #![allow(
        missing_docs,
        missing_debug_implementations,
        unreachable_pub,
        reason = "derived by pest"
    )]

    #[derive(pest_derive::Parser)]
    #[grammar = "grammar/mops.pest"]
    pub(super) struct Grammar;
}

impl Template {
    /// Parses the text of one string; `source` names it in every span.
    ///
    /// # Errors
    ///
    /// All findings of the text: what is not grammatical, unknown functions, wrong numbers of
    /// arguments, nesting beyond [`MAX_NESTING`].
    pub fn parse(text: &str, source: SourceId) -> Result<Template, Vec<Error>> {
        if !text.contains("{{") {
            return Ok(Template::literal(text));
        }
        let mut builder = Builder {
            source,
            errors: Vec::new(),
        };
        if let Some(at) = too_deep(text) {
            let kind = ErrorKind::TooDeep { limit: MAX_NESTING };
            return Err(vec![Error::new(kind, builder.span(at, at + 1))]);
        }
        let pieces = match Grammar::parse(Rule::template, text) {
            Ok(mut pairs) => builder.pieces(pairs.next().map(Pair::into_inner)),
            Err(_) => {
                builder.broken(text);
                Vec::new()
            }
        };
        if builder.errors.is_empty() {
            Ok(assemble(pieces))
        } else {
            Err(builder.errors)
        }
    }

    /// Parses a JSON value whose texts may hold tags. Keys are never expressions.
    ///
    /// `next_source` numbers the texts in document order; each gets its number and adds one.
    ///
    /// # Errors
    ///
    /// As [`Template::parse`], for all texts together; also for lists and maps nested deeper than
    /// [`MAX_NESTING`].
    pub fn from_value(value: &Value, next_source: &mut u32) -> Result<Template, Vec<Error>> {
        let mut errors = Vec::new();
        let template = from_value(value, next_source, 0, &mut errors);
        if errors.is_empty() {
            Ok(template)
        } else {
            Err(errors)
        }
    }
}

fn from_value(value: &Value, next: &mut u32, depth: usize, errors: &mut Vec<Error>) -> Template {
    let source = SourceId(*next);
    if depth >= MAX_NESTING && matches!(value, Value::List(_) | Value::Map(_)) {
        let kind = ErrorKind::TooDeep { limit: MAX_NESTING };
        let (start, end) = (0, 0);
        errors.push(Error::new(kind, Span { source, start, end }));
        return Template::literal(Value::Null);
    }
    match value {
        Value::Text(text) => {
            *next += 1;
            Template::parse(text, source).unwrap_or_else(|mut found| {
                errors.append(&mut found);
                Template::literal(Value::Null)
            })
        }
        Value::List(items) => Template::list(
            items
                .iter()
                .map(|item| from_value(item, next, depth + 1, errors))
                .collect(),
        ),
        Value::Map(map) => Template::map(
            map.iter()
                .map(|(key, item)| (key.clone(), from_value(item, next, depth + 1, errors)))
                .collect(),
        ),
        other => Template::from(other.clone()),
    }
}

/// A piece of the text as it was written.
enum Piece {
    Text(String),
    Tag(Pipeline),
}

/// Tells the four forms of a string apart: literal, one tag, text with tags, and the same in double
/// quotes.
fn assemble(mut pieces: Vec<Piece>) -> Template {
    let blank = |piece: &Piece| matches!(piece, Piece::Text(text) if text.trim().is_empty());
    let tags = pieces
        .iter()
        .filter(|piece| matches!(piece, Piece::Tag(_)))
        .count();
    if tags == 1
        && pieces
            .iter()
            .all(|piece| matches!(piece, Piece::Tag(_)) || blank(piece))
    {
        pieces.retain(|piece| !blank(piece));
        if let Some(Piece::Tag(pipeline)) = pieces.pop() {
            return match pipeline.primary {
                Primary::Constant(value) if pipeline.stages.is_empty() => Template::Literal(value),
                _ => Template::Pipe(Box::new(pipeline)),
            };
        }
    }
    let quotes: usize = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.matches('"').count(),
            Piece::Tag(_) => 0,
        })
        .sum();
    if quotes == 2
        && let [Piece::Text(first), .., Piece::Text(last)] = pieces.as_mut_slice()
        && let Some(inner) = first.trim_start().strip_prefix('"')
        && let Some(end) = last.trim_end().strip_suffix('"').map(str::len)
    {
        *first = inner.to_owned();
        last.truncate(end);
    }
    let mut parts: Vec<Part> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => push_text(&mut parts, &text),
            Piece::Tag(pipeline) => match &pipeline.primary {
                Primary::Constant(value) if pipeline.stages.is_empty() => match &**value {
                    Value::Text(text) => push_text(&mut parts, text),
                    _ => parts.push(Part::Tag(pipeline)),
                },
                _ => parts.push(Part::Tag(pipeline)),
            },
        }
    }
    text_or_literal(parts)
}

/// Adds text to the last part, if that is text.
pub(super) fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(last)) => last.push_str(text),
        Some(Part::Tag(_)) | None => parts.push(Part::Text(text.to_owned())),
    }
}

/// Makes a literal of parts that hold no tag.
pub(super) fn text_or_literal(mut parts: Vec<Part>) -> Template {
    match parts.as_mut_slice() {
        [] => Template::literal(""),
        [Part::Text(text)] => Template::literal(std::mem::take(text)),
        _ => Template::Text(parts),
    }
}

struct Builder {
    source: SourceId,
    errors: Vec<Error>,
}

impl Builder {
    fn span(&self, start: usize, end: usize) -> Span {
        // Texts beyond 4 GiB do not come this far; saturating keeps the conversion total.
        Span {
            source: self.source,
            start: u32::try_from(start).unwrap_or(u32::MAX),
            end: u32::try_from(end).unwrap_or(u32::MAX),
        }
    }

    /// `base` is where the text that pest saw begins in the whole text.
    fn span_of(&self, pair: &Pair<'_, Rule>, base: usize) -> Span {
        let span = pair.as_span();
        self.span(base + span.start(), base + span.end())
    }

    fn pieces<'i>(&mut self, pairs: Option<impl Iterator<Item = Pair<'i, Rule>>>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for pair in pairs.into_iter().flatten() {
            match pair.as_rule() {
                Rule::text => pieces.push(Piece::Text(pair.as_str().to_owned())),
                Rule::tag => pieces.push(Piece::Tag(self.tag(pair, 0))),
                _ => {}
            }
        }
        pieces
    }

    fn tag(&mut self, tag: Pair<'_, Rule>, base: usize) -> Pipeline {
        let span = self.span_of(&tag, base);
        let mut primary = Primary::Constant(Arc::new(Value::Null));
        let mut stages = Vec::new();
        for pair in tag.into_inner() {
            match pair.as_rule() {
                Rule::path => primary = Primary::Path(self.path(pair, base)),
                Rule::function => {
                    if let Some(call) = self.function(pair, base) {
                        stages.push(Stage::Call(call));
                    }
                }
                Rule::pipe | Rule::tag_close => {}
                _ => primary = Primary::Constant(Arc::new(constant(&pair))),
            }
        }
        Pipeline {
            primary,
            stages,
            span,
        }
    }

    fn path(&self, path: Pair<'_, Rule>, base: usize) -> KeyPath {
        let span = self.span_of(&path, base);
        let mut root = None;
        let mut segments = Vec::new();
        for pair in path.into_inner() {
            let place = self.span_of(&pair, base);
            match pair.as_rule() {
                Rule::quoted => segments.push(Segment::new(&unquote(&pair), place)),
                _ if root.is_none() => root = Some(Arc::from(pair.as_str())),
                _ => segments.push(Segment::new(pair.as_str(), place)),
            }
        }
        KeyPath {
            root: root.unwrap_or_else(|| Arc::from("")),
            segments,
            span,
        }
    }

    /// Returns nothing where it has found something wrong.
    fn function(&mut self, pair: Pair<'_, Rule>, base: usize) -> Option<Call> {
        let span = self.span_of(&pair, base);
        let written = Arc::from(pair.as_str().trim_end());
        let mut name = None;
        let mut given = Vec::new();
        for pair in pair.into_inner() {
            match pair.as_rule() {
                Rule::name => name = Some((pair.as_str(), self.span_of(&pair, base))),
                Rule::open | Rule::comma | Rule::close => {}
                _ => given.push(pair),
            }
        }
        let (name, name_span) = name?;
        let Some(function) = functions::find(name) else {
            let name = name.to_owned();
            self.errors
                .push(Error::new(ErrorKind::UnknownFunction { name }, name_span));
            // The arguments may hold more to report.
            for pair in given {
                self.argument(pair, base, true);
            }
            return None;
        };
        let before = self.errors.len();
        let mut piped = None;
        let mut arguments = Vec::new();
        let found = given.len();
        for (index, pair) in given.into_iter().enumerate() {
            let placeholder = pair.as_rule() == Rule::argument_word && pair.as_str() == "_";
            if placeholder && function.takes_placeholder && found == 2 && piped.is_none() {
                piped = Some(index);
            } else {
                arguments.push(self.argument(pair, base, false));
            }
        }
        if !function.accepts(arguments.len()) {
            let kind = ErrorKind::ArgumentCount {
                function: function.name,
                usage: function.usage(),
                found,
            };
            self.errors.push(Error::new(kind, span));
        }
        (self.errors.len() == before).then_some(Call {
            function,
            arguments,
            piped_last: piped == Some(1),
            span,
            written,
        })
    }

    /// `lenient`: of an unknown function, which may have placeholders for all we know.
    fn argument(&mut self, pair: Pair<'_, Rule>, base: usize, lenient: bool) -> Template {
        match pair.as_rule() {
            Rule::tag => {
                let pipeline = self.tag(pair, base);
                match pipeline.primary {
                    Primary::Constant(value) if pipeline.stages.is_empty() => {
                        Template::Literal(value)
                    }
                    _ => Template::Pipe(Box::new(pipeline)),
                }
            }
            Rule::list => {
                let mut items = Vec::new();
                for item in pair.into_inner() {
                    if !matches!(item.as_rule(), Rule::comma | Rule::list_close) {
                        items.push(self.argument(item, base, lenient));
                    }
                }
                Template::list(items)
            }
            Rule::argument_word if pair.as_str() == "_" && !lenient => {
                let span = self.span_of(&pair, base);
                self.errors.push(Error::new(ErrorKind::Placeholder, span));
                Template::literal(Value::Null)
            }
            _ => Template::from(constant(&pair)),
        }
    }

    /// Reports everything that is wrong with a text that pest has refused.
    fn broken(&mut self, text: &str) {
        let mut at = 0;
        while let Some(start) = text
            .get(at..)
            .and_then(|rest| rest.find("{{"))
            .map(|n| at + n)
        {
            let end = scan(text, start);
            // Only as far as the tag goes: pest counts lines and columns of all that it is given,
            // once for each tag that is wrong.
            let until = match end {
                End::Closed(end) => end,
                End::Unclosed { .. } => text.len(),
            };
            let rest = text.get(start..until).unwrap_or_default();
            at = match (Grammar::parse(Rule::tag, rest), end) {
                (Ok(mut pairs), _) => match pairs.next() {
                    Some(tag) => {
                        let next = start + tag.as_span().end();
                        self.tag(tag, start);
                        next
                    }
                    None => start + 2,
                },
                (Err(_), End::Unclosed { at, closed_by }) => {
                    let width = if closed_by == "'" { 1 } else { 2 };
                    let kind = ErrorKind::Unclosed { closed_by };
                    self.errors
                        .push(Error::new(kind, self.span(at, at + width)));
                    return;
                }
                (Err(error), End::Closed(end)) => {
                    self.syntax(text, start, &error);
                    end
                }
            };
        }
    }

    fn syntax(&mut self, text: &str, base: usize, error: &pest::error::Error<Rule>) {
        let (InputLocation::Pos(offset) | InputLocation::Span((offset, _))) = error.location;
        let at = base + offset;
        let found = found_at(text.get(at..).unwrap_or_default());
        let span = self.span(at, at + found.len());
        let mut expected = Vec::new();
        if let ErrorVariant::ParsingError { positives, .. } = &error.variant {
            for words in positives.iter().filter_map(|rule| in_words(*rule)) {
                if !expected.contains(&words) {
                    expected.push(words);
                }
            }
        }
        let found = if found.is_empty() {
            "the end".to_owned()
        } else {
            format!("`{found}`")
        };
        self.errors
            .push(Error::new(ErrorKind::Syntax { expected, found }, span));
    }
}

/// Returns the value of an argument or primary that holds no tag.
fn constant(pair: &Pair<'_, Rule>) -> Value {
    match pair.as_rule() {
        Rule::empty_map => Value::Map(Map::new()),
        Rule::empty_list => Value::List(Vec::new()),
        Rule::quoted => Value::Text(unquote(pair)),
        _ => Value::from(pair.as_str()),
    }
}

/// Takes the quotes off, and the backslash before a quote or a backslash.
fn unquote(pair: &Pair<'_, Rule>) -> String {
    let quoted = pair.as_str();
    let inner = quoted
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    let mut text = String::with_capacity(quoted.len());
    let mut chars = inner.unwrap_or(quoted).chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(&next @ ('\'' | '\\'))) => {
                chars.next();
                text.push(next);
            }
            _ => text.push(c),
        }
    }
    text
}

/// Says what may stand somewhere, to a person who does not know the grammar's names.
fn in_words(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::tag_close => "`}}`",
        Rule::pipe => "`|>`",
        Rule::open => "`(`",
        Rule::close => "`)`",
        Rule::comma => "`,`",
        Rule::list_close => "`]`",
        Rule::quote_close => "`'`",
        Rule::path => "a path",
        Rule::word => "a name",
        Rule::quoted => "a quoted text",
        Rule::function | Rule::name => "a function",
        Rule::argument_word => "a word",
        Rule::tag => "a tag",
        Rule::list => "a list",
        // `$map` and `$list` would only make the list longer.
        _ => return None,
    })
}

/// Returns the token at the beginning of `rest`.
fn found_at(rest: &str) -> &str {
    for token in ["{{", "}}", "|>"] {
        if rest.starts_with(token) {
            return token;
        }
    }
    let stop = |c: char| c.is_whitespace() || ".,()[]{}'\"|".contains(c);
    match rest.find(stop) {
        Some(0) => rest
            .get(..rest.chars().next().map_or(0, char::len_utf8))
            .unwrap_or_default(),
        Some(end) => rest.get(..end).unwrap_or_default(),
        None => rest,
    }
}
