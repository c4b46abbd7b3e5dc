//! Raw clients against the listener. Time is paused: it jumps to the next limit as soon as neither
//! side has anything to do, so that each limit is seen exactly and no test waits.
//!
//! The sockets are real, and a busy machine may deliver a moment after both sides have gone idle: a
//! limit would fire that nobody meant. So the clock stands still ([`Still`]) wherever a test waits
//! for bytes and not for a limit.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::pin::pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::Instant;
use tower::service_fn;

use super::*;
use crate::listener::body;

const GET: &str = "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";

const UPLOAD: body::Limits = body::Limits {
    max_bytes: 1000,
    within: Duration::from_secs(15),
    read_bytes: 1000,
};

/// What the service under test shares with the test.
#[derive(Default)]
struct Shared {
    entered: Notify,
    release: Notify,
    dropped: Notify,
    inside: AtomicUsize,
}

struct Inside(Arc<Shared>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
        self.0.dropped.notify_one();
    }
}

async fn answer(request: Request<Body>, shared: Arc<Shared>) -> Response<Body> {
    let peer = *request.extensions().get::<Peer>().unwrap();
    assert!(peer.remote.ip().is_loopback() && peer.local.ip().is_loopback());
    shared.inside.fetch_add(1, Ordering::Relaxed);
    let _inside = Inside(shared.clone());
    match request.uri().path() {
        "/held" => {
            shared.entered.notify_one();
            shared.release.notified().await;
            Response::new(Body::from("held"))
        }
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(1000)).await;
            Response::new(Body::from("slow"))
        }
        "/panic" => panic!("on purpose"),
        "/large" => Response::new(Body::from(Bytes::from(vec![b'x'; 64 << 20]))),
        "/upload" => match body::read(request.into_body(), UPLOAD).await {
            Ok(bytes) => Response::new(Body::from(bytes)),
            Err(error) => {
                use axum::response::IntoResponse;
                error.into_problem().into_response()
            }
        },
        _ => Response::new(Body::from("hello")),
    }
}

async fn start(change: impl FnOnce(&mut Config)) -> (Serving, Arc<Shared>) {
    let mut config = Config {
        listen: vec!["127.0.0.1:0".to_owned()],
        ..Config::default()
    };
    change(&mut config);
    let shared = Arc::new(Shared::default());
    let service = {
        let shared = shared.clone();
        service_fn(move |request| {
            let shared = shared.clone();
            async move { Ok::<_, Infallible>(answer(request, shared).await) }
        })
    };
    let serving = Listener::bind(config).await.unwrap().serve(&service);
    (serving, shared)
}

/// Keeps the paused clock from jumping: it does not while a blocking task runs.
struct Still {
    _release: std::sync::mpsc::Sender<()>,
}

impl Still {
    fn stand() -> Self {
        let (release, held) = std::sync::mpsc::channel::<()>();
        // Ends when the sender is dropped; the bound is for a test that is wrong.
        let hold = move || held.recv_timeout(Duration::from_secs(60)).ok();
        drop(tokio::task::spawn_blocking(hold));
        Self { _release: release }
    }
}

struct Client(TcpStream);

impl Client {
    async fn connect(serving: &Serving) -> Self {
        let _still = Still::stand();
        Self(TcpStream::connect(serving.local_addrs()[0]).await.unwrap())
    }

    async fn send(&mut self, text: &str) {
        let _still = Still::stand();
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads one answer that waits for no limit.
    async fn answer(&mut self) -> (StatusCode, HeaderMap, String) {
        let _still = Still::stand();
        self.answer_in_time().await
    }

    /// Reads one answer with a `Content-Length`, however much time must pass for it.
    async fn answer_in_time(&mut self) -> (StatusCode, HeaderMap, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let mut headers = HeaderMap::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let length = headers["content-length"].to_str().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        (status.parse().unwrap(), headers, body)
    }

    async fn get(&mut self, path: &str) -> (StatusCode, HeaderMap, String) {
        self.send(&GET.replace("/hello", path)).await;
        self.answer().await
    }

    /// Reads until the other side closes, and says what came and how long that took.
    async fn until_closed(&mut self) -> (Vec<u8>, Duration) {
        let start = Instant::now();
        let mut rest = Vec::new();
        // A reset is an end as well.
        drop(self.0.read_to_end(&mut rest).await);
        (rest, start.elapsed())
    }
}

/// A limit fires at its time, give or take the timer's grain.
fn assert_after(elapsed: Duration, limit: Duration) {
    let grain = Duration::from_millis(20);
    assert!(
        elapsed >= limit.saturating_sub(grain) && elapsed <= limit + grain,
        "{elapsed:?} is not {limit:?}"
    );
}

const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn answers_one_request_after_the_other_on_one_connection() {
    let (serving, _) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    for _ in 0..3 {
        let (status, headers, body) = client.get("/hello").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "hello"));
        assert!(headers.contains_key("date") && !headers.contains_key("connection"));
    }
}

#[tokio::test(start_paused = true)]
async fn listens_on_every_address() {
    let listen = vec!["127.0.0.1:0".to_owned(), "127.0.0.1:0".to_owned()];
    let (serving, _) = start(|config| config.listen = listen).await;
    for address in serving.local_addrs() {
        let mut client = Client(TcpStream::connect(address).await.unwrap());
        assert_eq!(client.get("/hello").await.0, StatusCode::OK);
    }
    assert_eq!(serving.drain().await.cut, 0);
}

#[tokio::test]
async fn an_address_that_another_one_covers_is_not_blamed_on_others() {
    let probe = TcpListener::bind("[::]:0").await.unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let config = Config {
        listen: vec![format!("[::]:{port}"), format!("0.0.0.0:{port}")],
        ..Config::default()
    };
    let error = Listener::bind(config).await.unwrap_err();
    assert!(matches!(error, BindError::Twice { .. }), "{error}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = Config {
        listen: vec!["127.0.0.1:0".to_owned(), address.clone()],
        ..Config::default()
    };
    let error = Listener::bind(config).await.unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }));
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {address}: the address is in use by another process")
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_after_the_header_timeout() {
    let (serving, _) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    let (answer, elapsed) = client.until_closed().await;
    assert!(answer.is_empty());
    assert_after(elapsed, HEADER_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn half_a_head_is_cut_after_the_header_timeout() {
    let (serving, _) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    client.send("GET / HTTP/1.1\r\nhost:").await;
    assert_after(client.until_closed().await.1, HEADER_TIMEOUT);
    let counts = serving.connections().counts();
    let ConnectionCounts {
        open,
        accepted,
        too_slow,
        ..
    } = counts;
    assert_eq!((open, accepted, too_slow), (0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_dripping_head_gets_no_more_time() {
    let (serving, _) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    client.send("GET / HTTP/1.1\r\n").await;
    let start = Instant::now();
    while client.0.write_all(b"x: y\r\n").await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(start.elapsed() < 2 * HEADER_TIMEOUT);
    }
    assert!(start.elapsed() >= HEADER_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_has_the_idle_timeout_and_not_the_header_timeout() {
    let (serving, _) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    client.get("/hello").await;
    tokio::time::sleep(IDLE_TIMEOUT - Duration::from_secs(1)).await;
    client.get("/hello").await;
    assert_after(client.until_closed().await.1, IDLE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn half_a_second_head_has_the_header_timeout() {
    let (serving, _) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    client.get("/hello").await;
    client.send("GET / HT").await;
    assert_after(client.until_closed().await.1, HEADER_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn no_limit_of_ours_ends_a_slow_service() {
    let (serving, _) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    client.send(&GET.replace("/hello", "/slow")).await;
    assert_eq!(client.answer_in_time().await.2, "slow");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_is_cut() {
    let (serving, shared) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    client.send(&GET.replace("/hello", "/large")).await;
    // Not read on purpose. Were it not cut, the drain would find it.
    tokio::time::sleep(2 * IDLE_TIMEOUT).await;
    assert_eq!(serving.drain().await, Drained::default());
    let (part, _) = client.until_closed().await;
    assert!(part.len() < 64 << 20);
    assert_eq!(shared.inside.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_is_not_cut() {
    // A pipe instead of a socket: how fast a kernel moves bytes is no matter of paused time.
    let (mut client, server) = tokio::io::duplex(4096);
    let peer = Peer {
        remote: ([127, 0, 0, 1], 1).into(),
        local: ([127, 0, 0, 1], 2).into(),
    };
    let limits = connection::Limits {
        header_timeout: HEADER_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
    };
    let service =
        service_fn(|request| async { Ok::<_, Infallible>(answer(request, Arc::default()).await) });
    let mut tasks = JoinSet::new();
    let (_phase, serving) = watch::channel(Phase::Serving);
    tasks.spawn(connection::serve(server, peer, service, limits, serving));
    let request = GET.replace("/hello", "/large");
    client.write_all(request.as_bytes()).await.unwrap();
    for _ in 0..20 {
        tokio::time::sleep(IDLE_TIMEOUT / 2).await;
        let mut some = [0; 100];
        client.read_exact(&mut some).await.unwrap();
    }
    let stopped = Instant::now();
    tasks.join_next().await;
    assert_after(stopped.elapsed(), IDLE_TIMEOUT);
}

// In real time, which it takes next to none of: 26 MB pass through the kernel.
#[tokio::test]
async fn a_body_that_is_too_large_is_answered_though_the_client_still_writes() {
    let (serving, _) = start(|_| {}).await;
    for framing in ["content-length: 27262976", "transfer-encoding: chunked"] {
        let mut client = Client::connect(&serving).await;
        client
            .send(&format!(
                "POST /upload HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n"
            ))
            .await;
        if framing.starts_with("transfer") {
            client.send("1a00000\r\n").await;
        }
        // All of it, before the answer is looked at: nothing may reset the connection.
        client.0.write_all(&vec![b'x'; 26 << 20]).await.unwrap();
        let (status, headers, body) = client.answer().await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(headers["connection"], "close");
        assert!(body.contains("the body is larger than 1000 bytes"));
        client.until_closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_in_chunks_leaves_the_connection_as_it_was() {
    let (serving, _) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    for _ in 0..2 {
        // In one piece: a server that waits for the body lets the paused time jump to its limit.
        let head = "POST /upload HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let body = "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        client.send(&format!("{head}{body}")).await;
        assert_eq!(client.answer().await.2, "abcde");
    }
    // Nothing was left unread, so the end is at once.
    let begun = Instant::now();
    let (drained, _) = tokio::join!(serving.drain(), client.until_closed());
    assert_eq!((drained.finished, drained.cut), (1, 0));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_transfer_coding_overrides_a_length() {
    let (serving, _) = start(|_| {}).await;
    for framing in [
        "content-length: 3\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 3",
    ] {
        let mut client = Client::connect(&serving).await;
        client
            .send(&format!(
                "POST /upload HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n"
            ))
            .await;
        client.send("5\r\nabcde\r\n0\r\n\r\n").await;
        assert_eq!(client.answer().await.2, "abcde");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_sent_together_are_answered_in_turn() {
    let (serving, _) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    client.send(&GET.repeat(40)).await;
    for _ in 0..40 {
        assert_eq!(client.answer().await.2, "hello");
    }
    assert_after(client.until_closed().await.1, IDLE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn an_old_client_is_served_and_its_connection_closed() {
    let (serving, _) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    client.send("GET /hello HTTP/1.0\r\n\r\n").await;
    let (answer, elapsed) = client.until_closed().await;
    assert!(answer.ends_with(b"\r\n\r\nhello"));
    assert_after(elapsed, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_100_continue_gets_it_or_the_refusal() {
    let (serving, _) = start(|_| {}).await;
    let head = |length| {
        format!(
            "POST /upload HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut client = Client::connect(&serving).await;
    client.send(&head(2000)).await;
    assert_eq!(client.answer().await.0, StatusCode::PAYLOAD_TOO_LARGE);

    let mut client = Client::connect(&serving).await;
    client.send(&head(3)).await;
    let mut interim = [0; 25];
    client.0.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim[..], b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc").await;
    assert_eq!(client.answer().await.2, "abc");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_408() {
    let (serving, _) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    client
        .send("POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
        .await;
    let start = Instant::now();
    assert_eq!(client.answer_in_time().await.0, StatusCode::REQUEST_TIMEOUT);
    assert_after(start.elapsed(), Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_500_and_harms_nobody() {
    let (serving, _) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    let (status, headers, body) = client.get("/panic").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(headers["content-type"], "application/problem+json");
    assert!(!body.contains("on purpose"));
    assert_eq!(client.get("/hello").await.2, "hello");
}

#[tokio::test(start_paused = true)]
async fn head_has_the_headers_of_get_and_no_body() {
    let (serving, _) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    client
        .send("HEAD /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await;
    let (answer, _) = client.until_closed().await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("content-length: 5\r\n") && answer.ends_with("\r\n\r\n"));
}

#[tokio::test(start_paused = true)]
async fn malformed_requests_are_refused_and_the_connection_ends() {
    let (serving, shared) = start(|_| {}).await;
    let many = "x: y\r\n".repeat(101);
    let long = format!("x: {}\r\n", "y".repeat(40_000));
    for (status, headers) in [
        (
            "400",
            "host: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n",
        ),
        ("400", "host: a\r\ncontent-length: 1, 2\r\n"),
        ("400", "host: a\r\ncontent-length: +1\r\n"),
        ("400", "host: a\r\ntransfer-encoding: gzip\r\n"),
        ("400", "host: a\r\nx: 1\r\n folded\r\n"),
        ("400", "host : a\r\n"),
        ("400", "host: a\r\nno colon\r\n"),
        ("431", many.as_str()),
        ("431", long.as_str()),
    ] {
        let mut client = Client::connect(&serving).await;
        client
            .send(&format!("POST / HTTP/1.1\r\n{headers}\r\n"))
            .await;
        let (answer, _) = client.until_closed().await;
        let answer = String::from_utf8(answer).unwrap();
        let head: String = headers.chars().take(60).collect();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head:?}: {answer}"
        );
    }
    assert_eq!(shared.inside.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn one_host_is_required() {
    let (serving, _) = start(|_| {}).await;
    for headers in ["", "host: a\r\nhost: b\r\n"] {
        let mut client = Client::connect(&serving).await;
        client
            .send(&format!("GET / HTTP/1.1\r\n{headers}\r\n"))
            .await;
        let (status, _, body) = client.answer().await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body.contains("exactly one Host"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_ends_the_work_for_it() {
    let (serving, shared) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    client.send(&GET.replace("/hello", "/held")).await;
    shared.entered.notified().await;
    drop(client);
    shared.dropped.notified().await;
    assert_eq!(shared.inside.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_most_connections_clients_wait_for_a_place() {
    let (serving, _) = start(|config| config.max_connections = 2).await;
    let mut first = Client::connect(&serving).await;
    let mut second = Client::connect(&serving).await;
    first.get("/hello").await;
    second.get("/hello").await;
    let mut third = Client::connect(&serving).await;
    third.send(GET).await;
    let waited = tokio::time::timeout(Duration::from_secs(1), third.0.readable()).await;
    assert!(waited.is_err());
    let expected = ConnectionCounts {
        max: 2,
        open: 2,
        accepted: 2,
        too_slow: 0,
        not_accepted: 0,
    };
    assert_eq!(serving.connections().counts(), expected);
    drop(first);
    assert_eq!(third.answer().await.2, "hello");
    let expected = ConnectionCounts {
        accepted: 3,
        ..expected
    };
    assert_eq!(serving.connections().counts(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_has_begun_and_closes_what_is_idle() {
    let (serving, shared) = start(|_| {}).await;
    let address = serving.local_addrs()[0];
    let mut idle = Client::connect(&serving).await;
    idle.get("/hello").await;
    let mut silent = Client::connect(&serving).await;
    let mut busy = Client::connect(&serving).await;
    busy.send(&GET.replace("/hello", "/held")).await;
    shared.entered.notified().await;

    let begun = Instant::now();
    let mut drain = pin!(serving.drain());
    tokio::select! {
        biased;
        _ = &mut drain => panic!("a request is in flight"),
        (_, elapsed) = idle.until_closed() => assert_after(elapsed, Duration::ZERO),
    }
    tokio::select! {
        biased;
        _ = &mut drain => panic!("a request is in flight"),
        (_, elapsed) = silent.until_closed() => assert!(elapsed < Duration::from_secs(1)),
    }
    assert!(TcpStream::connect(address).await.is_err());

    shared.release.notify_one();
    let (drained, (status, headers, body)) = tokio::join!(drain, busy.answer());
    assert_eq!((status, body.as_str()), (StatusCode::OK, "held"));
    assert_eq!(headers["connection"], "close");
    assert_eq!((drained.finished, drained.cut), (3, 0));
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn winding_down_serves_on_and_each_answer_is_the_last_of_its_connection() {
    let (serving, shared) = start(|config| config.min_drain = Duration::from_secs(7)).await;
    let mut kept = Client::connect(&serving).await;
    kept.get("/hello").await;
    let mut busy = Client::connect(&serving).await;
    busy.send(&GET.replace("/hello", "/held")).await;
    shared.entered.notified().await;

    let begun = Instant::now();
    let asking = async {
        // One that was in flight, one over a connection that was idle, and one over a new one.
        shared.release.notify_one();
        let (status, headers, body) = busy.answer().await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "held"));
        assert_eq!(headers["connection"], "close");
        let mut new = Client::connect(&serving).await;
        for client in [&mut kept, &mut new] {
            let (status, headers, _) = client.get("/hello").await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(headers["connection"], "close");
            let _still = Still::stand();
            assert!(client.until_closed().await.0.is_empty());
        }
    };
    tokio::join!(serving.wind_down(), asking);
    assert_after(begun.elapsed(), Duration::from_secs(7));

    let mut idle = Client::connect(&serving).await;
    let (drained, (rest, _)) = tokio::join!(serving.drain(), idle.until_closed());
    assert!(rest.is_empty());
    assert_eq!(drained.cut, 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_serves_clients_that_had_connected_already() {
    let (serving, _) = start(|_| {}).await;
    // Nothing has been accepted yet: the loop has not run since.
    let socket = std::net::TcpStream::connect(serving.local_addrs()[0]).unwrap();
    std::io::Write::write_all(&mut &socket, GET.as_bytes()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut client = Client(TcpStream::from_std(socket).unwrap());
    let (drained, (status, headers, _)) = tokio::join!(serving.drain(), client.answer());
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["connection"], "close");
    assert_eq!((drained.finished, drained.cut), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_a_head_that_has_begun_come_to_its_end() {
    let (serving, _) = start(|_| {}).await;
    let mut client = Client::connect(&serving).await;
    let (first, rest) = GET.split_at(10);
    client.send(first).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let finishing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.send(rest).await;
        client.answer().await
    };
    let (drained, (_, headers, body)) = tokio::join!(serving.drain(), finishing);
    assert_eq!(body, "hello");
    assert_eq!(headers["connection"], "close");
    assert_eq!((drained.finished, drained.cut), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_cuts_what_does_not_finish_in_time() {
    let (serving, shared) = start(|_| {}).await;
    let mut busy = Client::connect(&serving).await;
    busy.send(&GET.replace("/hello", "/held")).await;
    shared.entered.notified().await;
    let begun = Instant::now();
    let drained = serving.drain().await;
    assert_eq!((drained.finished, drained.cut), (0, 1));
    assert_after(begun.elapsed(), Duration::from_secs(30));
    assert!(busy.until_closed().await.0.is_empty());
    assert_eq!(shared.inside.load(Ordering::Relaxed), 0);
}

#[test]
fn failures_to_accept_are_spaced_out() {
    assert_eq!(back_off(0), Duration::ZERO);
    assert_eq!(back_off(1), Duration::from_millis(10));
    assert_eq!(back_off(2), Duration::from_millis(20));
    assert_eq!(back_off(1000), Duration::from_millis(1280));
}
