//! The key of a document in a bucket: `spec.com.example.market`, `realm.caf=C3=A9`.
//!
//! A key is a subject of NATS, of tokens between dots, and KV allows few characters in it. What is
//! allowed stays as it is, so that the tools of NATS show names that can be read; each byte of the
//! rest is `=` and two digits. Everything has exactly one name.

use crate::store::{Key, Kind};

/// The key of the entry that tells which store the bucket holds.
pub(super) const META: &str = "meta";

/// Returns the name of a document.
pub(super) fn name(key: &Key) -> String {
    let mut name = format!("{}.", key.kind.name());
    let id = key.id.as_bytes();
    for (at, &byte) in id.iter().enumerate() {
        let is_kept = match byte {
            // Between two others: a token is never empty.
            b'.' => !name.ends_with('.') && at + 1 < id.len(),
            b'-' | b'_' => true,
            byte => byte.is_ascii_alphanumeric(),
        };
        if is_kept {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("={byte:02X}"));
        }
    }
    name
}

/// Returns the document of that name; none where it is no document's.
pub(super) fn key(name: &str) -> Option<Key> {
    let (kind, escaped) = name.split_once('.')?;
    let kind = Kind::from_name(kind)?;
    let mut id = Vec::new();
    let mut parts = escaped.split('=');
    id.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        id.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        id.extend_from_slice(part.get(2..)?.as_bytes());
    }
    let key = Key {
        kind,
        id: String::from_utf8(id).ok()?,
    };
    // Another spelling would be a second place for the same document.
    (!key.id.is_empty() && self::name(&key) == name).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_a_name_that_nats_takes_and_that_leads_back() {
        let cases = [
            ("com.example.market", "realm.com.example.market"),
            ("a b/c", "realm.a=20b=2Fc"),
            (".a..b.", "realm.=2Ea.=2Eb=2E"),
            (".", "realm.=2E"),
            ("*.>", "realm.=2A.=3E"),
            ("a=20b", "realm.a=3D20b"),
            ("é\n", "realm.=C3=A9=0A"),
        ];
        for (id, expected) in cases {
            let document = Key {
                kind: Kind::Realm,
                id: id.to_owned(),
            };
            assert_eq!(name(&document), expected);
            assert_eq!(key(expected), Some(document));
        }
    }

    #[test]
    fn other_names_are_no_documents() {
        let others = [
            "meta",
            "spec",
            "spec.",
            "user.x",
            "spec.a=2e",
            "spec.a=41",
            "spec.=",
            "spec.=+1",
            "spec.=FF",
            "spec.a b",
            "spec.a..b",
        ];
        for name in others {
            assert_eq!(key(name), None, "{name}");
        }
    }
}
