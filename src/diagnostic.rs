//! Findings about text that a person wrote: where, what, and what to do about it.
//!
//! A [`Diagnostic`] is for people: it is collected beside others ([`Findings`]), carries a stable
//! [`Code`] and the place in the file, and is rendered with the line it is about. Errors that
//! programs react to are typed enums in their own modules instead.
//! Read `document.rs` next: it makes the [`Location`]s.

use std::cell::RefCell;
use std::fmt;

use crate::value::{Map, Value};

/// Names one text of a document (a string of a spec, a template on the command line), so that a
/// place inside it can be found again long after it was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SourceId(pub u32);

/// A stretch of one source text, in bytes of the text as decoded (after JSON's own escapes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// The text.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// One beyond the last byte.
    pub end: u32,
}

/// Whether a finding stops the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The document is refused.
    Error,
    /// The document is used; someone should look at it.
    Warning,
}

impl Severity {
    /// Returns the word that output uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// Names a kind of finding for ever: scripts and documents refer to it.
        ///
        /// The one registry. A number that was ever released is never given to something else;
        /// what is no longer reported keeps its row. Letters: `D` any document, `M` Mops, `S` API
        /// specs, `R` realms and configuration.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// Every code, in the order of the registry.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];

            /// Returns the code as output shows it, for example `M105`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$name => $text,)+
                }
            }

            /// Returns the code that output shows as `name`; none for one that is not ours.
            pub fn from_name(name: &str) -> Option<Code> {
                Code::ALL.iter().find(|code| code.as_str() == name).copied()
            }

            /// Returns what the code means, in one line; `docs/errors.md` is made of these.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Code::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

codes! {
    /// The text is not JSON or TOML.
    Syntax = "D001",
    /// Lists, maps or patterns are nested deeper than is accepted.
    TooDeep = "D002",
    /// A number does not fit in 64 bits or in a double.
    NumberRange = "D003",
    /// A key is written twice in one map; the last one counts. An error where the key guards something.
    DuplicateKey = "D004",
    /// A key that means nothing here, often a misspelt one.
    UnknownKey = "D005",
    /// A value of another type than the key takes.
    WrongType = "D006",
    /// A key that has to be there is absent.
    MissingKey = "D007",
    /// A value of the right type that the key does not take.
    BadValue = "D008",
    /// A `${NAME}` whose variable is not in the environment and has no default.
    MissingEnvironment = "D009",
    /// A `${` that is not closed or does not hold a name.
    BadSubstitution = "D010",
    /// A file that cannot be read.
    Unreadable = "D011",
    /// Something that is documented for a later release; refused rather than ignored.
    NotBuilt = "D012",
    /// A file that is neither an API spec nor a realm.
    UnknownDocument = "D013",
    /// A stored document whose `id` or `uri` is not the one that it is stored under.
    OtherName = "D014",
    /// A standard variable of the environment that means nothing here.
    IdleVariable = "D015",
    /// A `${NAME}` in what is uploaded: it stays as it is, as only files that a gateway reads have it replaced.
    NotReplaced = "D016",

    /// A tag `{{` or a quote in it is not closed.
    Unclosed = "M101",
    /// The text inside a tag is not an expression.
    ExpressionSyntax = "M102",
    /// Tags, lists or variables are nested deeper than is accepted.
    ExpressionTooDeep = "M103",
    /// A path whose first name is none of the context's roots.
    UnknownRoot = "M104",
    /// A function that does not exist.
    UnknownFunction = "M105",
    /// A function with too few or too many arguments, or with an argument it does not take.
    BadArguments = "M106",
    /// A key or index that is not there.
    MissingName = "M107",
    /// A function or path met a value of a type that it does not work on.
    OperandType = "M108",
    /// Variables that refer to each other in a circle.
    VariableCycle = "M109",
    /// A value of the right type that a function cannot work on.
    OperandValue = "M110",
    /// A result larger than the limit.
    TooLarge = "M111",

    /// A `realm_uri` that is none of the configured realms.
    UnknownRealm = "S201",
    /// A host pattern that is not one.
    HostPattern = "S202",
    /// A base path or path that is not a path pattern.
    PathPattern = "S203",
    /// Two active routes that match the same requests.
    RouteConflict = "S204",
    /// Two specs with the same `id`.
    DuplicateApi = "S205",
    /// A path without any method.
    NoMethod = "S206",
    /// An action that does not say what kind it is, or says one that does not exist.
    ActionType = "S207",
    /// An action without a `type` where one is needed, or with a key under both of its names.
    ActionShape = "S208",
    /// A procedure, topic or realm that is not a WAMP URI.
    BadUri = "S209",
    /// An option that a spec may not set, or one of the wrong type.
    BadOption = "S210",
    /// A status code outside 200 to 599.
    BadStatus = "S211",
    /// A header name or value that may not be sent.
    BadHeader = "S212",
    /// A template that must be known when the spec is loaded, but needs the request.
    LateTemplate = "S213",
    /// A template that uses `action` where no result is there yet.
    TooEarly = "S214",
    /// `access-control-allow-origin: *` together with credentials, which browsers refuse.
    CorsWildcard = "S215",
    /// A media type that is not one.
    BadMediaType = "S216",
    /// A key that is known but means nothing here.
    IgnoredKey = "S217",

    /// Two realms with the same `uri`.
    DuplicateRealm = "R301",
    /// A router URL that cannot be used.
    RouterUrl = "R302",
    /// A duration that is not a number with a unit.
    BadDuration = "R303",
    /// Two users of a realm with the same name, whatever its case.
    DuplicateUser = "R304",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in a document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Location {
    /// The file's name as it was given to us; none for text that came otherwise.
    pub file: Option<String>,
    /// RFC 6901 pointer to the value; empty for the whole document.
    pub pointer: String,
    /// Line, from one; zero when there is no text to point into.
    pub line: u32,
    /// Column in characters, from one.
    pub column: u32,
    /// The line's text, for rendering.
    pub excerpt: Option<Box<Excerpt>>,
}

impl Location {
    /// Names a file without a place in it.
    pub fn of_file(file: &str) -> Self {
        Location {
            file: Some(file.to_owned()),
            ..Location::default()
        }
    }
}

/// Writes `file:line:column`, as much of it as there is.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file.as_deref().unwrap_or("input"))?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

/// The part of a line that is shown with a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The text, without line breaks and control characters, clipped when the line is long.
    pub text: String,
    /// Characters before the marked part.
    pub start: usize,
    /// Characters marked, at least one.
    pub length: usize,
}

/// Most characters of a line that an excerpt shows; one-line specs can be megabytes long.
const EXCERPT_WIDTH: usize = 100;

impl Excerpt {
    /// Takes the part of `line` around the bytes `start..end`, which are clamped to it.
    pub fn new(line: &str, start: usize, end: usize) -> Self {
        let start = floor_boundary(line, start);
        let end = floor_boundary(line, end.max(start));
        let indent = line.len() - line.trim_start().len();
        let from = indent.min(start);
        // Only what may be shown is looked at, however long the line is.
        let before: Vec<char> = last_chars(&line[from..start], EXCERPT_WIDTH);
        let marked: Vec<char> = line[start..end].chars().take(EXCERPT_WIDTH).collect();
        let after: Vec<char> = line[end..].chars().take(EXCERPT_WIDTH).collect();
        let all_before = line[from..start].chars().count();

        let length = marked.len().clamp(1, EXCERPT_WIDTH * 3 / 4);
        let room = EXCERPT_WIDTH - length;
        let keep_before = before
            .len()
            .min((room / 2).max(room.saturating_sub(after.len())));
        let keep_after = after.len().min(room - keep_before);
        let mut text = String::new();
        let mut column = 0;
        if keep_before < all_before {
            text.push('…');
            column += 1;
        }
        text.extend(before[before.len() - keep_before..].iter().map(printable));
        column += keep_before;
        text.extend(marked.iter().take(length).map(printable));
        if marked.len() > length {
            text.push('…');
        } else {
            text.extend(after[..keep_after].iter().map(printable));
            if keep_after < after.len() {
                text.push('…');
            }
        }
        Excerpt {
            text: text.trim_end().to_owned(),
            start: column,
            length,
        }
    }
}

/// A tab would move the caret, and a control character could drive a terminal.
fn printable(character: &char) -> char {
    match character {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => *c,
    }
}

fn last_chars(text: &str, count: usize) -> Vec<char> {
    let mut chars: Vec<char> = text.chars().rev().take(count).collect();
    chars.reverse();
    chars
}

fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the load.
    pub severity: Severity,
    /// What kind of finding it is.
    pub code: Code,
    /// What was found and what was expected; lower case, no full stop, never a secret.
    pub message: String,
    /// Where.
    pub location: Location,
    /// What to do about it, for example ``did you mean `integer`?``.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// Makes an error.
    pub fn error(code: Code, location: Location, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            location,
            hint: None,
        }
    }

    /// Makes a warning.
    pub fn warning(code: Code, location: Location, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(code, location, message)
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a hint at the nearest of `known` names, if one is near enough.
    #[must_use]
    pub fn with_nearest<'a>(self, found: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(found, known) {
            Some(name) => {
                let hint = did_you_mean(name);
                self.with_hint(hint)
            }
            None => self,
        }
    }

    /// Returns whether it stops the load.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Returns the finding as people read it: several lines, no line break at the end, with colour
    /// for a terminal on demand.
    ///
    /// ```text
    /// error[M105]: unknown function `intger`
    ///   --> specs/market.json:12:46 at /variables/code
    ///    |
    /// 12 | "code": "{{status_codes |> get(x, 500) |> intger}}"
    ///    |                                           ^^^^^^ did you mean `integer`?
    /// ```
    pub fn render(&self, colour: bool) -> String {
        let paint = Paint { colour };
        let level = match self.severity {
            Severity::Error => RED,
            Severity::Warning => YELLOW,
        };
        let head = format!("{}[{}]", self.severity, self.code);
        let mut out = format!(
            "{}{}",
            paint.wrap(level, &head),
            paint.wrap(BOLD, &format!(": {}", self.message))
        );
        let location = &self.location;
        let number = if location.line > 0 {
            location.line.to_string()
        } else {
            String::new()
        };
        let gutter = number.len().max(2);
        if location.file.is_some() || location.line > 0 {
            let arrow = paint.wrap(BLUE, "-->");
            out.push_str(&format!("\n{:gutter$}{arrow} {location}", ""));
            if !location.pointer.is_empty() {
                out.push_str(&format!(" at {}", location.pointer));
            }
        }
        let bar = paint.wrap(BLUE, "|");
        match &location.excerpt {
            Some(excerpt) => {
                let number = paint.wrap(BLUE, &format!("{number:>gutter$}"));
                let carets = paint.wrap(level, &"^".repeat(excerpt.length));
                out.push_str(&format!("\n{:gutter$} {bar}", ""));
                out.push_str(&format!("\n{number} {bar} {}", excerpt.text));
                out.push_str(&format!(
                    "\n{:gutter$} {bar} {:start$}{carets}",
                    "",
                    "",
                    start = excerpt.start
                ));
                if let Some(hint) = &self.hint {
                    out.push_str(&format!(" {}", paint.wrap(level, hint)));
                }
            }
            None => {
                if let Some(hint) = &self.hint {
                    out.push_str(&format!("\n{:gutter$} = {hint}", ""));
                }
            }
        }
        out
    }

    /// Returns the finding as programs read it: `severity`, `code`, `message`, `hint`, `file`,
    /// `pointer`, `line`, `column`; what there is none of is null.
    pub fn to_json(&self) -> Value {
        let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        let number = |number: u32| match number {
            0 => Value::Null,
            n => Value::from(u64::from(n)),
        };
        let mut map = Map::new();
        map.insert("severity".to_owned(), self.severity.as_str().into());
        map.insert("code".to_owned(), self.code.as_str().into());
        map.insert("message".to_owned(), self.message.as_str().into());
        map.insert("hint".to_owned(), text(&self.hint));
        map.insert("file".to_owned(), text(&self.location.file));
        map.insert("pointer".to_owned(), self.location.pointer.as_str().into());
        map.insert("line".to_owned(), number(self.location.line));
        map.insert("column".to_owned(), number(self.location.column));
        Value::Map(map)
    }
}

/// Writes one line, for logs: place, code, message and hint.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}[{}]: {}",
            self.location, self.severity, self.code, self.message
        )?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// The style of headings: a parameter of ECMA-48's SGR, as all of these are.
pub const BOLD: &str = "1";
/// The style of errors.
pub const RED: &str = "1;31";
/// The style of warnings.
pub const YELLOW: &str = "1;33";
/// The style of what is added.
pub const GREEN: &str = "1;32";
/// The style of what leads to a place.
pub const BLUE: &str = "1;34";

/// Writes for a terminal, or for what is none.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    /// Whether it takes colour.
    pub colour: bool,
}

impl Paint {
    /// Returns the text in a style, and in none behind it.
    pub fn wrap(&self, style: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{style}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Collects findings while a document is taken apart.
///
/// Shared by reference, so that the readers of nested objects can all add to it; it is used by one
/// thread at a time.
#[derive(Debug, Default)]
pub struct Findings {
    list: RefCell<Vec<Diagnostic>>,
}

impl Findings {
    /// Starts without any.
    pub fn new() -> Self {
        Findings::default()
    }

    /// Adds one.
    pub fn push(&self, finding: Diagnostic) {
        self.list.borrow_mut().push(finding);
    }

    /// Adds several.
    pub fn extend(&self, findings: impl IntoIterator<Item = Diagnostic>) {
        self.list.borrow_mut().extend(findings);
    }

    /// Returns how many errors there are so far.
    pub fn errors(&self) -> usize {
        let list = self.list.borrow();
        list.iter().filter(|finding| finding.is_error()).count()
    }

    /// Returns all, in the order in which they were added.
    pub fn into_list(self) -> Vec<Diagnostic> {
        self.list.into_inner()
    }

    /// Returns all, those of one file together and in the order of their places in it.
    pub fn into_sorted(self) -> Vec<Diagnostic> {
        let mut list = self.list.into_inner();
        // What else is wrong with a text that the environment left incomplete is an echo.
        let is_incomplete = |code| matches!(code, Code::MissingEnvironment | Code::BadSubstitution);
        let incomplete: Vec<(Option<String>, String)> = list
            .iter()
            .filter(|finding| is_incomplete(finding.code))
            .map(|finding| {
                (
                    finding.location.file.clone(),
                    finding.location.pointer.clone(),
                )
            })
            .collect();
        list.retain(|finding| {
            let location = &finding.location;
            is_incomplete(finding.code)
                || !incomplete
                    .iter()
                    .any(|(file, pointer)| (file, pointer) == (&location.file, &location.pointer))
        });
        let mut files: Vec<Option<String>> = Vec::new();
        for finding in &list {
            if !files.contains(&finding.location.file) {
                files.push(finding.location.file.clone());
            }
        }
        list.sort_by_key(|finding| {
            let location = &finding.location;
            let file = files.iter().position(|file| *file == location.file);
            (file, location.line, location.column)
        });
        // One mistake that is reached on several ways is one finding.
        list.dedup();
        list
    }
}

/// Names that are compared at most for a hint: a document with thousands of names may have as many
/// mistakes.
const MOST_COMPARED: usize = 500;

/// Returns the one of `known` that `found` was most likely meant to be; none if none is near.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = found.to_lowercase();
    // A third of the characters may differ: beyond that a hint misleads more than it helps.
    let limit = (found.chars().count() / 3).max(1);
    known
        .into_iter()
        .take(MOST_COMPARED)
        .map(|name| (strsim::osa_distance(&folded, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= limit && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Words a hint at `name`.
pub fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(line: &str, start: usize, end: usize) -> Location {
        Location {
            file: Some("specs/market.json".to_owned()),
            pointer: "/variables/code".to_owned(),
            line: 12,
            column: 46,
            excerpt: Some(Box::new(Excerpt::new(line, start, end))),
        }
    }

    #[test]
    fn codes_are_unique_and_explained() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} is there twice");
            assert!(code.meaning().ends_with('.'), "{code}: {}", code.meaning());
        }
    }

    /// Written by `UPDATE_DOCS=1 cargo test errors_md`.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch of the test itself, not of what it tests"
    )]
    fn errors_md_lists_every_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (head, _) = page.split_once("| code |").unwrap();
        let mut expected = format!("{head}| code | meaning |\n|---|---|\n");
        for code in Code::ALL {
            expected.push_str(&format!("| {code} | {} |\n", code.meaning()));
        }
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &expected).unwrap();
        } else {
            assert_eq!(page, expected, "UPDATE_DOCS=1 cargo test errors_md");
        }
    }

    #[test]
    fn a_finding_is_rendered_with_its_line_and_a_caret() {
        let line = r#"    "code": "{{status_codes |> get(x, 500) |> intger}}","#;
        let start = line.find("intger").unwrap();
        let finding = Diagnostic::error(
            Code::UnknownFunction,
            located(line, start, start + 6),
            "unknown function `intger`",
        )
        .with_nearest("intger", ["float", "integer"]);
        insta::assert_snapshot!(finding.render(false), @r#"
        error[M105]: unknown function `intger`
          --> specs/market.json:12:46 at /variables/code
           |
        12 | "code": "{{status_codes |> get(x, 500) |> intger}}",
           |                                           ^^^^^^ did you mean `integer`?
        "#);
        assert!(finding.render(true).contains("\u{1b}[1;31m^^^^^^\u{1b}[0m"));
    }

    #[test]
    fn long_lines_are_clipped_around_the_place() {
        let line = format!("{}HERE{}", "a".repeat(5000), "b".repeat(5000));
        let excerpt = Excerpt::new(&line, 5000, 5004);
        assert!(excerpt.text.chars().count() <= EXCERPT_WIDTH + 2);
        let marked: String = excerpt
            .text
            .chars()
            .skip(excerpt.start)
            .take(excerpt.length)
            .collect();
        assert_eq!(marked, "HERE");
        let whole = Excerpt::new(&line, 0, line.len());
        assert!(whole.text.chars().count() <= EXCERPT_WIDTH + 2);
        assert!(whole.start == 0 && whole.length < EXCERPT_WIDTH);
    }

    #[test]
    fn excerpts_hold_no_control_characters_and_count_characters() {
        let excerpt = Excerpt::new("\t\"ü\u{1b}[31m\tx\" : 1", 11, 12);
        assert_eq!(excerpt.text, "\"ü\u{fffd}[31m x\" : 1");
        assert_eq!(excerpt.text.chars().nth(excerpt.start), Some('"'));
        // A place beyond the end of the line, as of something missing there.
        let excerpt = Excerpt::new("ab", 7, 9);
        assert_eq!((excerpt.start, excerpt.length), (2, 1));
    }

    #[test]
    fn hints_are_near_or_absent() {
        let known = ["security", "schemes", "headers", "get"];
        assert_eq!(nearest("secuirty", known), Some("security"));
        assert_eq!(nearest("Headers", known), Some("headers"));
        assert_eq!(nearest("gte", known), Some("get"));
        assert_eq!(nearest("banana", known), None);
        assert_eq!(nearest("x", known), None);
    }

    #[test]
    fn findings_come_by_file_and_place() {
        let findings = Findings::new();
        let at = |file: &str, line| Location {
            file: Some(file.to_owned()),
            line,
            column: 1,
            ..Location::default()
        };
        for (file, line) in [("b", 9), ("a", 7), ("b", 2), ("b", 2)] {
            findings.push(Diagnostic::error(Code::Syntax, at(file, line), "x"));
        }
        let order: Vec<String> = findings
            .into_sorted()
            .iter()
            .map(|finding| finding.location.to_string())
            .collect();
        assert_eq!(order, ["b:2:1", "b:9:1", "a:7:1"]);
    }
}
