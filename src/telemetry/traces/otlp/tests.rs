//! What is written, read by the published types.

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use prost::Message;

use super::*;
use crate::telemetry::trace_context::TraceParent;

fn span(kind: Kind) -> Span {
    Span {
        here: TraceParent::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .unwrap(),
        state: Some("foo=1".into()),
        parent: TraceParent::parse(b"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01")
            .map(|parent| parent.span_id),
        is_parent_remote: true,
        name: "GET /x".to_owned(),
        kind,
        start: 1_700_000_000_123_456_789,
        end: u64::MAX,
        attributes: vec![
            ("text", "ü".repeat(200).as_str().into()),
            ("empty", "".into()),
            ("number", Attribute::Number(503)),
            ("negative", Attribute::Number(-1)),
        ],
        is_error: true,
    }
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

#[test]
fn every_field_is_where_the_published_types_look_for_it() {
    let spans = [
        span(Kind::Server),
        Span {
            state: None,
            parent: None,
            is_error: false,
            attributes: Vec::new(),
            ..span(Kind::Client)
        },
        Span {
            is_parent_remote: false,
            ..span(Kind::Producer)
        },
    ];
    let resource = [("service.name".to_owned(), "wampgate".to_owned())];
    let body = request(&resource, &spans);
    let read = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
    // Nothing is there that the types do not know: they write the same.
    assert_eq!(read.encode_to_vec().len(), body.len());

    let [of_resource] = &*read.resource_spans else {
        panic!("{read:?}");
    };
    let name = any_value::Value::StringValue("wampgate".to_owned());
    let resource = of_resource.resource.as_ref().unwrap();
    assert_eq!(resource.attributes, [attribute("service.name", name)]);
    let [of_scope] = &*of_resource.scope_spans else {
        panic!("{read:?}");
    };
    assert_eq!(of_scope.scope.as_ref().unwrap().name, "wampgate");
    let [server, client, producer] = &*of_scope.spans else {
        panic!("{read:?}");
    };

    assert_eq!(server.trace_id, spans[0].here.trace_id.bytes());
    assert_eq!(server.span_id, spans[0].here.span_id.bytes());
    assert_eq!(
        server.parent_span_id,
        [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]
    );
    assert_eq!(server.trace_state, "foo=1");
    assert_eq!(server.name, "GET /x");
    assert_eq!(server.start_time_unix_nano, 1_700_000_000_123_456_789);
    assert_eq!(server.end_time_unix_nano, u64::MAX);
    assert_eq!(server.flags, 0x301);
    assert_eq!(server.status.as_ref().unwrap().code, 2);
    assert_eq!(
        server.attributes,
        [
            attribute("text", any_value::Value::StringValue("ü".repeat(200))),
            attribute("empty", any_value::Value::StringValue(String::new())),
            attribute("number", any_value::Value::IntValue(503)),
            attribute("negative", any_value::Value::IntValue(-1)),
        ]
    );
    assert_eq!([server.kind, client.kind, producer.kind], [2, 3, 4]);
    assert!(client.parent_span_id.is_empty() && client.status.is_none());
    assert_eq!([client.flags, producer.flags], [0x001, 0x101]);
}

#[test]
fn a_long_text_is_cut_at_a_character() {
    let Attribute::Text(text) = Attribute::from("ü".repeat(1000).as_str()) else {
        panic!("no text");
    };
    assert_eq!(text.len(), 1024);
    let Attribute::Text(text) = Attribute::from(format!("x{}", "ü".repeat(1000)).as_str()) else {
        panic!("no text");
    };
    assert_eq!(text.len(), 1023);
}

#[test]
fn an_answer_says_how_many_were_not_taken() {
    let answer = |rejected_spans| ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message: "too old".to_owned(),
        }),
    };
    for (count, expected) in [(0, 0), (1, 1), (300, 300)] {
        assert_eq!(rejected(&answer(count).encode_to_vec()), expected);
    }
    let none = ExportTraceServiceResponse::default();
    assert_eq!(rejected(&none.encode_to_vec()), 0);
    // Whatever a collector says, it cannot hurt.
    let full = answer(7).encode_to_vec();
    for end in 0..full.len() {
        rejected(&full[..end]);
    }
    for byte in 0..=255 {
        assert_eq!(rejected(&[byte; 20]), 0, "{byte}");
    }
}
