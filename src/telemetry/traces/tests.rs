use super::*;

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let lines = lines.iter().map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    });
    lines.collect()
}

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// A tracer whose collector is not there.
fn tracer(sample_ratio: f64, trust_incoming: bool) -> (Tracer, Exporter) {
    let config = Config {
        endpoint: Some("http://127.0.0.1:1".parse().unwrap()),
        sample_ratio,
        trust_incoming,
        ..Config::default()
    };
    let traces = Traces::start(config).unwrap();
    (traces.tracer, traces.exporter.unwrap())
}

fn is_recorded(trace: &RequestTrace) -> bool {
    let place = trace.0.as_ref();
    place.is_some_and(|place| place.recording.is_some())
}

fn attempt(trace: &RequestTrace) -> AttemptSpan {
    trace.attempt(Attempt::Call {
        realm: "com.test",
        pattern: &"com.test.echo",
        repeats: 0,
    })
}

#[test]
fn without_a_collector_what_came_is_passed_on_as_it_is() {
    let tracer = Tracer::default();
    let trace = tracer.begin(&HeaderMap::new(), true);
    assert_eq!(trace.trace_id(), None);
    assert_eq!(attempt(&trace).context(), None);
    for parent in [SAMPLED, NOT_SAMPLED] {
        let headers = headers(&[("traceparent", parent), ("tracestate", "foo=1")]);
        let trace = tracer.begin(&headers, false);
        let attempt = attempt(&trace);
        let (told, state) = attempt.context().unwrap();
        assert_eq!(told.to_string(), parent);
        assert_eq!(state, Some("foo=1"));
    }
    assert_eq!(tracer.counts(), None);
}

#[tokio::test]
async fn who_is_trusted_decides_and_for_others_lots_are_drawn() {
    for (ratio, trusts_all, is_trusted, parent, recorded) in [
        (0.0, false, true, Some(SAMPLED), true),
        (0.0, true, false, Some(SAMPLED), true),
        (0.0, false, false, Some(SAMPLED), false),
        (1.0, false, true, Some(NOT_SAMPLED), false),
        (1.0, true, false, Some(NOT_SAMPLED), false),
        (1.0, false, false, Some(NOT_SAMPLED), true),
        (1.0, false, true, None, true),
        (0.0, true, true, None, false),
    ] {
        let (tracer, _exporter) = tracer(ratio, trusts_all);
        let lines: Vec<_> = parent
            .map(|parent| ("traceparent", parent))
            .into_iter()
            .collect();
        let trace = tracer.begin(&headers(&lines), is_trusted);
        let case = format!("{ratio} {trusts_all} {is_trusted} {parent:?}");
        assert_eq!(is_recorded(&trace), recorded, "{case}");
        let attempt = attempt(&trace);
        let (told, _) = attempt.context().unwrap();
        assert_eq!(told.is_sampled(), recorded, "{case}");
        assert_eq!(Some(told.trace_id), trace.trace_id(), "{case}");
        if let Some(parent) = parent {
            let came = TraceParent::parse(parent.as_bytes()).unwrap();
            assert_eq!(told.trace_id, came.trace_id, "{case}");
            assert_ne!(
                told.span_id, came.span_id,
                "the flag may be another: {case}"
            );
        }
    }
}

#[tokio::test]
async fn a_ratio_is_kept_about() {
    let (tracer, _exporter) = tracer(0.25, false);
    let lots = (0..4000).map(|_| is_recorded(&tracer.begin(&HeaderMap::new(), false)));
    let recorded = lots.filter(|it| *it).count();
    // Six standard deviations on both sides.
    assert!((836..1164).contains(&recorded), "{recorded}");
}

#[tokio::test]
async fn a_queue_that_is_full_drops_and_counts() {
    let (tracer, _exporter) = tracer(1.0, false);
    let trace = tracer.begin(&HeaderMap::new(), false);
    // The exporter cannot run meanwhile: this test does not wait.
    for _ in 0..5000 {
        attempt(&trace).succeeded();
    }
    let counts = tracer.counts().unwrap();
    assert_eq!((counts.exported, counts.dropped), (0, 5000 - 4096));
}

#[test]
fn headers_are_read_as_variables_have_them_and_never_shown() {
    let header = Header::parse("x-api-key=a%20b").unwrap();
    assert_eq!(
        (header.name.as_str(), header.value.as_bytes()),
        ("x-api-key", &b"a b"[..])
    );
    assert_eq!(format!("{header:?}"), "x-api-key=***");
    let header = Header::parse(" Authorization = Basic dTpw= ").unwrap();
    assert_eq!(header.value, "Basic dTpw=");
    for bad in ["", "x", "=1", "a b=1", "x=%0a", "x=%ff"] {
        assert!(Header::parse(bad).is_none(), "{bad}");
    }
}
