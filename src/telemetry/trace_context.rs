//! The place of a request in a trace, as the headers `traceparent` and `tracestate` carry it.
//!
//! Both are read strictly: what is not exactly as the standard has it does not count as there. A
//! trace that nobody can follow is better than one that leads somewhere else.
//!
//! Reference: W3C Trace Context, Level 1, "Trace Context HTTP Headers Format".

use std::fmt;

use http::{HeaderMap, HeaderName};

/// The header that names the trace and the caller's place in it.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with what tracing systems keep for themselves.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Names one trace. Never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// Names one span within its trace. Never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// Draws a new id.
    pub(super) fn random() -> Self {
        // All zero is no id; a one in a place of its own costs no chance worth naming.
        Self(fastrand::u128(1..).to_be_bytes())
    }

    pub(super) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl SpanId {
    /// Draws a new id.
    pub(super) fn random() -> Self {
        Self(fastrand::u64(1..).to_be_bytes())
    }

    pub(super) fn bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

/// The flag by which a caller says that it may have recorded its part of the trace.
const SAMPLED: u8 = 0x01;
/// The flag of Level 2 by which the trace's beginner says that its id is random.
const RANDOM: u8 = 0x02;

/// A trace, and the span in it that caused what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    flags: u8,
}

impl TraceParent {
    /// Begins a trace.
    pub(super) fn new(is_sampled: bool) -> Self {
        Self {
            trace_id: TraceId::random(),
            span_id: SpanId::random(),
            flags: u8::from(is_sampled) * SAMPLED,
        }
    }

    /// Returns the place of a new span below this one.
    pub(super) fn child(&self, is_sampled: bool) -> Self {
        Self {
            trace_id: self.trace_id,
            span_id: SpanId::random(),
            flags: (self.flags & RANDOM) | (u8::from(is_sampled) * SAMPLED),
        }
    }

    /// Returns whether it is said to be recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    pub(super) fn flags(&self) -> u8 {
        self.flags
    }

    /// Reads the value of a `traceparent`; none if it is not valid.
    ///
    /// A version that is not known yet is read by what it shares with version 0, as the standard
    /// wants it; what it has beyond that is not passed on.
    pub fn parse(text: &[u8]) -> Option<Self> {
        const LENGTH: usize = 55;
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let [version] = hex(&known[..2])?;
        match version {
            0 if !rest.is_empty() => return None,
            0xff => return None,
            _ if rest.first().is_some_and(|byte| *byte != b'-') => return None,
            _ => {}
        }
        if [known[2], known[35], known[52]] != [b'-'; 3] {
            return None;
        }
        let trace_id: [u8; 16] = hex(&known[3..35])?;
        let span_id: [u8; 8] = hex(&known[36..52])?;
        let [flags] = hex(&known[53..])?;
        if trace_id == [0; 16] || span_id == [0; 8] {
            return None;
        }
        Some(Self {
            trace_id: TraceId(trace_id),
            span_id: SpanId(span_id),
            // What the others mean is not known, so they must not be passed on.
            flags: flags & (SAMPLED | RANDOM),
        })
    }
}

/// As a `traceparent` of version 0.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id,
            span_id,
            flags,
        } = self;
        write!(f, "00-{trace_id}-{span_id}-{flags:02x}")
    }
}

/// Reads lower-case hexadecimal digits: others are not allowed here.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    data_encoding::HEXLOWER
        .decode_mut(digits, &mut bytes)
        .ok()?;
    Some(bytes)
}

/// What came with a request, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace and the caller's span.
    pub parent: TraceParent,
    /// What tracing systems keep for themselves, in one line; none if there is nothing valid.
    pub state: Option<Box<str>>,
}

impl TraceContext {
    /// Reads the context of a request; none if there is no valid one. A `tracestate` that is not
    /// valid is left out, and one without a valid `traceparent` means nothing.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let parent = TraceParent::parse(lines.next()?.as_bytes())?;
        if lines.next().is_some() {
            // Which of them?
            return None;
        }
        let lines = headers.get_all(TRACESTATE).iter();
        let state = state(lines.map(http::HeaderValue::as_bytes));
        Some(Self { parent, state })
    }
}

/// Most members of a `tracestate`.
const MAX_MEMBERS: usize = 32;
/// What is passed on of a `tracestate` in any case, in bytes; more is not.
const MAX_STATE_LENGTH: usize = 512;
/// Members longer than this are the first to go.
const LONG_MEMBER: usize = 128;

/// Joins the lines of `tracestate`, checked. None if one member is invalid, or if nothing is there.
///
/// Reference: the same, "tracestate Header", "Limits".
fn state<'h>(lines: impl Iterator<Item = &'h [u8]>) -> Option<Box<str>> {
    let mut members: Vec<&str> = Vec::new();
    for line in lines {
        for member in std::str::from_utf8(line).ok()?.split(',') {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let is_new = members.iter().all(|known| {
                let (known, _) = known.split_once('=').unwrap_or_default();
                known != key
            });
            if !is_new || !is_key(key) || !is_state_value(value) || members.len() == MAX_MEMBERS {
                return None;
            }
            members.push(member);
        }
    }
    // With the commas; the newest stand first, so the oldest are given up.
    let length = |members: &[&str]| members.iter().map(|it| it.len() + 1).sum::<usize>();
    while length(&members) > MAX_STATE_LENGTH + 1 {
        let long = members.iter().rposition(|it| it.len() > LONG_MEMBER);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    (!members.is_empty()).then(|| members.join(",").into())
}

/// `name` or `tenant@system`, each with its own limit of length.
fn is_key(key: &str) -> bool {
    let is_rest = |text: &str| {
        let fits = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte)
        };
        text.bytes().all(fits)
    };
    let begins_with_letter = |text: &str| text.starts_with(|c: char| c.is_ascii_lowercase());
    match key.split_once('@') {
        Some((tenant, system)) => {
            (1..=241).contains(&tenant.len())
                && tenant.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && is_rest(tenant)
                && (1..=14).contains(&system.len())
                && begins_with_letter(system)
                && is_rest(system)
        }
        None => key.len() <= 256 && begins_with_letter(key) && is_rest(key),
    }
}

/// Printable ASCII but for `,` and `=`, not empty; spaces around it are gone already.
fn is_state_value(value: &str) -> bool {
    let fits = |byte: u8| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(fits)
}

#[cfg(test)]
mod tests;
