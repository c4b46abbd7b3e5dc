//! Traces: what became of a request, for whoever follows it through a tracing system.
//!
//! ```text
//! traceparent ─► Tracer::begin ─► RequestTrace ─► AttemptSpan, one for each call or publish
//!                                      │ end            │ end
//!                                      ▼                ▼
//!                                 a bounded queue ─► export.rs, in batches ─► the collector
//! ```
//!
//! Off unless an endpoint is configured. Then a context that came with a request is passed on as it
//! is, its trace is named in the log, and a request without one costs the look at one header.
//!
//! Why by hand. The OpenTelemetry crates would bring 22 crates, among them a second `rand`, for what
//! is four short files here: `trace_context.rs` (the headers), `span.rs` (what a span says),
//! `otlp.rs` (how it is written) and `export.rs`. They read variables of the environment behind the
//! configuration's back, run the exporter on a thread of its own, and tell neither how many spans
//! were lost nor why. That what is written is OTLP, tests check with the published types.
//!
//! Reference: OpenTelemetry, "Trace Semantic Conventions"; W3C Trace Context, Level 1.

mod endpoint;
mod export;
mod otlp;
mod span;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use crate::telemetry::trace_context::{SpanId, TraceContext, TraceId, TraceParent};
pub use endpoint::{Endpoint, EndpointError};
pub use export::{Counts, Exporter, StartError};
pub use span::{Asked, Attempt, AttemptSpan};

use export::Queue;
use span::Moment;

/// What is traced, and where it goes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where spans are sent; none: nothing is recorded.
    pub endpoint: Option<Endpoint>,
    /// Headers of each request to the collector.
    pub headers: Vec<Header>,
    /// A file with more of them, a `name=value` a line, read anew for each batch.
    pub headers_file: Option<PathBuf>,
    /// Which part of the traces that begin here is recorded, from 0 to 1.
    pub sample_ratio: f64,
    /// Whether anybody's decision to record is followed, not only that of trusted proxies.
    pub trust_incoming: bool,
    /// Who we are, as `service.name`.
    pub service_name: String,
    /// What else describes this process.
    pub resource_attributes: Vec<(String, String)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: Vec::new(),
            headers_file: None,
            sample_ratio: 1.0,
            trust_incoming: false,
            service_name: "wampgate".to_owned(),
            resource_attributes: Vec::new(),
        }
    }
}

/// A header whose value is nobody's business: it is usually a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    value: HeaderValue,
}

impl Header {
    /// Reads `name=value`, the value percent-encoded where it has to be. None if it is not that.
    ///
    /// Reference: OpenTelemetry Protocol Exporter, "Specifying headers via environment variables".
    pub fn parse(text: &str) -> Option<Self> {
        let (name, value) = pair(text)?;
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some(Self {
            name: name.parse().ok()?,
            value,
        })
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=***", self.name)
    }
}

/// Reads `key=value`, the value percent-encoded where it has to be, as OpenTelemetry writes lists in
/// variables. None if there is no key or the value is no text.
pub fn pair(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8();
    let key = key.trim();
    (!key.is_empty()).then_some((key.to_owned(), value.ok()?.into_owned()))
}

/// Writes a value so that [`pair`] reads it back, within a list separated by commas too.
pub fn encoded(value: &str) -> String {
    const ODD: percent_encoding::AsciiSet =
        percent_encoding::CONTROLS.add(b' ').add(b',').add(b'%');
    percent_encoding::utf8_percent_encode(value, &ODD).to_string()
}

/// Tracing at work. The default records nothing.
#[derive(Debug, Default)]
pub struct Traces {
    /// Decides what is recorded.
    pub tracer: Tracer,
    /// Sends it, where anything is recorded. Its owner stops it last, when no request is in flight
    /// any more.
    pub exporter: Option<Exporter>,
}

impl Traces {
    /// Starts what the configuration says.
    ///
    /// # Errors
    ///
    /// [`StartError`]: TLS cannot be had. A collector that does not answer is no error, here or
    /// ever: it is logged, and spans are lost.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let Some(endpoint) = config.endpoint.clone() else {
            return Ok(Self::default());
        };
        let (sample_ratio, trust_incoming) = (config.sample_ratio, config.trust_incoming);
        let (queue, exporter) = export::start(endpoint, config)?;
        let recorder = Recorder {
            sample_ratio,
            trust_incoming,
            queue,
        };
        Ok(Self {
            tracer: Tracer(Some(Arc::new(recorder))),
            exporter: Some(exporter),
        })
    }
}

/// Decides what is recorded. Cheap to clone. The default records nothing.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

#[derive(Debug)]
struct Recorder {
    sample_ratio: f64,
    trust_incoming: bool,
    queue: Queue,
}

impl Tracer {
    /// Begins the trace of a request, or goes on with the one that its headers name.
    ///
    /// Whether it is recorded is decided by whoever began it only if that is somebody we trust:
    /// `is_trusted`, or the configuration's `trust_incoming`. For others we draw lots ourselves; not
    /// by the trace's id, as samplers usually do, because the client has chosen that.
    pub fn begin(&self, headers: &HeaderMap, is_trusted: bool) -> RequestTrace {
        let incoming = TraceContext::from_headers(headers);
        let Some(recorder) = &self.0 else {
            // No part of the trace: what came is passed on as it is.
            return RequestTrace(incoming.map(|TraceContext { parent, state }| {
                Box::new(Place {
                    here: parent,
                    state,
                    recording: None,
                })
            }));
        };
        let draw = || fastrand::f64() < recorder.sample_ratio;
        let is_sampled = match &incoming {
            Some(context) if is_trusted || recorder.trust_incoming => context.parent.is_sampled(),
            _ => draw(),
        };
        let parent = incoming.as_ref().map(|context| context.parent);
        let here = match parent {
            Some(parent) => parent.child(is_sampled),
            None => TraceParent::new(is_sampled),
        };
        let recording = is_sampled.then(|| Recording {
            recorder: recorder.clone(),
            caller: parent.map(|parent| parent.span_id),
            started: Moment::now(),
        });
        RequestTrace(Some(Box::new(Place {
            here,
            state: incoming.and_then(|context| context.state),
            recording,
        })))
    }

    /// Returns what became of spans so far; none where nothing is recorded.
    pub fn counts(&self) -> Option<Counts> {
        self.0.as_ref().map(|recorder| recorder.queue.counts())
    }
}

/// The trace of one request. Empty if there is none.
#[derive(Debug, Default)]
pub struct RequestTrace(Option<Box<Place>>);

/// Where in a trace we are.
#[derive(Debug)]
struct Place {
    /// Our own span, or the caller's where we have none.
    here: TraceParent,
    state: Option<Box<str>>,
    recording: Option<Recording>,
}

/// What a span needs until its end.
#[derive(Debug)]
struct Recording {
    recorder: Arc<Recorder>,
    /// Whoever sent us the request.
    caller: Option<SpanId>,
    started: Moment,
}

impl RequestTrace {
    /// No trace.
    pub const NONE: Self = Self(None);

    /// Returns the trace's id, if there is a trace.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.0.as_ref().map(|place| place.here.trace_id)
    }
}

#[cfg(test)]
mod tests;
