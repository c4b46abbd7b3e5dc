//! Requests as no well-behaved client sends them: odd targets, hosts, methods and headers.

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wampgate::gateway::peer::TrustedProxies;

use crate::http::PATIENCE;
use crate::support::TestGateway;

const SPEC: &str = r#"{
    "id": "test", "host": "[:tenant.]example.org", "realm_uri": "com.test",
    "versions": {"1": {"base_path": "/", "paths": {
        "/": {"get": {"action": {"type": "static", "body": "root"}}},
        "/:name": {"get": {"action": {"type": "static", "body": {
            "host": "{{request.host}}", "port": "{{request.port}}", "scheme": "{{request.scheme}}",
            "peer": "{{request.peername}}",
            "bindings": "{{request.bindings}}", "path": "{{request.path}}"}}}},
        "/query": {"get": {"action": {"type": "static",
            "body": "{{request.query_params |> size}}"}}},
        "/length": {"post": {"action": {"type": "static", "body": "{{request.body_length}}"}}},
        "/headers": {"get": {"action": {"type": "static", "body": "{{request.headers}}"}}}
    }}}
}"#;

/// Sends bytes as they are and returns the whole answer, after which the connection must end.
async fn raw(gateway: &TestGateway, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.app.local_addrs()[0])
        .await
        .unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("an end")
        .unwrap();
    String::from_utf8(answer).unwrap()
}

/// Sends a head, with `connection: close`, and returns the status and the body.
async fn answer(gateway: &TestGateway, head: &str) -> String {
    let text = raw(
        gateway,
        format!("{head}\r\nconnection: close\r\n\r\n").as_bytes(),
    )
    .await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    assert!(head.contains("x-request-id: "), "{text}");
    let status = head.split(' ').nth(1).unwrap_or_default();
    format!("{status} {body}").trim_end().to_owned()
}

#[tokio::test]
async fn the_target_goes_before_the_host_and_has_no_user() {
    let gateway = TestGateway::start(SPEC).await;
    for (head, expected) in [
        (
            "GET /a HTTP/1.1\r\nhost: Shop.EXAMPLE.org.:81",
            r#""host":"shop.example.org","port":81,"scheme":"http""#,
        ),
        (
            "GET http://u:p@example.org:82/a HTTP/1.1\r\nhost: elsewhere",
            r#""host":"example.org","port":82,"scheme":"http""#,
        ),
        (
            "GET http://example.org/a/ HTTP/1.1\r\nhost: elsewhere",
            r#""host":"example.org","port":80"#,
        ),
    ] {
        let answer = answer(&gateway, head).await;
        assert!(answer.contains(expected), "{head}: {answer}");
        assert!(answer.contains(r#""path":"/a""#), "{head}: {answer}");
    }
    let tenant = answer(&gateway, "GET /a HTTP/1.1\r\nhost: Shop.example.org").await;
    assert!(
        tenant.contains(r#""bindings":{"name":"a","tenant":"shop"}"#),
        "{tenant}"
    );
    let none = answer(&gateway, "GET /a HTTP/1.1\r\nhost: example.org").await;
    assert!(none.contains(r#""bindings":{"name":"a"}"#), "{none}");
    for host in ["elsewhere", "a.b.example.org", "[::1]:80", "", "..", "a b"] {
        let answer = answer(&gateway, &format!("GET /a HTTP/1.1\r\nhost: {host}")).await;
        assert!(answer.starts_with("404 "), "{host}: {answer}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_trusted_proxys_word_on_host_and_scheme_decides_the_route() {
    let secure = SPEC.replace(
        r#""versions""#,
        r#""defaults": {"schemes": ["https"]}, "versions""#,
    );
    let gateway = TestGateway::changed(&secure, |plan| {
        plan.trusted_proxies = TrustedProxies::new(["127.0.0.0/8".parse().unwrap()]);
    })
    .await;
    let forwarded = "forwarded: for=192.0.2.7;proto=https;host=shop.example.org";
    for (lines, expected) in [
        (
            forwarded,
            r#""host":"shop.example.org","port":443,"scheme":"https","peer":"192.0.2.7:0""#,
        ),
        (
            "x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: https\r\nx-forwarded-host: example.org:8443",
            r#""host":"example.org","port":8443,"scheme":"https","peer":"192.0.2.7:0""#,
        ),
        // An empty host is none.
        (
            "forwarded: for=192.0.2.7;proto=https;host=\"\"\r\nhost: example.org",
            r#""host":"example.org","port":443"#,
        ),
    ] {
        let host = if lines.contains("\r\nhost:") {
            ""
        } else {
            "\r\nhost: inner"
        };
        let answer = answer(&gateway, &format!("GET /a HTTP/1.1\r\n{lines}{host}")).await;
        assert!(answer.contains(expected), "{lines}: {answer}");
    }
    let plain = answer(&gateway, "GET /a HTTP/1.1\r\nhost: example.org").await;
    assert!(plain.starts_with("404 "), "another scheme: {plain}");
    gateway.stop().await;

    let gateway = TestGateway::start(&secure).await;
    let head = format!("GET /a HTTP/1.1\r\nhost: example.org\r\n{forwarded}");
    let nobody = answer(&gateway, &head).await;
    assert!(nobody.starts_with("404 "), "nobody is trusted: {nobody}");
    gateway.stop().await;
}

#[tokio::test]
async fn odd_targets_and_methods_are_answered() {
    let gateway = TestGateway::start(SPEC).await;
    let long = "x".repeat(16 * 1024);
    for (head, status) in [
        ("OPTIONS * HTTP/1.1\r\nhost: example.org", 204),
        ("GET * HTTP/1.1\r\nhost: example.org", 400),
        ("CONNECT example.org:443 HTTP/1.1\r\nhost: example.org", 405),
        ("CONNECT elsewhere:443 HTTP/1.1\r\nhost: example.org", 404),
        ("BREW / HTTP/1.1\r\nhost: example.org", 405),
        ("get / HTTP/1.1\r\nhost: example.org", 405),
        ("TRACE / HTTP/1.1\r\nhost: example.org", 405),
        ("GET /%2e%2e HTTP/1.1\r\nhost: example.org", 400),
        ("GET /% HTTP/1.1\r\nhost: example.org", 400),
        ("GET //a HTTP/1.1\r\nhost: example.org", 404),
        ("GET /?%ff=%zz HTTP/1.1\r\nhost: example.org", 200),
        ("GET /query?%ff=1 HTTP/1.1\r\nhost: example.org", 400),
        ("GET / HTTP/1.1", 400),
        (
            "GET / HTTP/1.1\r\nhost: example.org\r\nhost: example.org",
            400,
        ),
        ("GET / HTTP/1.0", 404),
        (
            "GET / HTTP/1.1\r\nhost: example.org\r\nupgrade: websocket\r\nsec-websocket-key: a",
            200,
        ),
        (
            "GET / HTTP/1.1\r\nhost: example.org\r\nexpect: wonders",
            200,
        ),
        (
            "GET / HTTP/1.1\r\nhost: example.org\r\naccept: ,;q=,\"\0xff",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nhost: example.org\r\naccept: ,;q=;;,*/*;q=5",
            200,
        ),
        // Whole heads have a limit of their own.
        (
            &format!("GET /{long}{long} HTTP/1.1\r\nhost: example.org"),
            431,
        ),
        (&format!("GET /{long} HTTP/1.1\r\nhost: example.org"), 200),
        (
            &format!("{} / HTTP/1.1\r\nhost: example.org", "M".repeat(4096)),
            405,
        ),
    ] {
        let text = raw(
            &gateway,
            format!("{head}\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        let shown: String = head.chars().take(60).collect();
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} "))
                || text.starts_with(&format!("HTTP/1.0 {status} ")),
            "{shown}: {text}"
        );
    }
    let pairs: Vec<String> = (0..2500).map(|n| format!("k{n}=%20")).collect();
    let answer = gateway
        .http
        .send(
            "GET",
            &format!("/query?{}", pairs.join("&")),
            &[("host", "example.org")],
            "",
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
    assert_eq!(answer.show(), "200 2500");
    gateway.stop().await;
}

#[tokio::test]
async fn headers_are_text_whatever_their_bytes() {
    let gateway = TestGateway::start(SPEC).await;
    let mut head =
        b"GET /headers HTTP/1.1\r\nhost: example.org\r\nX-A: 1\r\nx-a: 2\r\nx-b: \xff".to_vec();
    head.extend_from_slice("\r\nx-c: grüß\r\nconnection: close\r\n\r\n".as_bytes());
    let answer = raw(&gateway, &head).await;
    assert!(answer.contains(r#""x-a":"1, 2""#), "{answer}");
    assert!(answer.contains("\"x-b\":\"\u{fffd}\""), "{answer}");
    assert!(answer.contains(r#""x-c":"grüß""#), "{answer}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_in_chunks_is_none_when_there_are_none() {
    let gateway = TestGateway::start(SPEC).await;
    for (content_type, chunks, status) in [
        ("", "0\r\n\r\n", 200),
        ("", "1\r\n7\r\n0\r\n\r\n", 415),
        (
            "content-type: application/json\r\n",
            "1\r\n7\r\n0\r\n\r\n",
            200,
        ),
        ("content-type: text/plain\r\n", "1\r\n7\r\n0\r\n\r\n", 415),
    ] {
        let request = format!(
            "POST /length HTTP/1.1\r\nhost: example.org\r\ntransfer-encoding: chunked\r\n\
             {content_type}connection: close\r\n\r\n{chunks}"
        );
        let text = raw(&gateway, request.as_bytes()).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(text.starts_with(&expected), "{request}: {text}");
    }
    gateway.stop().await;
}
