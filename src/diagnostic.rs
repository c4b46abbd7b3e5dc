//! Findings about text that a person wrote: where, what, and what to do about it.

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
