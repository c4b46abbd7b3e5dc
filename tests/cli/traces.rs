//! Traces of the whole program: to a collector with TLS, as variables say, and to the last span.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::{fs, thread};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto};

use crate::PROGRAM;
use crate::processes::{PATIENCE, Running, shell};

/// Takes one request over TLS as `localhost`. Returns its port, its certificate, and what it takes:
/// the head and the body.
fn collector() -> (u16, String, mpsc::Receiver<(String, Vec<u8>)>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, taken) = mpsc::channel();
    thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let session = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = BufReader::new(StreamOwned::new(session, socket));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.expect("a length").parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.get_mut().write_all(answer).unwrap();
        stream.get_mut().flush().unwrap();
        sender.send((head, body)).ok();
    });
    (port, certificate.pem(), taken)
}

#[test]
fn standard_variables_send_traces_over_tls_and_the_end_sends_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (port, certificate, taken) = collector();
    let issuers = folder.path().join("issuers.pem");
    fs::write(&issuers, certificate).unwrap();
    for name in ["specs", "realms"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let spec = r#"{"id": "it", "host": "_", "realm_uri": "com.a", "versions": {"1": {"base_path": "/",
        "paths": {"/here": {"get": {"action": {"type": "static", "body": "yes"}}}}}}}"#;
    fs::write(folder.path().join("specs/it.json"), spec).unwrap();
    fs::write(folder.path().join("realms/a.json"), r#"{"uri": "com.a"}"#).unwrap();
    let mut serve = Running::spawn(
        Command::new(PROGRAM)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--router",
                "ws://127.0.0.1:1/ws",
            ])
            .current_dir(folder.path())
            .env("SSL_CERT_FILE", &issuers)
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("https://localhost:{port}/"),
            )
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hush")
            .env("OTEL_SERVICE_NAME", "gate")
            .env("OTEL_BSP_SCHEDULE_DELAY", "1"),
    );
    serve.line("`OTEL_BSP_SCHEDULE_DELAY` means nothing to wampgate");
    let line = serve.line("serving HTTP at");
    let url = &line[line.find("http://").unwrap()..];
    let url = url.split(['"', ' ']).next().unwrap();
    assert_eq!(shell(&format!("curl -s {url}/here")), r#""yes""#);
    let (status, output) = serve.end("INT");
    assert!(status.success(), "{output}");
    assert!(!output.contains("hush"), "{output}");

    let (head, body) = taken.recv_timeout(PATIENCE).expect("a request");
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nx-key: hush\r\n"), "{head}");
    let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
    let of_resource = &request.resource_spans[0];
    let name = &of_resource.resource.as_ref().unwrap().attributes[0];
    assert!(format!("{name:?}").contains("\"gate\""), "{name:?}");
    let spans = &of_resource.scope_spans[0].spans;
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["GET /here"]);
}
