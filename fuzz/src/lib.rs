//! What the fuzz targets hold to, whatever comes in.

use wampgate::wamp::serializer::{Reading, Serializer};

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
