//! The users of a realm.
//!
//! So far they are whom the embedded router lets in; signing in over HTTP comes with security.
//!
//! Reference: `security.md`, "Realm object".

use crate::diagnostic::{Code, Diagnostic, Location};
use crate::document::{Document, ObjectReader};
use crate::wamp::auth::Secret;

use super::object::{Neutral, refuse_later};

/// Somebody who may join a realm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name, in lower case: case does not matter.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// Whether the user may join now.
    pub enabled: bool,
}

/// Words that grants and sources use for others than users.
const RESERVED: [&str; 6] = ["all", "anonymous", "any", "from", "on", "to"];

const MIN_USERNAME_BYTES: usize = 3;
const MIN_PASSWORD_BYTES: usize = 6;
/// Of names and passwords.
const MAX_BYTES: usize = 254;

/// What comes with security, and the value that means the same as leaving it out.
const LATER: &[(&str, Neutral)] = &[
    ("password_hash", Neutral::None),
    ("groups", Neutral::Empty),
    ("meta", Neutral::Empty),
    ("aliases", Neutral::Empty),
];

/// Reads the member `users` of a realm; those with an error are left out.
pub(super) fn read_users(realm: &ObjectReader<'_>) -> Vec<User> {
    let mut users: Vec<(User, Location)> = Vec::new();
    for node in realm.list("users").unwrap_or_default() {
        let Some(reader) = realm.object_at(node) else {
            continue;
        };
        let user = read_user(&reader, realm.document());
        reader.finish();
        let Some((user, location)) = user else {
            continue;
        };
        let mut known = users.iter();
        if let Some((_, first)) = known.find(|(known, _)| known.username == user.username) {
            let message = format!("user `{}` is there already, at {first}", user.username);
            realm.push(Diagnostic::error(Code::DuplicateUser, location, message));
        } else {
            users.push((user, location));
        }
    }
    users.into_iter().map(|(user, _)| user).collect()
}

fn read_user(reader: &ObjectReader<'_>, document: &Document) -> Option<(User, Location)> {
    let username = reader.required_text("username").and_then(|text| {
        let node = reader.get("username")?;
        let username = text.to_lowercase();
        if !(MIN_USERNAME_BYTES..=MAX_BYTES).contains(&text.len()) {
            let message = format!("expected {MIN_USERNAME_BYTES} to {MAX_BYTES} bytes");
            return reader.refuse_value(node, &message);
        }
        if RESERVED.contains(&username.as_str()) {
            return reader.refuse_value(node, "the name is reserved");
        }
        Some((username, document.location(node.id)))
    });
    let enabled = reader.bool("enabled").unwrap_or(true);
    refuse_later(reader, LATER);
    // One that is refused takes the place of the password all the same.
    let password = if reader.get("password_hash").is_some() {
        reader.text("password")
    } else {
        reader.required_text("password")
    };
    let password = password.and_then(|text| {
        let node = reader.get("password")?;
        if !(MIN_PASSWORD_BYTES..=MAX_BYTES).contains(&text.len()) {
            let message = format!("expected {MIN_PASSWORD_BYTES} to {MAX_BYTES} bytes");
            return reader.refuse_value(node, &message);
        }
        Some(Secret::text(text))
    });
    let (username, location) = username?;
    let user = User {
        username,
        password: password?,
        enabled,
    };
    Some((user, location))
}
