//! Spans as the body of an OTLP request, and what is of interest of its answer: protocol buffers.
//!
//! Written by hand, as there are a dozen fields to be written and one to be read. Field numbers are
//! those of `opentelemetry/proto/collector/trace/v1/trace_service.proto` and what it uses, which are
//! stable; fields that are not there have their default.
//!
//! Reference: OTLP 1.x, "OTLP/HTTP"; Protocol Buffers, "Encoding".

use super::span::{Attribute, Kind, Span};

/// Writes one request with all of `spans`.
pub(super) fn request(resource: &[(String, String)], spans: &[Span]) -> Vec<u8> {
    let mut body = Writer(Vec::with_capacity(256 + 384 * spans.len()));
    // ExportTraceServiceRequest.resource_spans
    body.message(1, |it| {
        // ResourceSpans.resource
        it.message(1, |it| {
            for (key, value) in resource {
                it.attribute(1, key, |it| it.text(1, value));
            }
        });
        // ResourceSpans.scope_spans
        it.message(2, |it| {
            // ScopeSpans.scope
            it.message(1, |it| {
                it.text(1, env!("CARGO_PKG_NAME"));
                it.text(2, env!("CARGO_PKG_VERSION"));
            });
            for span in spans {
                it.message(2, |it| it.span(span));
            }
        });
    });
    body.0
}

/// The flag of a span whose parent is known to be in another process or in this one.
const HAS_IS_REMOTE: u32 = 0x100;
/// And that it is in another one.
const IS_REMOTE: u32 = 0x200;

struct Writer(Vec<u8>);

impl Writer {
    fn span(&mut self, span: &Span) {
        self.bytes(1, span.here.trace_id.bytes());
        self.bytes(2, span.here.span_id.bytes());
        if let Some(state) = &span.state {
            self.text(3, state);
        }
        if let Some(parent) = &span.parent {
            self.bytes(4, parent.bytes());
        }
        self.text(5, &span.name);
        self.number(
            6,
            match span.kind {
                Kind::Server => 2,
                Kind::Client => 3,
                Kind::Producer => 4,
            },
        );
        self.fixed64(7, span.start);
        self.fixed64(8, span.end);
        for (key, value) in &span.attributes {
            self.attribute(9, key, |it| match value {
                Attribute::Text(text) => it.text(1, text),
                Attribute::Number(number) => it.number(3, number.cast_unsigned()),
            });
        }
        if span.is_error {
            // Status.code = STATUS_CODE_ERROR
            self.message(15, |it| it.number(3, 2));
        }
        let mut flags = u32::from(span.here.flags());
        if span.parent.is_some() {
            flags |= HAS_IS_REMOTE | if span.is_parent_remote { IS_REMOTE } else { 0 };
        }
        self.fixed32(16, flags);
    }

    /// A `KeyValue`.
    fn attribute(&mut self, field: u64, key: &str, value: impl FnOnce(&mut Self)) {
        self.message(field, |it| {
            it.text(1, key);
            it.message(2, value);
        });
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        self.varint(field << 3 | 2);
        let start = self.0.len();
        write(self);
        // The length stands before what it is of, in as many bytes as it needs: what was written
        // moves along, once for each message around it, of which there are few.
        let mut length = Writer(Vec::new());
        length.varint((self.0.len() - start) as u64);
        self.0.splice(start..start, length.0);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3);
        self.varint(number);
    }

    fn fixed64(&mut self, field: u64, number: u64) {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn fixed32(&mut self, field: u64, number: u32) {
        self.varint(field << 3 | 5);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }
}

/// Returns how many spans a collector says in its answer that it did not take: those of
/// `ExportTraceServiceResponse.partial_success.rejected_spans`. What cannot be read says none.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let Some(Value::Bytes(partial)) = field(answer, 1) else {
        return 0;
    };
    match field(partial, 1) {
        Some(Value::Number(count)) => count,
        _ => 0,
    }
}

enum Value<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

/// Finds a field of a message.
fn field(mut message: &[u8], wanted: u64) -> Option<Value<'_>> {
    while !message.is_empty() {
        let key = read_varint(&mut message)?;
        let value = match key & 7 {
            0 => Value::Number(read_varint(&mut message)?),
            1 => Value::Bytes(message.split_off(..8)?),
            2 => {
                let length = usize::try_from(read_varint(&mut message)?).ok()?;
                Value::Bytes(message.split_off(..length)?)
            }
            5 => Value::Bytes(message.split_off(..4)?),
            _ => return None,
        };
        if key >> 3 == wanted {
            return Some(value);
        }
    }
    None
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests;
