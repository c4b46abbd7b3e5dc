//! Host and path patterns: text with brackets to the patterns that it stands for.
//!
//! Brackets are expanded here, once, so that the route table knows three kinds of segment only.
//!
//! Reference: `api-spec.md`, "Matching".

use super::route::{HostPattern, PathPattern, Segment};

/// Most patterns that the brackets of one text may stand for: each pair doubles them.
pub const MAX_EXPANSIONS: usize = 64;

/// Deepest nesting of brackets.
const MAX_BRACKETS: usize = 16;

/// Stands for `[...]` while brackets are expanded; control characters are refused before.
const REST: char = '\u{0}';

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A `[` without its `]`, or the other way round.
    #[error("a `[` or `]` without its counterpart")]
    Bracket,
    /// The brackets stand for too many patterns, or are nested too deep.
    #[error("the brackets stand for more than {MAX_EXPANSIONS} patterns")]
    TooMany,
    /// A path that does not begin at the root.
    #[error("expected a path that begins with `/`")]
    NoSlash,
    /// `[...]` where something follows it, or beside text.
    #[error("`[...]` must be the last segment of a path, or the first label of a host")]
    Rest,
    /// A base path that takes everything.
    #[error("`[...]` may only end a path, not a base path")]
    RestInBase,
    /// `:` without a name, or with one that an expression could not spell.
    #[error("`:{0}` is no variable: a name of letters, digits, `_` and `-` must follow the `:`")]
    VariableName(String),
    /// The same variable twice.
    #[error("variable `:{0}` is there twice")]
    VariableTwice(String),
    /// `.` or `..`, which requests are freed of before they are matched.
    #[error("segment `{0}` can never match: requests are matched with `.` and `..` resolved")]
    DotSegment(String),
    /// A character that a request's path or host cannot have at this place.
    #[error("{0:?} is not allowed here")]
    Character(char),
    /// A `%` that is not followed by two hexadecimal digits, or bytes that are not UTF-8.
    #[error("`{0}` is not percent-encoded UTF-8")]
    PercentEncoding(String),
    /// Nothing there, or nothing between two dots.
    #[error("a label of the host is empty")]
    EmptyLabel,
    /// `*`, as other programs write it.
    #[error("`*` is not a host pattern")]
    Star,
}

impl PatternError {
    /// Returns what to write instead, where that can be told.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            PatternError::Character('{' | '}') => Some("a variable is written `:name`"),
            PatternError::Character('*') => Some("the rest of a path is written `[...]`"),
            PatternError::Star => Some("`_` is any host"),
            _ => None,
        }
    }
}

/// Returns the patterns that a path (without its base path) stands for.
///
/// # Errors
///
/// [`PatternError`] names the first offence.
pub fn parse_path(text: &str) -> Result<Vec<PathPattern>, PatternError> {
    let expansions = expand(text)?;
    unique(expansions.iter().map(|text| path_segments(text)))
        .map(|patterns| patterns.into_iter().map(PathPattern::new).collect())
}

/// Returns the patterns that a base path stands for.
///
/// # Errors
///
/// As for [`parse_path`], and [`PatternError::RestInBase`].
pub fn parse_base_path(text: &str) -> Result<Vec<PathPattern>, PatternError> {
    let patterns = parse_path(text)?;
    let has_rest = |pattern: &PathPattern| pattern.segments().contains(&Segment::Rest);
    if patterns.iter().any(has_rest) {
        return Err(PatternError::RestInBase);
    }
    Ok(patterns)
}

/// Returns every base path joined with every path, each pattern once.
///
/// # Errors
///
/// [`PatternError::VariableTwice`] where both name the same variable, [`PatternError::TooMany`].
pub fn join(
    base_paths: &[PathPattern],
    paths: &[PathPattern],
) -> Result<Vec<PathPattern>, PatternError> {
    if base_paths.len() * paths.len() > MAX_EXPANSIONS {
        return Err(PatternError::TooMany);
    }
    let joined = base_paths.iter().flat_map(|base| {
        paths.iter().map(|path| {
            let segments = [base.segments(), path.segments()].concat();
            distinct_variables(&segments)?;
            Ok(segments)
        })
    });
    unique(joined).map(|patterns| patterns.into_iter().map(PathPattern::new).collect())
}

/// Returns the patterns that a host stands for.
///
/// # Errors
///
/// [`PatternError`] names the first offence.
pub fn parse_host(text: &str) -> Result<Vec<HostPattern>, PatternError> {
    if text == "_" {
        return Ok(vec![HostPattern::Any]);
    }
    if text == "*" {
        return Err(PatternError::Star);
    }
    let expansions = expand(text)?;
    unique(expansions.iter().map(|text| host_labels(text)))
        .map(|patterns| patterns.into_iter().map(HostPattern::Labels).collect())
}

fn unique(
    patterns: impl Iterator<Item = Result<Vec<Segment>, PatternError>>,
) -> Result<Vec<Vec<Segment>>, PatternError> {
    let mut seen = Vec::new();
    for pattern in patterns {
        let pattern = pattern?;
        if !seen.contains(&pattern) {
            seen.push(pattern);
        }
    }
    Ok(seen)
}

/// Returns the texts that `text` stands for, those with the optional parts first.
fn expand(text: &str) -> Result<Vec<String>, PatternError> {
    if let Some(control) = text.chars().find(|c| c.is_control()) {
        return Err(PatternError::Character(control));
    }
    let text = text.replace("[...]", "\u{0}");
    let mut rest = text.chars();
    let expansions = sequence(&mut rest, 0)?;
    match rest.next() {
        None => Ok(expansions),
        Some(_) => Err(PatternError::Bracket),
    }
}

/// Expands up to the end or, inside brackets, up to and with the closing one.
fn sequence(rest: &mut std::str::Chars<'_>, depth: usize) -> Result<Vec<String>, PatternError> {
    if depth > MAX_BRACKETS {
        return Err(PatternError::TooMany);
    }
    let mut texts = vec![String::new()];
    loop {
        match rest.next() {
            None if depth == 0 => return Ok(texts),
            Some(']') if depth > 0 => return Ok(texts),
            None | Some(']') => return Err(PatternError::Bracket),
            Some('[') => {
                let inner = sequence(rest, depth + 1)?;
                if texts.len() * (inner.len() + 1) > MAX_EXPANSIONS {
                    return Err(PatternError::TooMany);
                }
                let with = texts
                    .iter()
                    .flat_map(|text| inner.iter().map(move |inner| format!("{text}{inner}")));
                texts = with.chain(texts.iter().cloned()).collect();
            }
            Some(character) => texts.iter_mut().for_each(|text| text.push(character)),
        }
    }
}

fn path_segments(text: &str) -> Result<Vec<Segment>, PatternError> {
    if !(text.is_empty() || text.starts_with('/') || text == "\u{0}") {
        return Err(PatternError::NoSlash);
    }
    let mut segments = Vec::new();
    // Doubled slashes collapse, and a slash at the end makes no difference.
    for part in text.split('/').filter(|part| !part.is_empty()) {
        if segments.last() == Some(&Segment::Rest) {
            return Err(PatternError::Rest);
        }
        segments.push(path_segment(part)?);
    }
    distinct_variables(&segments)?;
    Ok(segments)
}

fn path_segment(part: &str) -> Result<Segment, PatternError> {
    if part == "\u{0}" {
        return Ok(Segment::Rest);
    }
    if part.contains(REST) {
        return Err(PatternError::Rest);
    }
    if let Some(name) = part.strip_prefix(':') {
        return variable(name);
    }
    if part == "." || part == ".." {
        return Err(PatternError::DotSegment(part.to_owned()));
    }
    let forbidden = |c: char| c.is_whitespace() || matches!(c, '?' | '#' | '{' | '}' | '*' | '\\');
    if let Some(character) = part.chars().find(|c| forbidden(*c)) {
        return Err(PatternError::Character(character));
    }
    // Requests are matched decoded, so a literal is kept decoded too.
    let encoded = || PatternError::PercentEncoding(part.to_owned());
    let mut after = part.split('%');
    after.next();
    for escape in after {
        let is_hex = |byte: &u8| byte.is_ascii_hexdigit();
        if !escape
            .as_bytes()
            .get(..2)
            .is_some_and(|two| two.iter().all(is_hex))
        {
            return Err(encoded());
        }
    }
    let decoded = percent_encoding::percent_decode_str(part)
        .decode_utf8()
        .map_err(|_| encoded())?;
    Ok(Segment::Literal(decoded.into_owned()))
}

fn host_labels(text: &str) -> Result<Vec<Segment>, PatternError> {
    let mut labels = Vec::new();
    let text = match text.strip_prefix(REST) {
        Some(after) => {
            labels.push(Segment::Rest);
            after
        }
        None => text,
    };
    let text = text.strip_prefix('.').unwrap_or(text);
    let text = text.strip_suffix('.').unwrap_or(text);
    let text = match text.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => text,
    };
    if text.is_empty() && !labels.is_empty() {
        return Ok(labels);
    }
    for label in text.split('.') {
        labels.push(match label.strip_prefix(':') {
            _ if label.is_empty() => return Err(PatternError::EmptyLabel),
            _ if label.contains(REST) => return Err(PatternError::Rest),
            Some(name) => variable(name)?,
            None => {
                let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                if let Some(character) = label.chars().find(|c| !allowed(*c)) {
                    return Err(PatternError::Character(character));
                }
                Segment::Literal(label.to_ascii_lowercase())
            }
        });
    }
    distinct_variables(&labels)?;
    Ok(labels)
}

fn variable(name: &str) -> Result<Segment, PatternError> {
    let allowed = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(allowed) {
        return Err(PatternError::VariableName(name.replace(REST, "[...]")));
    }
    Ok(Segment::Variable(name.to_owned()))
}

fn distinct_variables(segments: &[Segment]) -> Result<(), PatternError> {
    let mut seen = Vec::new();
    for segment in segments {
        if let Segment::Variable(name) = segment {
            if seen.contains(&name) {
                return Err(PatternError::VariableTwice(name.clone()));
            }
            seen.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Result<Vec<String>, PatternError> {
        parse_path(text).map(|patterns| patterns.iter().map(ToString::to_string).collect())
    }

    fn hosts(text: &str) -> Result<Vec<String>, PatternError> {
        parse_host(text).map(|patterns| patterns.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn brackets_are_expanded_and_slashes_collapsed() {
        for (text, expected) in [
            ("/", &["/"] as &[&str]),
            ("/a/b/", &["/a/b"]),
            ("//a///b", &["/a/b"]),
            ("/[v1.0]/things", &["/v1.0/things", "/things"]),
            ("[/v1]", &["/v1", "/"]),
            ("/a[/b[/c]]", &["/a/b/c", "/a/b", "/a"]),
            ("/item[s]/:id", &["/items/:id", "/item/:id"]),
            ("/[a]/[a]", &["/a/a", "/a", "/"]),
            ("/files/[...]", &["/files/[...]"]),
            ("/[...]", &["/[...]"]),
            ("/a[/[...]]", &["/a/[...]", "/a"]),
            ("/a:b/:c_d-e", &["/a:b/:c_d-e"]),
            ("/caf%C3%A9", &["/café"]),
        ] {
            assert_eq!(paths(text).as_deref(), Ok(&own(expected)[..]), "{text}");
        }
    }

    fn own(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_is_no_path_pattern_says_why() {
        use PatternError as E;
        for (text, error) in [
            ("a", E::NoSlash),
            ("[v1]/a", E::NoSlash),
            ("/a[", E::Bracket),
            ("/a]", E::Bracket),
            ("/[...]/a", E::Rest),
            ("/a[...]", E::Rest),
            ("/:", E::VariableName(String::new())),
            ("/:a.b", E::VariableName("a.b".to_owned())),
            ("/:a/:a", E::VariableTwice("a".to_owned())),
            ("/../a", E::DotSegment("..".to_owned())),
            ("/a?b", E::Character('?')),
            ("/a b", E::Character(' ')),
            ("/{id}", E::Character('{')),
            ("/a\u{0}", E::Character('\u{0}')),
            ("/%zz", E::PercentEncoding("%zz".to_owned())),
            ("/%ff", E::PercentEncoding("%ff".to_owned())),
            ("/[a][b][c][d][e][f][g]", E::TooMany),
        ] {
            assert_eq!(parse_path(text), Err(error), "{text}");
        }
        assert_eq!(parse_base_path("/[...]"), Err(E::RestInBase));
        let nested = format!("/{}{}", "[a".repeat(100_000), "]".repeat(100_000));
        assert_eq!(parse_path(&nested), Err(E::TooMany));
    }

    #[test]
    fn base_path_and_path_are_joined() {
        let base = parse_base_path("/[v1.0]").unwrap();
        let path = parse_path("/things/:id").unwrap();
        let joined = join(&base, &path).unwrap();
        let joined: Vec<String> = joined.iter().map(ToString::to_string).collect();
        assert_eq!(joined, ["/v1.0/things/:id", "/things/:id"]);
        let base = parse_base_path("/:id").unwrap();
        assert!(join(&base, &path).is_err());
    }

    #[test]
    fn hosts_are_labels() {
        for (text, expected) in [
            ("_", &["_"] as &[&str]),
            ("Example.ORG", &["example.org"]),
            (".example.org.", &["example.org"]),
            ("example.org:8080", &["example.org"]),
            ("[www.]example.org", &["www.example.org", "example.org"]),
            ("[...].example.org", &["[...].example.org"]),
            ("[...]example.org", &["[...].example.org"]),
            (":tenant.example.org", &[":tenant.example.org"]),
            ("127.0.0.1", &["127.0.0.1"]),
        ] {
            assert_eq!(hosts(text).as_deref(), Ok(&own(expected)[..]), "{text}");
        }
        for text in [
            "",
            "a..b",
            "a.[...]",
            "*",
            "a b",
            "http://a",
            "münchen.de",
            "[a",
        ] {
            assert!(parse_host(text).is_err(), "{text}");
        }
    }
}
