//! A closed-loop load: 64 connections with keep-alive, each sending its next request when it has
//! its answer. Every answer must be 200.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const CONNECTIONS: usize = 64;

/// A request as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    address: String,
    bytes: Vec<u8>,
}

/// What a round gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) requests: usize,
    pub(crate) took: Duration,
    /// Filled in by whoever knows the processes.
    pub(crate) cpu: Duration,
    latencies: Vec<Duration>,
}

impl Request {
    pub(crate) fn get(address: &str, path: &str) -> Self {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        Self {
            address: address.to_owned(),
            bytes: head.into_bytes(),
        }
    }

    pub(crate) fn post(address: &str, path: &str, body: &str) -> Self {
        let length = body.len();
        let text = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        Self {
            address: address.to_owned(),
            bytes: text.into_bytes(),
        }
    }
}

impl Outcome {
    /// Returns the latency below which this share of the requests stayed, in percent.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let index = self.latencies.len() * percent / 100;
        self.latencies[index.min(self.latencies.len() - 1)]
    }
}

/// Waits until the way is open, for half a minute at most: sessions have to be up first.
pub(crate) async fn warm_up(request: &Request) {
    let start = Instant::now();
    loop {
        let mut connection = Connection::open(request).await;
        match connection.exchange(request).await {
            200 => break,
            status if start.elapsed() > Duration::from_secs(30) => {
                panic!(
                    "{} answers {status}: {}",
                    request.address,
                    connection.shown()
                );
            }
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    run(request, Duration::from_millis(500)).await;
}

pub(crate) async fn run(request: &Request, for_time: Duration) -> Outcome {
    let start = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let request = request.clone();
        connections.spawn(async move {
            let mut connection = Connection::open(&request).await;
            let mut latencies = Vec::new();
            while start.elapsed() < for_time {
                let sent = Instant::now();
                let status = connection.exchange(&request).await;
                assert_eq!(status, 200, "{}", connection.shown());
                latencies.push(sent.elapsed());
            }
            latencies
        });
    }
    let mut latencies = connections.join_all().await.concat();
    let took = start.elapsed();
    latencies.sort();
    Outcome {
        requests: latencies.len(),
        took,
        cpu: Duration::ZERO,
        latencies,
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(request: &Request) -> Self {
        let stream = TcpStream::connect(&request.address)
            .await
            .expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self {
            stream,
            buffer: Vec::with_capacity(4096),
        }
    }

    /// Sends the request and reads the answer whole; returns its status.
    async fn exchange(&mut self, request: &Request) -> u16 {
        self.stream
            .write_all(&request.bytes)
            .await
            .expect("it reads");
        self.buffer.clear();
        loop {
            let read = self
                .stream
                .read_buf(&mut self.buffer)
                .await
                .expect("it answers");
            assert_ne!(
                read,
                0,
                "closed in the middle of an answer: {}",
                self.shown()
            );
            if let Some(status) = status_of(&self.buffer) {
                return status;
            }
        }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}

/// Returns the status of an answer, once all of it is there.
fn status_of(answer: &[u8]) -> Option<u16> {
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).expect("a head is ASCII");
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>())?.ok()
    });
    let is_whole = match length {
        Some(length) => answer.len() >= head + length,
        // In chunks, as Crossbar's bridge answers: JSON does not end like the last chunk.
        None => answer.ends_with(b"\r\n0\r\n\r\n"),
    };
    is_whole.then(|| status.expect("a status"))
}
