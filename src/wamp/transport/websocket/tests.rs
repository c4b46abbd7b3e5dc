use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::super::{FrameReader, FrameWriter, accept, connect};
use super::*;

const SECOND: Duration = Duration::from_secs(10);
const MAX: usize = 1 << 20;

fn config(serializers: &[Serializer]) -> RouterConfig {
    RouterConfig {
        serializers: serializers.to_vec(),
        max_message_bytes: MAX,
        connect_timeout: SECOND,
        ..RouterConfig::default()
    }
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    (listener, url)
}

/// Joins a client to a server that takes messages of up to `max_message_bytes`.
async fn join(
    client: RouterConfig,
    accepted: &[Serializer],
    max_message_bytes: usize,
) -> (
    Result<Transport, ConnectError>,
    Result<Transport, AcceptError>,
) {
    let (listener, url) = listener().await;
    tokio::join!(connect(&url, &client), async {
        let (stream, _) = listener.accept().await.unwrap();
        accept(stream, accepted, max_message_bytes, SECOND).await
    })
}

async fn joined(serializer: Serializer) -> [(FrameReader, FrameWriter); 2] {
    let (client, server) = join(config(&[serializer]), &[serializer], MAX).await;
    [client.unwrap().split(), server.unwrap().split()]
}

#[tokio::test]
async fn the_first_offer_that_the_server_accepts_wins() {
    use Serializer::{Cbor, Json, Msgpack};
    for (offered, accepted, chosen) in [
        (vec![Msgpack, Json], vec![Json, Msgpack], Msgpack),
        (vec![Cbor, Json], vec![Json, Msgpack], Json),
    ] {
        let (client, server) = join(config(&offered), &accepted, MAX).await;
        assert_eq!(client.unwrap().serializer(), chosen);
        assert_eq!(server.unwrap().serializer(), chosen);
    }
    let (client, server) = join(config(&[Cbor]), &[Json], MAX).await;
    assert!(matches!(client, Err(ConnectError::Refused(400))));
    assert!(matches!(server, Err(AcceptError::Subprotocol)));
}

#[tokio::test]
async fn carries_batches_both_ways_and_closes_in_order() {
    for serializer in Serializer::ALL {
        let [
            (mut client_reader, mut client),
            (mut server_reader, mut server),
        ] = joined(serializer).await;
        for _ in 0..100 {
            client.feed(Bytes::from_static(b"[1,2]")).unwrap();
        }
        assert_eq!(client.unflushed_bytes(), 500);
        client.flush().await.unwrap();
        for _ in 0..100 {
            let frame = server_reader.next().await.unwrap().unwrap();
            assert_eq!(frame, Incoming::Message(Bytes::from_static(b"[1,2]")));
        }
        server.close().await.unwrap();
        assert!(client_reader.next().await.is_none());
        // A close is answered by whoever hears it.
        assert!(server_reader.next().await.is_none());
        drop(client);
    }
}

#[tokio::test]
async fn pings_are_answered_by_reading_and_both_sides_see_them() {
    let [
        (mut client_reader, mut client),
        (mut server_reader, _server),
    ] = joined(Serializer::Json).await;
    client.ping().unwrap();
    client.flush().await.unwrap();
    assert_eq!(server_reader.next().await.unwrap().unwrap(), Incoming::Ping);
    let (pong, _) = tokio::join!(client_reader.next(), async {
        tokio::select! {
            biased;
            frame = server_reader.next() => panic!("{frame:?}"),
            () = tokio::task::yield_now() => {}
        }
    });
    assert_eq!(pong.unwrap().unwrap(), Incoming::Pong);
}

#[tokio::test]
async fn the_wrong_kind_of_frame_ends_the_connection() {
    let only = [Serializer::Json];
    let (client, server) = join(config(&only), &only, MAX).await;
    let (mut reader, _writer) = client.unwrap().split();
    let (_server_reader, server) = server.unwrap().split();
    let WriterKind::WebSocket(mut server) = server.kind else {
        panic!("no socket");
    };
    server.is_text = false;
    server.feed(Bytes::from_static(b"[1]")).unwrap();
    server.flush().await.unwrap();
    assert!(matches!(
        reader.next().await,
        Some(Err(TransportError::WrongFrameType {
            found: "binary",
            ..
        }))
    ));
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn messages_beyond_the_limit_are_neither_sent_nor_accepted() {
    let only = [Serializer::Msgpack];
    let (client, server) = join(config(&only), &only, 100).await;
    let (_client_reader, mut client) = client.unwrap().split();
    let (mut server_reader, mut server) = server.unwrap().split();
    let long = Bytes::from(vec![0_u8; 101]);
    assert!(matches!(
        server.feed(long.clone()),
        Err(TransportError::TooLong {
            size: 101,
            max: 100
        })
    ));
    client.feed(long).unwrap();
    client.flush().await.unwrap();
    assert!(matches!(
        server_reader.next().await,
        Some(Err(TransportError::TooLong { max: 100, .. }))
    ));
}

#[tokio::test]
async fn a_peer_that_vanishes_is_a_loss_and_its_close_code_is_kept() {
    let [(mut reader, _writer), server] = joined(Serializer::Json).await;
    drop(server);
    assert!(matches!(
        reader.next().await,
        Some(Err(TransportError::Lost(_)))
    ));

    let only = [Serializer::Json];
    let (client, server) = join(config(&only), &only, MAX).await;
    let (mut reader, _writer) = client.unwrap().split();
    let (_server_reader, server) = server.unwrap().split();
    let WriterKind::WebSocket(mut server) = server.kind else {
        panic!("no socket");
    };
    let close = Message::Close(Some(CloseFrame {
        code: CloseCode::Error,
        reason: "bad URI".into(),
    }));
    server.start_send(close).unwrap();
    server.flush().await.unwrap();
    match reader.next().await {
        Some(Err(error @ TransportError::Closed { code: 1011, .. })) => assert_eq!(
            error.to_string(),
            "closed by the peer with code 1011: bad URI"
        ),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn connecting_fails_in_time_and_says_how() {
    let json = config(&[Serializer::Json]);
    let error = async |url| connect(url, &json).await.unwrap_err().to_string();
    assert_eq!(
        error("http://localhost").await,
        "not a usable router URL: unknown scheme `http`"
    );
    assert_eq!(
        error("localhost:80").await,
        "not a usable router URL: it has no scheme"
    );
    assert!(error("ws://").await.starts_with("not a usable router URL"));
    assert!(
        error("ws://a b/")
            .await
            .starts_with("not a usable router URL")
    );

    let (unused, url) = listener().await;
    drop(unused);
    assert!(matches!(
        connect(&url, &json).await,
        Err(ConnectError::Unreachable(_))
    ));

    // A server that takes the connection and says nothing.
    let (silent, url) = listener().await;
    let short = Duration::from_millis(20);
    assert!(matches!(
        connect(
            &url,
            &RouterConfig {
                connect_timeout: short,
                ..json.clone()
            }
        )
        .await,
        Err(ConnectError::Timeout(_))
    ));
    drop(silent);

    let (http, url) = listener().await;
    let (outcome, ()) = tokio::join!(connect(&url, &json), async {
        let (mut stream, _) = http.accept().await.unwrap();
        let mut request = [0; 2048];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    });
    assert!(matches!(outcome, Err(ConnectError::Refused(404))));

    // A client that takes its time is not waited for.
    let (listener, url) = listener().await;
    let address = url.trim_start_matches("ws://").trim_end_matches("/ws");
    let _client = TcpStream::connect(address).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    assert!(matches!(
        accept(stream, &json.serializers, MAX, short).await,
        Err(AcceptError::Timeout(_))
    ));
}

#[tokio::test]
async fn batches_are_agreed_on_where_both_know_them() {
    for serializer in [Serializer::Msgpack, Serializer::Cbor] {
        let batched = RouterConfig {
            batched: true,
            ..config(&[serializer])
        };
        let (client, server) = join(batched, &[serializer], MAX).await;
        let (mut client_reader, mut client) = client.unwrap().split();
        let (mut server_reader, mut server) = server.unwrap().split();
        assert_eq!(
            client.max_message_bytes(),
            MAX - batch::overhead_bytes(serializer)
        );
        for _ in 0..1000 {
            client.feed(Bytes::from_static(b"[1,2]")).unwrap();
        }
        client.ping().unwrap();
        let long = Bytes::from(vec![b'x'; client.max_message_bytes()]);
        client.feed(long.clone()).unwrap();
        server.feed(Bytes::from_static(b"[3]")).unwrap();
        let (closed, ()) = tokio::join!(
            async {
                client.flush().await?;
                client.close().await
            },
            async {
                let mut messages = Vec::new();
                // A ping may overtake what waits to be packed.
                while let Some(next) = server_reader.next().await {
                    if let Incoming::Message(message) = next.unwrap() {
                        messages.push(message);
                    }
                }
                assert_eq!(messages.pop().unwrap(), long);
                assert_eq!(messages, vec![Bytes::from_static(b"[1,2]"); 1000]);
            }
        );
        closed.unwrap();
        // What the other had not flushed is lost with the connection, and nothing else.
        assert!(matches!(
            client_reader.next().await,
            None | Some(Ok(Incoming::Pong))
        ));
    }
}

#[tokio::test]
async fn a_client_may_ask_for_batches_of_json() {
    let (listener, url) = listener().await;
    let mut request = url.as_str().into_client_request().unwrap();
    let name = HeaderValue::from_static("wamp.2.json.batched");
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(
        async {
            let stream = TcpStream::connect(address).await.unwrap();
            tokio_tungstenite::client_async(request, stream).await
        },
        async {
            let (stream, _) = listener.accept().await.unwrap();
            accept(stream, &[Serializer::Json], MAX, SECOND).await
        }
    );
    let (mut client, response) = client.unwrap();
    assert_eq!(
        response.headers()[SEC_WEBSOCKET_PROTOCOL],
        "wamp.2.json.batched"
    );
    let (mut reader, mut writer) = server.unwrap().split();
    client
        .send(Message::text("[1]\u{1e}[2]\u{1e}"))
        .await
        .unwrap();
    for expected in ["[1]", "[2]"] {
        let next = reader.next().await.unwrap().unwrap();
        assert_eq!(next, Incoming::Message(expected.into()));
        writer.feed(expected.into()).unwrap();
    }
    writer.flush().await.unwrap();
    let answer = client.next().await.unwrap().unwrap();
    assert_eq!(answer, Message::text("[1]\u{1e}[2]\u{1e}"));
    client.send(Message::text("[3]")).await.unwrap();
    assert!(matches!(
        reader.next().await,
        Some(Err(TransportError::Protocol(_)))
    ));
}

#[tokio::test]
async fn a_router_without_batches_gets_plain_messages() {
    let (listener, url) = listener().await;
    let config = RouterConfig {
        batched: true,
        ..config(&[Serializer::Msgpack, Serializer::Json])
    };
    let mut offers = String::new();
    #[expect(
        clippy::result_large_err,
        reason = "the library fixes the error's type"
    )]
    let choose = |request: &Request, mut response: Response| {
        let header = &request.headers()[SEC_WEBSOCKET_PROTOCOL];
        header.to_str().unwrap().clone_into(&mut offers);
        let plain = HeaderValue::from_static("wamp.2.json");
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, plain);
        Ok(response)
    };
    let (client, server) = tokio::join!(connect(&url, &config), async {
        let (stream, _) = listener.accept().await.unwrap();
        tokio_tungstenite::accept_hdr_async(stream, choose).await
    });
    assert_eq!(
        offers,
        "wamp.2.msgpack.batched, wamp.2.msgpack, wamp.2.json"
    );
    let (_reader, mut writer) = client.unwrap().split();
    assert_eq!(writer.max_message_bytes(), MAX);
    writer.feed(Bytes::from_static(b"[1]")).unwrap();
    writer.flush().await.unwrap();
    let frame = server.unwrap().next().await.unwrap().unwrap();
    assert_eq!(frame, Message::text("[1]"));
}

#[tokio::test]
async fn fragments_are_one_message_whatever_comes_between() {
    let only = [Serializer::Json];
    let (client, server) = join(config(&only), &only, MAX).await;
    let (mut reader, _writer) = client.unwrap().split();
    let (_reader, server) = server.unwrap().split();
    let WriterKind::WebSocket(mut server) = server.kind else {
        panic!("no socket");
    };
    let text = OpCode::Data(Data::Text);
    let more = OpCode::Data(Data::Continue);
    for frame in [
        Frame::message(&b"[1,"[..], text, false),
        Frame::message(&b""[..], more, false),
        Frame::ping(&b"?"[..]),
        Frame::message(&b"2]"[..], more, true),
    ] {
        server.start_send(Message::Frame(frame)).unwrap();
    }
    server.flush().await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), Incoming::Ping);
    assert_eq!(
        reader.next().await.unwrap().unwrap(),
        Incoming::Message(Bytes::from_static(b"[1,2]"))
    );
    // The limit is one on all fragments together.
    for is_last in [false, true] {
        let half = vec![b'1'; MAX / 2 + 1];
        let kind = if is_last { more } else { text };
        let frame = Frame::message(half, kind, is_last);
        server.start_send(Message::Frame(frame)).unwrap();
    }
    let (_, next) = tokio::join!(server.flush(), reader.next());
    assert!(matches!(next, Some(Err(TransportError::TooLong { .. }))));
}

#[tokio::test]
async fn two_full_peers_that_read_while_they_flush_do_not_block_each_other() {
    let [client, server] = joined(Serializer::Msgpack).await;
    let pump = |(mut reader, mut writer): (FrameReader, FrameWriter)| async move {
        let big = Bytes::from(vec![7_u8; MAX]);
        for _ in 0..16 {
            writer.feed(big.clone()).unwrap();
        }
        let (flushed, ()) = tokio::join!(writer.flush(), async {
            for _ in 0..16 {
                let frame = reader.next().await.unwrap().unwrap();
                assert!(matches!(frame, Incoming::Message(message) if message.len() == MAX));
            }
        });
        flushed.unwrap();
    };
    tokio::join!(pump(client), pump(server));
}
