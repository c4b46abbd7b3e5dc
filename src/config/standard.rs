//! OpenTelemetry's own variables: what they say, our settings need not.
//!
//! Operators set them for every program of a machine or cluster, so what is common of them fills in
//! what neither file, variables of ours nor flags have; the rest is not ignored in silence.
//!
//! Reference: OpenTelemetry, "Environment Variable Specification".

use super::Override;
use crate::diagnostic::{Code, Diagnostic, Findings, Location};
use crate::document::Document;

/// Those that fill in a setting of `[telemetry]`.
const USED: [(&str, &str); 4] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_endpoint"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "otlp_headers"),
    ("OTEL_SERVICE_NAME", "service_name"),
    ("OTEL_RESOURCE_ATTRIBUTES", "resource_attributes"),
];

/// Values that say what is so anyway.
const HARMLESS: [(&str, &[&str]); 7] = [
    ("OTEL_SDK_DISABLED", &["false"]),
    ("OTEL_TRACES_EXPORTER", &["otlp"]),
    ("OTEL_METRICS_EXPORTER", &["none"]),
    ("OTEL_LOGS_EXPORTER", &["none"]),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", &["http/protobuf"]),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", &["http/protobuf"]),
    (
        "OTEL_PROPAGATORS",
        &["tracecontext", "tracecontext,baggage"],
    ),
];

/// Returns what the standard variables fill in, and warns of those that are there in vain. All of
/// them are without meaning where nothing is recorded.
pub(super) fn fill_in(
    document: &Document,
    environment: &[(String, String)],
    findings: &Findings,
) -> Vec<Override> {
    let telemetry = document
        .root()
        .as_map()
        .and_then(|root| root.get("telemetry"));
    let telemetry = telemetry.and_then(|telemetry| telemetry.as_map());
    let has = |key: &str| telemetry.is_some_and(|telemetry| telemetry.contains_key(key));
    let variable = |name: &str| {
        // Empty is unset, says the standard.
        let mut all = environment.iter().filter(|(_, value)| !value.is_empty());
        all.find(|(key, _)| key == name).map(|(_, value)| value)
    };
    let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"))
        || variable("OTEL_TRACES_EXPORTER").is_some_and(|it| it == "none");
    let endpoint = variable(USED[0].0).filter(|_| !is_off);
    if !has("otlp_endpoint") && endpoint.is_none() {
        return Vec::new();
    }
    for (name, value) in environment {
        let is_known = USED.iter().any(|(used, _)| used == name)
            || HARMLESS
                .iter()
                .any(|(known, values)| known == name && values.contains(&value.as_str()));
        if name.starts_with("OTEL_") && !value.is_empty() && !is_known {
            let location = Location::of_file(name);
            let message = format!("`{name}` means nothing to wampgate");
            let hint = "see `[telemetry]` in the documentation for what there is";
            findings
                .push(Diagnostic::warning(Code::IdleVariable, location, message).with_hint(hint));
        }
    }
    let fill = |(name, key): (&str, &str)| {
        let value = variable(name).filter(|_| !has(key))?;
        Some(Override {
            origin: name.to_owned(),
            key: format!("telemetry.{key}"),
            value: value.clone(),
        })
    };
    USED.into_iter().filter_map(fill).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, Sources};

    /// The `[telemetry]` that results, and the warnings.
    fn load(file: &str, environment: &[(&str, &str)]) -> String {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let sources = Sources {
            file: Some((Path::new("wampgate.toml"), file)),
            environment: environment.iter().map(own).collect(),
            flags: Vec::new(),
        };
        let (text, findings) = match Config::load(&sources) {
            Ok((config, warnings)) => {
                let text = config.to_toml();
                let at = text.find("[telemetry]").unwrap();
                (text[at..].to_owned(), warnings)
            }
            Err(findings) => (String::new(), findings),
        };
        let findings = findings.iter().map(|finding| finding.render(false));
        text + &findings.collect::<Vec<_>>().join("\n\n")
    }

    #[test]
    fn they_fill_in_what_no_setting_says() {
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hush,x-team=a%2Cb"),
            ("OTEL_SERVICE_NAME", "theirs"),
            ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=p-1,place=a%20b"),
            ("WAMPGATE_TELEMETRY__SAMPLE_RATIO", ".25"),
        ];
        insta::assert_snapshot!(load("[telemetry]\nservice_name = 'ours'", &environment), @r#"
        [telemetry]
        otlp_endpoint = "http://collector:4318/v1/traces"
        otlp_headers = ["x-key=***", "x-team=***"]
        sample_ratio = 0.25
        trust_incoming = false
        service_name = "ours"
        resource_attributes = ["k8s.pod.name=p-1", "place=a%20b"]
        "#);
    }

    #[test]
    fn without_an_endpoint_or_when_told_so_nothing_is_on() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let odd = ("OTEL_BSP_SCHEDULE_DELAY", "1");
        for (file, environment) in [
            ("", &[odd, ("OTEL_SERVICE_NAME", "x")] as &[_]),
            ("", &[endpoint, odd, ("OTEL_SDK_DISABLED", "true")]),
            ("", &[endpoint, odd, ("OTEL_TRACES_EXPORTER", "none")]),
            ("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]),
            ("[telemetry]\notlp_endpoint = ''", &[endpoint]),
        ] {
            let text = load(file, environment);
            assert!(text.contains("otlp_endpoint = \"\""), "{text}");
            assert!(!text.contains("D015"), "{text}");
        }
    }

    #[test]
    fn the_others_are_not_ignored_in_silence_and_secrets_are_never_shown() {
        let file = "[telemetry]\notlp_endpoint = 'http://c:4318'";
        let environment = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            ("OTEL_BSP_SCHEDULE_DELAY", ""),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hush"),
            ("OTEL_SDK_DISABLED", "false"),
        ];
        insta::assert_snapshot!(load(file, &environment), @r"
        warning[D015]: `OTEL_EXPORTER_OTLP_PROTOCOL` means nothing to wampgate
          --> OTEL_EXPORTER_OTLP_PROTOCOL
           = see `[telemetry]` in the documentation for what there is

        error[D008]: expected headers, each as `name=value`
          --> OTEL_EXPORTER_OTLP_HEADERS:1:27 at /telemetry/otlp_headers/0
           |
         1 | telemetry.otlp_headers = ********
           |                           ^^^^^^
        ");
    }
}
