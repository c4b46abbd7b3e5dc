use std::cell::RefCell;

use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use super::super::{FrameReader, FrameWriter};
use super::*;

const MAX: usize = 1 << 20;

type Halves = (FrameReader, FrameWriter);

fn config(serializers: &[Serializer], max_message_bytes: usize) -> RouterConfig {
    RouterConfig {
        serializers: serializers.to_vec(),
        max_message_bytes,
        ..RouterConfig::default()
    }
}

/// Connects to a router whose connections are each served by `serve`.
async fn meet(
    config: &RouterConfig,
    serve: impl AsyncFn(DuplexStream),
) -> Result<Transport, ConnectError> {
    let (sender, mut connections) = mpsc::unbounded_channel();
    let dial = || {
        let (near, far) = duplex(4096);
        sender.send(far).unwrap();
        std::future::ready(Ok(Box::new(near) as BoxStream))
    };
    let serving = async {
        while let Some(far) = connections.recv().await {
            serve(far).await;
        }
    };
    tokio::select! {
        outcome = connect(dial, config) => outcome,
        () = serving => unreachable!("the sender lives on"),
    }
}

/// Answers the handshake with these bytes, and keeps the connection open for as long as it is read.
async fn say(mut stream: DuplexStream, answer: &[u8]) {
    let mut asked = [0; 4];
    stream.read_exact(&mut asked).await.unwrap();
    stream.write_all(answer).await.unwrap();
}

/// Two ends of one connection on which each may read and write as much as said.
async fn joined(client_max: usize, server_max: usize) -> (Halves, Halves) {
    joined_through(client_max, server_max, 4096).await
}

async fn joined_through(client_max: usize, server_max: usize, buffer: usize) -> (Halves, Halves) {
    let (near, far) = duplex(buffer);
    let near = RefCell::new(Some(near));
    let dial = || {
        let near = near.take().expect("asked once");
        std::future::ready(Ok(Box::new(near) as BoxStream))
    };
    let config = config(&[Serializer::Cbor], client_max);
    let serializers = [Serializer::Json, Serializer::Cbor];
    let (client, server) = tokio::join!(
        connect(dial, &config),
        accept(far, &serializers, server_max)
    );
    let (client, server) = (client.unwrap(), server.unwrap());
    assert_eq!(client.serializer(), Serializer::Cbor);
    assert_eq!(server.serializer(), Serializer::Cbor);
    (client.split(), server.split())
}

/// One end, and the bare stream of the other.
fn bare(max: usize) -> (Halves, DuplexStream) {
    let (near, far) = duplex(4096);
    let limits = Limits::new(max, MAX_FRAME_BYTES);
    let transport = transport(Box::new(near), Serializer::Json, limits);
    (transport.split(), far)
}

async fn send(writer: &mut FrameWriter, message: &'static [u8]) {
    writer.feed(Bytes::from_static(message)).unwrap();
    writer.flush().await.unwrap();
}

async fn message(reader: &mut FrameReader) -> Bytes {
    match reader.next().await {
        Some(Ok(Incoming::Message(message))) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_handshake_has_the_bytes_of_the_specification() {
    assert_eq!(opening(Serializer::Json, 24), [0x7f, 0xf1, 0, 0]);
    assert_eq!(opening(Serializer::Cbor, 9), [0x7f, 0x03, 0, 0]);
    assert_eq!(refusal(Refusal::Connections), [0x7f, 0x40, 0, 0]);
    for (max, exponent) in [
        (0, 9),
        (512, 9),
        (513, 10),
        (1024, 10),
        ((1 << 24) - 1, 24),
        (1 << 24, 24),
        (1 << 30, 24),
        (usize::MAX, 24),
    ] {
        assert_eq!(announced(max), exponent, "{max}");
    }
    for (bytes, expected) in [
        (
            [0x7f, 0xf2, 0, 0],
            Handshake::Open {
                serializer: 2,
                max_frame_bytes: 1 << 24,
            },
        ),
        (
            [0x7f, 0x0f, 0, 0],
            Handshake::Open {
                serializer: 15,
                max_frame_bytes: 512,
            },
        ),
        ([0x7f, 0x10, 0, 0], Handshake::Refused(Refusal::Serializer)),
        ([0x7f, 0x70, 0, 0], Handshake::Refused(Refusal::Other(7))),
        ([0x7f, 0xf1, 0, 1], Handshake::Reserved),
        (*b"HTTP", Handshake::NotRawSocket { first: b'H' }),
    ] {
        assert_eq!(Handshake::read(bytes), expected);
    }
}

#[tokio::test]
async fn serializers_are_tried_one_after_the_other() {
    let all = config(&RouterConfig::default().serializers, MAX);
    // By an error, as the specification says, or by closing, as Crossbar.io does.
    for refuses_by_closing in [false, true] {
        let tries = RefCell::new(Vec::new());
        let transport = meet(&all, async |mut stream| {
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).await.unwrap();
            tries.borrow_mut().push(asked[1] & 0x0f);
            if asked[1] & 0x0f == 1 {
                stream.write_all(&[0x7f, 0xf1, 0, 0]).await.unwrap();
            } else if !refuses_by_closing {
                stream.write_all(&[0x7f, 0x10, 0, 0]).await.unwrap();
            }
        })
        .await
        .unwrap();
        assert_eq!(transport.serializer(), Serializer::Json);
        assert_eq!(tries.take(), [2, 3, 1]);
    }
}

#[tokio::test]
async fn a_refusal_says_what_it_is() {
    let two = config(&[Serializer::Msgpack, Serializer::Json], MAX);
    for (answer, expected) in [
        (
            &[0x7f, 0x10, 0, 0][..],
            "the router accepts none of the serializers msgpack, json",
        ),
        (
            &[],
            "the router closed the connection at the RawSocket handshake, with each of msgpack, json",
        ),
        (
            &[0x7f, 0xf2],
            "the router closed the connection at the RawSocket handshake, with each of msgpack, json",
        ),
        (
            &[0x7f, 0x20, 0, 0],
            "the router refuses the RawSocket handshake: the longest message that we take does not \
             suit it",
        ),
        (
            &[0x7f, 0x40, 0, 0],
            "the router refuses the RawSocket handshake: it has too many connections",
        ),
        (
            &[0x7f, 0xf3, 0, 0],
            "handshake: the router chose a serializer that it was not asked for",
        ),
        (
            &[0x7f, 0xf2, 1, 0],
            "handshake: the router uses reserved bytes of the handshake",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n",
            "handshake: the server answered HTTP: is this a WebSocket's address?",
        ),
        (
            &[0x15, 3, 1, 0],
            "handshake: the server does not speak RawSocket: it began with 0x15",
        ),
    ] {
        let error = meet(&two, async |stream| say(stream, answer).await)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_client_is_refused_by_the_numbers_of_the_specification() {
    for (asked, answer) in [
        ([0x7f, 0xf2, 0, 0], &[0x7f, 0x10, 0, 0][..]),
        ([0x7f, 0xf0, 0, 0], &[0x7f, 0x10, 0, 0]),
        ([0x7f, 0xf5, 0, 0], &[0x7f, 0x10, 0, 0]),
        ([0x7f, 0xf1, 0, 9], &[0x7f, 0x30, 0, 0]),
        ([0x7f, 0xf1, 0, 0], &[0x7f, 0xb1, 0, 0]),
        (*b"GET ", &[]),
    ] {
        let (mut client, server) = duplex(64);
        client.write_all(&asked).await.unwrap();
        let accepted = accept(server, &[Serializer::Json, Serializer::Cbor], MAX).await;
        assert_eq!(accepted.is_ok(), asked == [0x7f, 0xf1, 0, 0]);
        drop(accepted);
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, answer, "{asked:x?}");
    }
}

#[tokio::test]
async fn carries_batches_both_ways_and_ends_when_the_peer_closes() {
    let ((mut client_reader, mut client), (mut server_reader, mut server)) = joined(MAX, MAX).await;
    assert!(!client.may_ping());
    for number in 0..100_u8 {
        client.feed(vec![number; 3].into()).unwrap();
    }
    assert_eq!(client.unflushed_bytes(), 300);
    client.flush().await.unwrap();
    for number in 0..100_u8 {
        assert_eq!(message(&mut server_reader).await, vec![number; 3]);
    }
    send(&mut server, b"").await;
    assert_eq!(message(&mut client_reader).await, b""[..]);
    server.feed(Bytes::from_static(b"last")).unwrap();
    server.close().await.unwrap();
    assert_eq!(message(&mut client_reader).await, b"last"[..]);
    assert!(client_reader.next().await.is_none());
    assert!(client_reader.next().await.is_none());
    // The other direction is open until its writer closes too.
    send(&mut client, b"yet").await;
    assert_eq!(message(&mut server_reader).await, b"yet"[..]);
}

#[tokio::test]
async fn the_end_inside_a_frame_is_a_loss() {
    for cut in [&[0][..], &[0, 0, 0, 2], &[0, 0, 0, 2, b'x']] {
        let ((mut reader, _writer), mut peer) = bare(MAX);
        peer.write_all(cut).await.unwrap();
        drop(peer);
        assert!(matches!(
            reader.next().await,
            Some(Err(TransportError::Lost(_)))
        ));
        assert!(reader.next().await.is_none());
    }
}

#[tokio::test]
async fn each_side_keeps_to_what_the_other_takes() {
    let ((mut client_reader, mut client), (mut server_reader, mut server)) =
        joined(600, 2000).await;
    // The client's own limit is the lower one; the server's is what the client announced.
    assert_eq!(client.max_message_bytes(), 600);
    assert_eq!(server.max_message_bytes(), 1024);
    assert!(matches!(
        server.feed(Bytes::from(vec![0; 1025])),
        Err(TransportError::TooLong {
            size: 1025,
            max: 1024
        })
    ));
    // What was announced is taken, though it is more than what we would write.
    server.feed(Bytes::from(vec![1; 1024])).unwrap();
    server.flush().await.unwrap();
    assert_eq!(message(&mut client_reader).await.len(), 1024);
    client.feed(Bytes::from(vec![2; 600])).unwrap();
    client.flush().await.unwrap();
    assert_eq!(message(&mut server_reader).await.len(), 600);
}

#[tokio::test]
async fn sixteen_mebibytes_are_read_and_one_byte_less_is_written() {
    let ((mut client_reader, _client), (_reader, mut server)) = joined(1 << 30, 1 << 30).await;
    assert_eq!(server.max_message_bytes(), (1 << 24) - 1);
    assert!(matches!(
        server.feed(Bytes::from(vec![0; 1 << 24])),
        Err(TransportError::TooLong { max: 0xff_ffff, .. })
    ));
    server.feed(Bytes::from(vec![7; 0xff_ffff])).unwrap();
    let (flushed, long) = tokio::join!(server.flush(), message(&mut client_reader));
    flushed.unwrap();
    assert_eq!(long.len(), 0xff_ffff);

    let ((mut reader, _writer), mut peer) = bare(1 << 24);
    let (written, full) = tokio::join!(
        async {
            peer.write_all(&[FULL_LENGTH, 0, 0, 0]).await?;
            peer.write_all(&vec![5; 1 << 24]).await?;
            peer.write_all(&[0, 0, 0, 1, b'x']).await
        },
        message(&mut reader)
    );
    written.unwrap();
    assert_eq!(full.len(), 1 << 24);
    assert_eq!(message(&mut reader).await, b"x"[..]);
}

#[tokio::test]
async fn what_the_specification_reserves_ends_the_connection() {
    for (header, expected) in [
        (
            [0x10, 0, 0, 1],
            "transport: reserved bits in a RawSocket frame: 0x10",
        ),
        (
            [3, 0, 0, 1],
            "transport: unknown kind of RawSocket frame: 3",
        ),
        (
            [7, 0, 0, 0],
            "transport: unknown kind of RawSocket frame: 7",
        ),
        (
            [8, 0, 0, 1],
            "transport: a RawSocket frame longer than there can be one",
        ),
        (
            [0, 0, 4, 1],
            "message of 1025 bytes, but at most 1024 are allowed",
        ),
        (
            [1, 0, 4, 1],
            "message of 1025 bytes, but at most 1024 are allowed",
        ),
    ] {
        let ((mut reader, _writer), mut peer) = bare(1000);
        peer.write_all(&[0, 0, 0, 1, b'x']).await.unwrap();
        peer.write_all(&header).await.unwrap();
        assert_eq!(message(&mut reader).await, b"x"[..]);
        let error = reader.next().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(reader.next().await.is_none());
    }
}

#[tokio::test]
async fn a_ping_is_answered_whole_and_between_frames() {
    let ((mut reader, mut writer), mut peer) = bare(MAX);
    writer.feed(Bytes::from_static(b"before")).unwrap();
    peer.write_all(&[PING, 0, 0, 2, b'h', b'i', PONG, 0, 0, 0])
        .await
        .unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), Incoming::Ping);
    writer.feed(Bytes::from_static(b"after")).unwrap();
    // The answer goes out by reading on, without a flush.
    assert_eq!(reader.next().await.unwrap().unwrap(), Incoming::Pong);
    let expected = b"\0\0\0\x06before\x02\0\0\x02hi\0\0\0\x05after";
    let mut heard = vec![0; expected.len()];
    peer.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, expected);

    writer.ping().unwrap();
    writer.flush().await.unwrap();
    let mut ping = [0; 4];
    peer.read_exact(&mut ping).await.unwrap();
    assert_eq!(ping, [PING, 0, 0, 0]);
}

#[tokio::test]
async fn a_peer_that_pings_and_does_not_read_is_not_read_from() {
    let ((mut reader, mut writer), mut peer) = bare(MAX);
    let ping = [&[PING, 0, 16, 0][..], &[b'p'; 4096]].concat();
    let (written, next) = tokio::join!(peer.write_all(&ping), reader.next());
    written.unwrap();
    assert_eq!(next.unwrap().unwrap(), Incoming::Ping);
    // The answer is longer than what fits between us; until it is out, no other is begun.
    tokio::select! {
        next = reader.next() => panic!("{next:?}"),
        written = peer.write_all(&ping) => written.unwrap(),
    }
    assert!(reader.next().now_or_never().is_none());
    // A message waits behind it; both go out as the peer reads, whoever is polled.
    writer.feed(Bytes::from_static(b"[]")).unwrap();
    let mut heard = vec![0; ping.len() + 6];
    let (read, flushed) = tokio::join!(peer.read_exact(&mut heard), writer.flush());
    read.unwrap();
    flushed.unwrap();
    assert_eq!(heard[..4], [PONG, 0, 16, 0]);
    assert!(heard.ends_with(b"\0\0\0\x02[]"));
    assert_eq!(reader.next().await.unwrap().unwrap(), Incoming::Ping);
}

#[tokio::test]
async fn a_flush_may_be_dropped_and_a_reader_alone_sends_its_answer() {
    let ((mut reader, mut writer), mut peer) = bare(MAX);
    writer.feed(Bytes::from(vec![b'x'; 10_000])).unwrap();
    assert!(writer.flush().now_or_never().is_none());
    assert!(writer.unflushed_bytes() > 0);
    peer.write_all(&[PING, 0, 0, 0]).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), Incoming::Ping);
    // Nobody flushes; reading is what writes, and what the peer's reading wakes.
    let mut heard = vec![0; 10_008];
    tokio::select! {
        next = reader.next() => panic!("{next:?}"),
        read = peer.read_exact(&mut heard) => { read.unwrap(); }
    }
    assert!(heard.ends_with(&[PONG, 0, 0, 0]));
    writer.flush().await.unwrap();
    assert_eq!(writer.unflushed_bytes(), 0);
}

#[tokio::test]
async fn two_full_peers_that_read_while_they_flush_do_not_block_each_other() {
    let (client, server) = joined_through(MAX, MAX, 100).await;
    let pump = |(mut reader, mut writer): Halves| async move {
        let big = Bytes::from(vec![7_u8; 100_000]);
        for _ in 0..8 {
            writer.feed(big.clone()).unwrap();
        }
        let (flushed, ()) = tokio::join!(writer.flush(), async {
            for _ in 0..8 {
                assert_eq!(message(&mut reader).await, big);
            }
        });
        flushed.unwrap();
    };
    tokio::join!(pump(client), pump(server));
}

fn frame() -> impl Strategy<Value = Frame> {
    (0..3_u8, prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(kind, payload)| match kind {
        MESSAGE => Frame::Message(payload.into()),
        PING => Frame::Ping(payload.into()),
        _ => Frame::Pong(payload.into()),
    })
}

proptest! {
    #[test]
    fn frames_are_found_in_whatever_pieces_they_come(
        expected in prop::collection::vec(frame(), 0..20),
        pieces in prop::collection::vec(1_usize..400, 1..40),
    ) {
        let mut bytes = BytesMut::new();
        for frame in &expected {
            let (kind, payload) = match frame {
                Frame::Message(payload) => (MESSAGE, payload),
                Frame::Ping(payload) => (PING, payload),
                Frame::Pong(payload) => (PONG, payload),
            };
            bytes.put_u8(kind);
            bytes.put_uint(payload.len() as u64, 3);
            bytes.put_slice(payload);
        }
        let mut frames = Frames::new(300);
        let mut found = Vec::new();
        let mut sizes = pieces.into_iter().cycle();
        while !bytes.is_empty() {
            let size = sizes.next().unwrap().min(bytes.len());
            frames.extend(&bytes.split_to(size));
            while let Some(frame) = frames.next_frame().unwrap() {
                found.push(frame);
            }
        }
        prop_assert_eq!(found, expected);
        prop_assert!(frames.is_between_frames());
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_give_too_long_a_frame(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut frames = Frames::new(64);
        frames.extend(&bytes);
        while let Ok(Some(frame)) = frames.next_frame() {
            let (Frame::Message(payload) | Frame::Ping(payload) | Frame::Pong(payload)) = frame;
            prop_assert!(payload.len() <= 64);
        }
    }
}
