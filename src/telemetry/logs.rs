//! Events as lines on a standard stream: text for people, JSON for machines.
//!
//! ```text
//! 2026-11-21T11:17:12.120Z  INFO listening on 127.0.0.1:18080
//! 2026-11-21T11:17:13.402Z  INFO GET /market/hat 200 in 2.31 ms request_id=0193... route=/market/:name ...
//! ```
//!
//! A message can be read alone; fields repeat what is in it for those who search. In text, what the
//! message of an access line says already is left out. Whatever a client can choose is escaped, so
//! that no value can pass for another line.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use crate::telemetry::ACCESS;
use crate::telemetry::sink::Sink;
use crate::value::{Map, Value};

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Text on a terminal, else JSON.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stream {
    /// Standard output: the lines are what the program has to say.
    #[default]
    Stdout,
    /// Standard error, where standard output is for something else.
    Stderr,
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where lines go.
    pub stream: Stream,
    /// What a line looks like.
    pub format: Format,
    /// A level (`info`), or a filter by target in the syntax of `tracing`'s `EnvFilter`
    /// (`info,wampgate::wamp=debug`). A level alone is for our own events: of the libraries below
    /// us only warnings are shown, since their notion of debugging is not an operator's.
    pub level: String,
    /// Whether text on a terminal may be coloured; `NO_COLOR` is the caller's to read.
    pub colour: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stream: Stream::Stdout,
            format: Format::Auto,
            level: "info".to_owned(),
            colour: true,
        }
    }
}

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The level is neither a level nor a filter.
    #[error("`{level}` is neither a log level (error, warn, info, debug, trace) nor a filter")]
    Level {
        /// As it was written.
        level: String,
    },
    /// Something in this process logs already.
    #[error("logging has been started already")]
    Started,
    /// The thread that writes the lines.
    #[error("cannot start the thread that writes logs")]
    Thread(#[source] io::Error),
}

/// Logging at work. Its drop waits a moment for the lines that are not written yet; what is logged
/// later may be lost.
#[derive(Debug)]
#[must_use = "the last lines may be lost without it"]
pub struct Logs(Sink);

/// Longest wait for the last lines: whoever does not read them by then does not read them at all.
const LAST_LINES: Duration = Duration::from_secs(1);

impl Drop for Logs {
    fn drop(&mut self) {
        self.0.flush(LAST_LINES);
    }
}

/// Starts logging, for the whole process.
///
/// # Errors
///
/// [`LogsError`].
pub fn init(config: &Config) -> Result<Logs, LogsError> {
    let (is_terminal, sink) = match config.stream {
        Stream::Stdout => (io::stdout().is_terminal(), Sink::start(io::stdout())),
        Stream::Stderr => (io::stderr().is_terminal(), Sink::start(io::stderr())),
    };
    let sink = sink.map_err(LogsError::Thread)?;
    let writer = sink.clone();
    let (subscriber, filter) = subscriber(config, is_terminal, move || writer.clone())?;
    subscriber.try_init().map_err(|_| LogsError::Started)?;
    // Nobody was faster: only one can init.
    drop(FILTER.set(filter));
    Ok(Logs(sink))
}

/// The filter of the process's logs, as they are the process's.
static FILTER: OnceLock<Handle<EnvFilter, Registry>> = OnceLock::new();

/// Logs from another level on from now on; see [`Config::level`]. Does nothing where no logs were
/// started.
///
/// # Errors
///
/// [`LogsError::Level`].
pub fn set_level(level: &str) -> Result<(), LogsError> {
    let filter = filter(level)?;
    if let Some(handle) = FILTER.get() {
        // It fails when the subscriber is gone, and then there are no logs.
        handle.reload(filter).ok();
    }
    Ok(())
}

fn filter(level: &str) -> Result<EnvFilter, LogsError> {
    let filter = match level.parse::<Level>() {
        Ok(level) => format!("warn,wampgate={level}"),
        Err(_) => level.to_owned(),
    };
    EnvFilter::try_new(filter).map_err(|_| LogsError::Level {
        level: level.to_owned(),
    })
}

fn subscriber<W>(
    config: &Config,
    is_terminal: bool,
    writer: W,
) -> Result<
    (
        impl Subscriber + Send + Sync + 'static,
        Handle<EnvFilter, Registry>,
    ),
    LogsError,
>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(&config.level)?);
    let lines = Lines {
        is_json: match config.format {
            Format::Auto => !is_terminal,
            Format::Text => false,
            Format::Json => true,
        },
    };
    let plain_fields = debug_fn(|writer, field, value| write!(writer, "{field}={value:?}"));
    let plain_fields = plain_fields.delimited(" ");
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(config.colour && is_terminal && !lines.is_json)
        .with_writer(writer)
        // The usual one colours, and what comes from clients is escaped below.
        .fmt_fields(plain_fields)
        .event_format(lines);
    let subscriber = tracing_subscriber::registry().with(filter).with(layer);
    Ok((subscriber, handle))
}

struct Lines {
    is_json: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut spans = String::new();
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(|it| it.from_root())
        {
            let extensions = span.extensions();
            if let Some(of_span) = extensions.get::<FormattedFields<N>>() {
                spans.push(' ');
                spans.push_str(of_span);
            }
        }
        let metadata = event.metadata();
        let spans = spans.trim_start();
        if self.is_json {
            write_json(&mut writer, metadata, fields, spans)
        } else {
            write_text(&mut writer, metadata, &fields, spans)
        }
    }
}

fn write_json(
    writer: &mut Writer<'_>,
    metadata: &tracing::Metadata<'_>,
    fields: Fields,
    spans: &str,
) -> fmt::Result {
    let mut time = String::new();
    SystemTime.format_time(&mut Writer::new(&mut time))?;
    let mut line = Map::new();
    line.insert("ts".to_owned(), Value::Text(time));
    let level = metadata.level().as_str().to_ascii_lowercase();
    line.insert("level".to_owned(), Value::Text(level));
    // The fields of an access line say all that there is to say.
    if metadata.target() != ACCESS {
        line.insert("message".to_owned(), Value::Text(fields.message));
    }
    line.insert("target".to_owned(), Value::from(metadata.target()));
    if !spans.is_empty() {
        line.insert("span".to_owned(), Value::from(spans));
    }
    line.extend(fields.others);
    writeln!(writer, "{}", Value::Map(line))
}

/// What the message of an access line says already.
const IN_ACCESS_MESSAGE: [&str; 4] = ["method", "path", "status", "duration_ms"];

fn write_text(
    writer: &mut Writer<'_>,
    metadata: &tracing::Metadata<'_>,
    fields: &Fields,
    spans: &str,
) -> fmt::Result {
    let is_coloured = writer.has_ansi_escapes();
    let (dim, plain) = if is_coloured {
        ("\x1b[2m", "\x1b[0m")
    } else {
        ("", "")
    };
    let colour = match *metadata.level() {
        _ if !is_coloured => "",
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[34m",
    };
    writer.write_str(dim)?;
    SystemTime.format_time(writer)?;
    write!(writer, "{plain} {colour}{:>5}{plain} ", metadata.level())?;
    write_escaped(writer, &fields.message)?;
    writer.write_str(dim)?;
    for (name, value) in &fields.others {
        if metadata.target() == ACCESS && IN_ACCESS_MESSAGE.contains(&name.as_str()) {
            continue;
        }
        write!(writer, " {name}=")?;
        match value {
            Value::Text(text) if is_plain(text) => writer.write_str(text)?,
            Value::Text(text) => write!(writer, "{text:?}")?,
            other => write!(writer, "{other}")?,
        }
    }
    if !spans.is_empty() {
        writer.write_char(' ')?;
        write_escaped(writer, spans)?;
    }
    writeln!(writer, "{plain}")
}

fn is_plain(text: &str) -> bool {
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '"' | '=');
    !text.is_empty() && !text.contains(is_odd)
}

fn write_escaped(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    for character in text.chars() {
        if character.is_control() {
            write!(writer, "{}", character.escape_default())?;
        } else {
            writer.write_char(character)?;
        }
    }
    Ok(())
}

/// The fields of an event, in its order.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map,
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.others.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.put(field, format!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{self, Access};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for Buffer {
        type Writer = Buffer;

        fn make_writer(&'w self) -> Buffer {
            self.clone()
        }
    }

    /// What `log` writes, without the time, which stands first.
    fn logged(format: Format, level: &str, is_terminal: bool, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let config = Config {
            stream: Stream::Stdout,
            format,
            level: level.to_owned(),
            colour: false,
        };
        let (subscriber, _) = subscriber(&config, is_terminal, buffer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| {
            let time = line.trim_start_matches("{\"ts\":\"");
            assert!(
                time.starts_with("20") && time.as_bytes()[10] == b'T',
                "{line}"
            );
            let end = time.find(['"', ' ']).unwrap();
            &time[end + 1..]
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn one_request() {
        telemetry::access(&Access {
            request_id: "r1",
            trace_id: None,
            realm: Some("com.example.market"),
            api: Some("market"),
            version: None,
            route: Some("/market/:name"),
            method: "GET",
            path: "/market/hat",
            status: 404,
            error_uri: Some("bondy.error.not_found"),
            bytes_in: None,
            bytes_out: Some(120),
            duration: Duration::from_micros(2314),
            backend: Some(Duration::from_micros(2000)),
            client_ip: "127.0.0.1".parse().unwrap(),
            user_agent: Some("curl/8 (\"x\"\n)"),
        });
    }

    #[test]
    fn an_access_line_for_people_says_nothing_twice() {
        assert_eq!(
            logged(Format::Text, "info", true, one_request),
            " INFO GET /market/hat 404 in 2.314 ms request_id=r1 realm=com.example.market \
             api=market route=/market/:name error_uri=bondy.error.not_found bytes_out=120 \
             duration_backend_ms=2.0 client_ip=127.0.0.1 ua=\"curl/8 (\\\"x\\\"\\n)\""
        );
    }

    #[test]
    fn an_access_line_for_machines_has_every_field_with_its_type() {
        assert_eq!(
            logged(Format::Json, "info", true, one_request),
            concat!(
                r#","level":"info","target":"wampgate::access","request_id":"r1","#,
                r#""realm":"com.example.market","api":"market","route":"/market/:name","#,
                r#""method":"GET","path":"/market/hat","status":404,"#,
                r#""error_uri":"bondy.error.not_found","bytes_out":120,"duration_ms":2.314,"#,
                r#""duration_backend_ms":2.0,"client_ip":"127.0.0.1","#,
                r#""ua":"curl/8 (\"x\"\n)"}"#
            )
        );
    }

    #[test]
    fn auto_is_text_on_a_terminal_only() {
        let say = || tracing::info!("hello");
        assert_eq!(logged(Format::Auto, "info", true, say), " INFO hello");
        assert!(logged(Format::Auto, "info", false, say).ends_with("logs::tests\"}"));
    }

    #[test]
    fn events_within_a_request_carry_its_id() {
        let within =
            || telemetry::request_span("r1", None).in_scope(|| tracing::warn!(a = 1, "odd"));
        assert_eq!(
            logged(Format::Text, "info", true, within),
            " WARN odd a=1 request.id=\"r1\""
        );
        assert!(
            logged(Format::Json, "info", true, within).contains(r#""span":"request.id=\"r1\"""#)
        );
    }

    #[test]
    fn colour_is_for_terminals_and_never_in_the_middle_of_a_value() {
        let buffer = Buffer::default();
        let (subscriber, _) = subscriber(&Config::default(), true, buffer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            telemetry::request_span("r1", None).in_scope(|| tracing::info!("hello"));
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let expected = "\u{1b}[32m INFO\u{1b}[0m hello\u{1b}[2m request.id=\"r1\"\u{1b}[0m\n";
        assert!(text.ends_with(expected), "{text:?}");
    }

    #[test]
    fn no_value_can_pass_for_another_line() {
        let odd = "x\n2026 INFO \"y\" \u{1b}[2J";
        let say = || tracing::info!(odd, "from {odd}");
        assert_eq!(
            logged(Format::Text, "info", true, say),
            " INFO from x\\n2026 INFO \"y\" \\u{1b}[2J odd=\"x\\n2026 INFO \\\"y\\\" \\u{1b}[2J\""
        );
        assert_eq!(logged(Format::Json, "info", true, say).lines().count(), 1);
    }

    #[test]
    fn a_level_is_for_our_own_events_and_a_filter_for_any() {
        let say = || {
            tracing::debug!("ours");
            tracing::debug!(target: "hyper::proto", "theirs");
            tracing::warn!(target: "hyper::proto", "their warning");
        };
        assert_eq!(
            logged(Format::Text, "debug", true, say),
            "DEBUG ours\n WARN their warning"
        );
        assert_eq!(
            logged(Format::Text, "off,hyper=debug", true, say),
            "DEBUG theirs\n WARN their warning"
        );
    }

    #[test]
    fn the_level_changes_while_it_logs() {
        let buffer = Buffer::default();
        let (subscriber, handle) = subscriber(&Config::default(), true, buffer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let say = |text| tracing::debug!("{text}");
            say("one");
            handle.reload(filter("debug").unwrap()).unwrap();
            say("two");
            handle.reload(filter("info").unwrap()).unwrap();
            say("three");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("two") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        let config = Config {
            level: "wampgate=loud".to_owned(),
            ..Config::default()
        };
        let error = subscriber(&config, false, Buffer::default()).err().unwrap();
        assert!(error.to_string().starts_with("`wampgate=loud` is neither"));
    }
}
