//! Request bodies: types, limits, and what is wrong with them, by place.

use wampgate::value::Value;

use crate::support::{TestGateway, json};

const SPEC: &str = r#"{
    "/echo": {
        "accepts": ["application/json", "application/msgpack", "application/cbor",
                    "application/x-www-form-urlencoded", "text/plain"],
        "provides": ["application/json", "application/msgpack", "application/cbor"],
        "post": {
            "action": {"type": "wamp_call", "procedure": "com.test.echo",
                       "args": ["{{request.body}}"]}
        }
    },
    "/field": {
        "post": {
            "action": {"type": "wamp_call", "procedure": "com.test.echo",
                       "args": ["{{request.body.customer.first_name}}"]}
        }
    }
}"#;

async fn gateway() -> TestGateway {
    let mut gateway = TestGateway::with_paths(SPEC).await;
    gateway.callee.register_echo("com.test.echo").await;
    gateway
}

#[tokio::test]
async fn integers_keep_all_64_bits_from_http_to_wamp_and_back() {
    let gateway = gateway().await;
    for number in [
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "13.99",
    ] {
        let answer = gateway.http.json("POST", "/echo", number).await;
        assert_eq!(answer.show(), format!("200 {number}"));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn every_type_that_comes_in_is_decoded_by_its_name() {
    let gateway = gateway().await;
    let packed = [0x81, 0xa1, b'a', 0x01];
    for (content_type, body, expected) in [
        ("application/json", &br#"{"a": 1}"#[..], r#"200 {"a":1}"#),
        (
            "application/json; charset=utf-8",
            br#"[null, true]"#,
            "200 [null,true]",
        ),
        ("application/msgpack", &packed, r#"200 {"a":1}"#),
        (
            "application/cbor",
            &[0xa1, 0x61, b'a', 0x01],
            r#"200 {"a":1}"#,
        ),
        (
            "application/x-www-form-urlencoded",
            b"a=1&b=x+y%21",
            r#"200 {"a":"1","b":"x y!"}"#,
        ),
        ("text/plain", "grüß".as_bytes(), r#"200 "grüß""#),
    ] {
        let body = bytes::Bytes::copy_from_slice(body);
        let answer = gateway
            .http
            .send("POST", "/echo", &[("content-type", content_type)], body)
            .await;
        assert_eq!(answer.show(), expected, "{content_type}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn accept_decides_what_goes_out() {
    let gateway = gateway().await;
    for (accept, content_type, expected) in [
        ("*/*", "application/json", &b"[1]"[..]),
        ("application/msgpack", "application/msgpack", &[0x91, 0x01]),
        (
            "application/cbor;q=0.5, application/msgpack;q=0.1",
            "application/cbor",
            &[0x81, 0x01],
        ),
    ] {
        let headers = [("content-type", "application/json"), ("accept", accept)];
        let answer = gateway.http.send("POST", "/echo", &headers, "[1]").await;
        assert_eq!(answer.header("content-type"), content_type);
        assert_eq!(&answer.body[..], expected);
    }
    let headers = [
        ("content-type", "application/json"),
        ("accept", "image/png"),
    ];
    let answer = gateway.http.send("POST", "/echo", &headers, "[1]").await;
    assert_eq!(answer.status, 406);
    gateway.stop().await;
}

#[tokio::test]
async fn a_malformed_body_is_400_with_the_place() {
    let gateway = gateway().await;
    let answer = gateway
        .http
        .json("POST", "/echo", "{\"a\": 1,\n  \"b\": }")
        .await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.member("line"),
        Value::from(2_u64),
        "{}",
        answer.show()
    );
    assert_eq!(
        answer.member("column"),
        Value::from(8_u64),
        "{}",
        answer.show()
    );

    let answer = gateway
        .http
        .json("POST", "/echo", "18446744073709551616")
        .await;
    assert_eq!(answer.status, 400, "{}", answer.show());

    let headers = [("content-type", "application/msgpack")];
    let body = bytes::Bytes::from_static(&[0x92, 0x01]);
    let answer = gateway.http.send("POST", "/echo", &headers, body).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.member("offset"),
        Value::from(2_u64),
        "{}",
        answer.show()
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_missing_field_is_400_and_named() {
    let gateway = gateway().await;
    let answer = gateway
        .http
        .json("POST", "/field", r#"{"customer": {"last_name": "Doe"}}"#)
        .await;
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .show()
            .contains("no `first_name` in `request.body.customer`"),
        "{}",
        answer.show()
    );
    let errors = answer.member("errors");
    let pointer = errors.as_list().unwrap()[0].as_map().unwrap()["pointer"].clone();
    assert_eq!(pointer, json(r##""#/customer/first_name""##));
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413() {
    let gateway = gateway().await;
    let body = vec![b' '; 26_000_000];
    let headers = [("content-type", "application/json")];
    let answer = gateway.http.send("POST", "/echo", &headers, body).await;
    assert_eq!(answer.status, 413);
    assert_eq!(
        gateway.http.json("POST", "/echo", "1").await.show(),
        "200 1"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_type_that_the_path_does_not_take_is_415_and_none_is_asked_of_an_empty_body() {
    let gateway = gateway().await;
    let answer = gateway
        .http
        .send("POST", "/field", &[("content-type", "text/csv")], "a,b")
        .await;
    assert_eq!(answer.status, 415);
    assert_eq!(
        answer.header("accept-post"),
        "application/json, application/msgpack"
    );
    let answer = gateway.http.send("POST", "/field", &[], "{}").await;
    assert_eq!(answer.status, 415, "a body without a type");
    let answer = gateway.http.send("POST", "/echo", &[], "").await;
    assert_eq!(
        answer.show(),
        r#"204"#,
        "an empty text under JSON is no body"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_malformed_body_is_refused_also_where_no_template_asks_for_it() {
    let paths = r#"{"/fixed": {"post": {"action": {"type": "static", "body": 1}}}}"#;
    let gateway = TestGateway::with_paths(paths).await;
    assert_eq!(gateway.http.json("POST", "/fixed", "{").await.status, 400);
    assert_eq!(
        gateway.http.json("POST", "/fixed", "{}").await.show(),
        "200 1"
    );
    assert_eq!(
        gateway.http.json("POST", "/fixed", "").await.show(),
        "200 1"
    );
    gateway.stop().await;
}
