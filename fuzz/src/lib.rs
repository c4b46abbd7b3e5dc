//! What the fuzz targets hold to, whatever comes in.

use wampgate::wamp::serializer::{Reading, Serializer};
use wampgate::wamp::transport::batch::Splitter;
use wampgate::wamp::transport::rawsocket::{Frame, Frames, Handshake};

/// Reads a frame in both manners. What could be read is written again and reads the same, and what
/// a strict reader takes a tolerant one takes alike.
pub fn frame(serializer: Serializer, bytes: &[u8]) {
    let strict = serializer.decode(bytes, Reading::Strict);
    let tolerant = serializer.decode(bytes, Reading::Tolerant);
    // As text, in which NaN equals itself.
    if strict.is_ok() {
        assert_eq!(format!("{strict:?}"), format!("{tolerant:?}"));
    }
    for (reading, outcome) in [(Reading::Strict, strict), (Reading::Tolerant, tolerant)] {
        let Ok(message) = outcome else { continue };
        // JSON has text that a tolerant reader takes and that cannot be written.
        let Ok(again) = serializer.encode(&message) else {
            continue;
        };
        let again = serializer.decode(&again, reading);
        assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, ()>(message)));
    }
}

/// Finds frames in a stream of bytes: the same whether it comes at once or byte by byte, up to the
/// same error, none longer than allowed. The first four bytes are a handshake as well.
pub fn rawsocket(bytes: &[u8]) {
    const MAX: usize = 1 << 10;
    if let Some(first) = bytes.first_chunk() {
        Handshake::read(*first);
    }
    let mut at_once = Frames::new(MAX);
    at_once.extend(bytes);
    let mut expected = Vec::new();
    let end = take(&mut at_once, MAX, &mut expected);
    let mut piecemeal = Frames::new(MAX);
    let mut found = Vec::new();
    let mut other_end = None;
    for byte in bytes {
        piecemeal.extend(&[*byte]);
        other_end = take(&mut piecemeal, MAX, &mut found);
        if other_end.is_some() {
            break;
        }
    }
    assert_eq!(found, expected);
    assert_eq!(other_end, end);
}

/// Takes the frames that are whole; returns the error that ends them.
fn take(frames: &mut Frames, max: usize, found: &mut Vec<Frame>) -> Option<String> {
    loop {
        match frames.next_frame() {
            Ok(Some(frame)) => {
                let (Frame::Message(payload) | Frame::Ping(payload) | Frame::Pong(payload)) =
                    &frame;
                assert!(payload.len() <= max);
                found.push(frame);
            }
            Ok(None) => return None,
            Err(error) => return Some(error.to_string()),
        }
    }
}

/// Splits a batch in both forms. The messages of one that is well-formed make up the whole of it.
pub fn batch(bytes: &[u8]) {
    const MAX: usize = 1 << 10;
    for (serializer, overhead) in [(Serializer::Json, 1), (Serializer::Cbor, 4)] {
        let Ok(mut splitter) = Splitter::new(serializer, MAX, bytes.to_vec().into()) else {
            assert!(bytes.is_empty());
            continue;
        };
        let mut total = 0;
        let is_whole = loop {
            match splitter.next_message() {
                Ok(Some(message)) => {
                    assert!(message.len() <= MAX);
                    total += message.len() + overhead;
                }
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        assert!(total <= bytes.len() && (!is_whole || total == bytes.len()));
    }
}
