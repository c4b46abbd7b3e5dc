use std::time::Duration;

use http::Method;

use super::*;

fn labels(api: &str) -> RouteLabels {
    RouteLabels {
        api: api.to_owned(),
        version: "1".to_owned(),
        realm: "com.test".to_owned(),
        route: "/a/:b".to_owned(),
    }
}

fn finished(status: u16) -> Finished {
    Finished {
        status,
        duration: Duration::from_millis(3),
        bytes_in: Some(0),
        bytes_out: Some(300),
    }
}

/// The samples of the families whose names begin with `prefix`.
fn samples(metrics: &Metrics, prefix: &str) -> Vec<String> {
    let text = metrics.scrape(Format::Prometheus);
    let lines = text.lines().filter(|line| line.starts_with(prefix));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_scrape_in_both_formats() {
    let metrics = Metrics::default();
    let series = metrics.requests.route(&labels("test"));
    series.method(&Method::GET).begin();
    metrics.collect(|scrape| {
        scrape.counter("a", "Counted.", Unit::Bytes, |samples| {
            samples.put(&[], 3_u64);
        });
        scrape.info("b", "Told.", &[("name", "x\"y\n\\z")]);
        scrape.gauge("c", "Never seen.", Unit::None, |_| {});
        scrape.gauge("d", "Seen.", Unit::Seconds, |samples| {
            samples.put(&[("of", "one")], 0.5);
            samples.put(&[("of", "two")], true);
        });
    });
    let from = |text: &str| text.split_once("# HELP a").unwrap().1.to_owned();
    let openmetrics = metrics.scrape(Format::OpenMetrics);
    assert_eq!(
        from(&openmetrics),
        "_bytes Counted.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\na_bytes_total 3\n\
         # HELP b Told.\n# TYPE b info\nb_info{name=\"x\\\"y\\n\\\\z\"} 1\n\
         # HELP d_seconds Seen.\n# TYPE d_seconds gauge\n# UNIT d_seconds seconds\n\
         d_seconds{of=\"one\"} 0.5\nd_seconds{of=\"two\"} 1\n# EOF\n"
    );
    let prometheus = metrics.scrape(Format::Prometheus);
    assert_eq!(
        from(&prometheus),
        "_bytes_total Counted.\n# TYPE a_bytes_total counter\na_bytes_total 3\n\
         # HELP b_info Told.\n# TYPE b_info gauge\nb_info{name=\"x\\\"y\\n\\\\z\"} 1\n\
         # HELP d_seconds Seen.\n# TYPE d_seconds gauge\n\
         d_seconds{of=\"one\"} 0.5\nd_seconds{of=\"two\"} 1\n"
    );
    assert!(prometheus.contains(
        "wampgate_http_requests_in_flight{api=\"test\",version=\"1\",realm=\"com.test\",\
         route=\"/a/:b\",method=\"GET\"} 1\n"
    ));
}

#[test]
fn series_last_as_long_as_anybody_holds_them() {
    let metrics = Metrics::default();
    let old = metrics.requests.route(&labels("stays"));
    old.method(&Method::GET).begin();
    old.method(&Method::GET).finish(finished(200));
    for number in 0..1000 {
        let gone = metrics.requests.route(&labels(&format!("gone{number}")));
        gone.method(&Method::GET).begin();
        drop(gone);
        metrics.requests.forget_gone();
    }
    let new = metrics.requests.route(&labels("stays"));
    drop(old);
    metrics.requests.forget_gone();
    new.method(&Method::GET).begin();
    new.method(&Method::GET).finish(finished(200));
    let requests = samples(&metrics, "wampgate_http_requests_total");
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].ends_with("status=\"200\"} 2"), "{requests:?}");
    assert_eq!(metrics.requests.known(), (1, 1));
}

#[test]
fn statuses_are_told_apart_however_many_there_are() {
    let metrics = Metrics::default();
    let series = metrics.requests.route(&labels("test"));
    for status in 100..600 {
        series.method(&Method::PUT).begin();
        series.method(&Method::PUT).finish(finished(status));
        series.method(&Method::PUT).begin();
        series.method(&Method::PUT).finish(finished(status));
    }
    let requests = samples(&metrics, "wampgate_http_requests_total");
    assert_eq!(requests.len(), 500);
    assert!(requests.iter().all(|line| line.ends_with(" 2")));
    let counts = samples(&metrics, "wampgate_http_request_duration_seconds_count");
    assert_eq!(counts.len(), 5);
    assert!(
        counts.iter().all(|line| line.ends_with(" 200")),
        "{counts:?}"
    );
    assert!(samples(&metrics, "wampgate_http_requests_in_flight")[0].ends_with(" 0"));
}

#[test]
fn unknown_methods_are_one() {
    let metrics = Metrics::default();
    for number in 0..1000 {
        let method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
        let series = metrics.requests.unmatched().method(&method);
        series.begin();
        series.finish(finished(404));
    }
    assert_eq!(
        samples(&metrics, "wampgate_http_requests_total"),
        [
            "wampgate_http_requests_total{api=\"\",version=\"\",realm=\"\",route=\"_unmatched\",\
             method=\"_OTHER\",status=\"404\"} 1000"
        ]
    );
}

#[test]
fn a_callee_cannot_make_series_without_bound() {
    let metrics = Metrics::default();
    let one = metrics.requests.route(&labels("one"));
    let two = metrics.requests.route(&labels("two"));
    for number in 0..10 * MAX_ERROR_URIS {
        let uri = format!("com.test.error.e{number}");
        one.method(&Method::GET)
            .call()
            .failed(Outcome::Error, &uri, false);
        two.method(&Method::GET)
            .call()
            .failed(Outcome::Error, &uri, false);
    }
    let long = "x".repeat(100_000);
    one.method(&Method::GET)
        .call()
        .failed(Outcome::Error, &long, false);
    // What a spec declares is seen also when there is no room left.
    let declared = "com.test.error.declared";
    one.method(&Method::GET)
        .call()
        .failed(Outcome::Error, declared, true);
    one.method(&Method::GET)
        .call()
        .failed(Outcome::Timeout, "bondy.error.timeout", true);
    one.method(&Method::GET).call().answered();
    drop(one.method(&Method::GET).call());
    let calls = samples(&metrics, "wampgate_wamp_calls_total{api=\"one\"");
    assert_eq!(calls.len(), MAX_ERROR_URIS + 5);
    let ending = |end: &str| calls.iter().filter(|line| line.ends_with(end)).count();
    assert_eq!(ending("outcome=\"error\",error_uri=\"_other\"} 901"), 1);
    assert_eq!(
        ending("outcome=\"error\",error_uri=\"com.test.error.declared\"} 1"),
        1
    );
    assert_eq!(
        ending("outcome=\"timeout\",error_uri=\"bondy.error.timeout\"} 1"),
        1
    );
    assert_eq!(ending("outcome=\"answered\",error_uri=\"\"} 1"), 1);
    assert_eq!(ending("outcome=\"abandoned\",error_uri=\"\"} 1"), 1);
    let calls = samples(&metrics, "wampgate_wamp_calls_total{api=\"two\"");
    assert_eq!(calls.len(), MAX_ERROR_URIS + 1, "of one realm");
    let durations = samples(&metrics, "wampgate_wamp_call_duration_seconds_count");
    assert!(durations[0].ends_with(" 1005"), "{durations:?}");
}
