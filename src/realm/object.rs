//! The realm object: `realms/*.json`, one object or a list of them.
//!
//! Reference: `security.md`, "Realm object".

use crate::diagnostic::{Code, Diagnostic, Findings, Location};
use crate::document::{ADDED_WHEN_SHOWN, Document, Node, NodeKind, ObjectReader};
use crate::uri::{Uri, UriCheck};
use crate::value::Value;
use crate::wamp::config::RouterConfig;

use super::read_router;
use super::user::{User, read_users};

/// A realm that is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Realm {
    /// Its URI.
    pub uri: Uri,
    /// What it is for, at most 512 bytes.
    pub description: String,
    /// How its sessions are made; absent: as the gateway's default router says.
    pub router: Option<RouterConfig>,
    /// Who may join it at the embedded router; without any, anybody may.
    pub users: Vec<User>,
}

/// What became of one document.
#[derive(Debug, Default)]
pub struct LoadedRealms {
    /// The file's name, as the document has it.
    pub file: Option<String>,
    /// The realms without an error.
    pub realms: Vec<Realm>,
    /// The realms with one, as far as it is known what they are.
    pub refused: Vec<Uri>,
    /// Errors and warnings, in the order of their places.
    pub findings: Vec<Diagnostic>,
}

/// Longest description, in bytes.
const MAX_DESCRIPTION: usize = 512;

/// What comes with security, and the value that means the same as leaving it out.
const LATER: &[(&str, Neutral)] = &[
    ("authmethods", Neutral::DefaultMethods),
    ("security_enabled", Neutral::True),
    ("groups", Neutral::Empty),
    ("sources", Neutral::Empty),
    ("grants", Neutral::Empty),
    ("api_keys", Neutral::Empty),
    ("oauth2", Neutral::Empty),
    ("jwt_issuers", Neutral::Empty),
    ("info", Neutral::Empty),
    ("private_keys", Neutral::Empty),
];

/// A value that means the same as leaving its key out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Neutral {
    /// There is none.
    None,
    /// An empty list or map, or a map of such.
    Empty,
    True,
    DefaultMethods,
}

/// A realm as its document has it; what it is beside others is not known yet.
#[derive(Debug)]
pub struct ReadRealm {
    /// Its URI and where that stands, if it can be read.
    pub uri: Option<(Uri, Location)>,
    /// The realm; none if there is an error.
    pub realm: Option<Realm>,
    /// Its own part of the document's text.
    pub text: String,
    /// JSON Pointer to it in the document.
    pub pointer: String,
    /// Errors and warnings about it.
    pub findings: Vec<Diagnostic>,
}

/// Reads the realms of a document: one object, or a list of them. Each has its findings, those of the
/// document's [notes](Document::notes) that are about it among them; what is left of the notes is
/// returned beside.
pub fn read(document: &Document) -> (Vec<ReadRealm>, Vec<Diagnostic>) {
    let mut notes = document.notes().to_vec();
    let nodes = match &document.root().kind {
        NodeKind::List(items) => items.as_slice(),
        _ => std::slice::from_ref(document.root()),
    };
    let mut known: Vec<(Uri, Location)> = Vec::new();
    let read = |node: &Node| {
        let pointer = document.pointer(node.id);
        let findings = Findings::new();
        findings.extend(notes.extract_if(.., |note| is_inside(&pointer, note)));
        let mut realm = read_realm(document, node, &findings);
        let uri = realm
            .as_ref()
            .map(|(realm, location)| (realm.uri.clone(), location.clone()));
        if let Some((uri, location)) = &uri {
            match known.iter().find(|(known, _)| known == uri) {
                Some((_, first)) => findings.push(duplicate(uri, location.clone(), first)),
                None => known.push((uri.clone(), location.clone())),
            }
        }
        if findings.errors() > 0 {
            realm = None;
        }
        ReadRealm {
            uri,
            realm: realm.map(|(realm, _)| realm),
            text: document.text_of(node.id).to_owned(),
            pointer,
            findings: findings.into_sorted(),
        }
    };
    let realms = nodes.iter().map(read).collect();
    (realms, notes)
}

/// Returns the finding about a realm that is there already, at `first`.
pub fn duplicate(uri: &Uri, location: Location, first: &Location) -> Diagnostic {
    let message = format!("realm `{uri}` is there already, at {first}");
    Diagnostic::error(Code::DuplicateRealm, location, message)
}

/// Reads realms. Of two with the same URI the later is refused; a realm with an error is left out,
/// the others of its document are not.
pub fn load(documents: &[Document]) -> Vec<LoadedRealms> {
    let mut known: Vec<(Uri, Location)> = Vec::new();
    let mut load = |document: &Document| {
        let all = Findings::new();
        let mut realms = Vec::new();
        let mut refused = Vec::new();
        let (read, notes) = read(document);
        all.extend(notes);
        let mut here = Vec::new();
        for realm in read {
            all.extend(realm.findings);
            let Some((uri, location)) = realm.uri else {
                continue;
            };
            if let Some((_, first)) = known.iter().find(|(known, _)| *known == uri) {
                all.push(duplicate(&uri, location, first));
                continue;
            }
            if here.iter().all(|(known, _)| *known != uri) {
                here.push((uri.clone(), location));
                match realm.realm {
                    Some(realm) => realms.push(realm),
                    None => refused.push(uri),
                }
            }
        }
        known.append(&mut here);
        LoadedRealms {
            file: document.file().map(str::to_owned),
            realms,
            refused,
            findings: all.into_sorted(),
        }
    };
    documents.iter().map(&mut load).collect()
}

/// Returns whether a finding is about the value at `pointer` or something in it.
fn is_inside(pointer: &str, finding: &Diagnostic) -> bool {
    let rest = finding.location.pointer.strip_prefix(pointer);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn read_realm(document: &Document, node: &Node, findings: &Findings) -> Option<(Realm, Location)> {
    let reader = ObjectReader::new(document, node, findings)?;
    reader.allow(ADDED_WHEN_SHOWN);
    let uri = reader.required_text("uri").and_then(|text| {
        let node = reader.get("uri")?;
        let location = document.location(node.id);
        match Uri::parse(text, UriCheck::Loose) {
            Ok(uri) => Some((uri, location)),
            Err(error) => {
                let message = format!("`uri` is no WAMP URI: {error}");
                findings.push(Diagnostic::error(Code::BadUri, location, message));
                None
            }
        }
    });
    let description = reader.text("description").unwrap_or_default();
    if description.len() > MAX_DESCRIPTION
        && let Some(node) = reader.get("description")
    {
        reader.refuse_value::<()>(node, &format!("expected at most {MAX_DESCRIPTION} bytes"));
    }
    let router = reader.object("router").map(|router| {
        router.required("urls");
        let config = read_router(&router);
        router.finish();
        config
    });
    let users = read_users(&reader);
    if let Some(node) = reader.get("users")
        && router.is_some()
        && !Neutral::Empty.admits(&node.to_value())
    {
        let message = "`users` are for the embedded router only so far, and this realm has a \
                       `router` of its own";
        let location = document.location_of_key(node.id);
        let finding = Diagnostic::error(Code::NotBuilt, location, message);
        findings.push(finding.with_hint("configure them at that router"));
    }
    refuse_later(&reader, LATER);
    reader.finish();
    let (uri, location) = uri?;
    let realm = Realm {
        uri,
        description: description.to_owned(),
        router,
        users,
    };
    Some((realm, location))
}

/// Reports what is there of `later` and means something.
pub(super) fn refuse_later(reader: &ObjectReader<'_>, later: &[(&'static str, Neutral)]) {
    for (key, neutral) in later {
        if let Some(node) = reader.get(key)
            && !neutral.admits(&node.to_value())
        {
            let message = format!("`{key}` is not built yet: it comes with the security release");
            let location = reader.document().location_of_key(node.id);
            let finding = Diagnostic::error(Code::NotBuilt, location, message);
            reader.push(finding.with_hint("leave it out"));
        }
    }
}

impl Neutral {
    fn admits(self, value: &Value) -> bool {
        match self {
            Neutral::None => false,
            Neutral::Empty => match value {
                Value::List(items) => items.is_empty(),
                Value::Map(map) => map.values().all(|value| self.admits(value)),
                _ => false,
            },
            Neutral::True => *value == Value::Bool(true),
            Neutral::DefaultMethods => {
                let default = ["anonymous", "password", "oauth2"].map(Value::from);
                *value == Value::from(default.to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wamp::auth::Auth;

    fn load_texts(texts: &[&str]) -> Vec<LoadedRealms> {
        let documents: Vec<Document> = texts
            .iter()
            .map(|text| Document::parse_json(Some("r.json"), text).unwrap())
            .collect();
        load(&documents)
    }

    fn messages(loaded: &LoadedRealms) -> Vec<String> {
        let findings = loaded.findings.iter();
        findings
            .map(|finding| format!("{} {}", finding.code, finding.message))
            .collect()
    }

    #[test]
    fn one_object_or_a_list() {
        let loaded = load_texts(&[
            r#"{"uri": "com.a", "description": "x", "users": [], "info": {"oidc_providers": {}},
                "security_enabled": true, "authmethods": ["anonymous", "password", "oauth2"]}"#,
            r#"[{"uri": "com.b", "router": {"urls": ["ws://h/ws"], "sessions": 5, "auth":
                {"method": "ticket", "authid": "me", "secret": "s3cret"}}}, {"uri": "com.c"}]"#,
        ]);
        assert_eq!(messages(&loaded[0]), [] as [&str; 0]);
        assert_eq!(messages(&loaded[1]), [] as [&str; 0]);
        assert_eq!(loaded[0].realms[0].uri.as_str(), "com.a");
        assert!(loaded[0].realms[0].router.is_none());
        let router = loaded[1].realms[0].router.as_ref().unwrap();
        assert_eq!(router.sessions, 5);
        assert!(matches!(router.auth, Auth::Ticket { .. }));
        assert!(!format!("{loaded:?}").contains("s3cret"));
        assert_eq!(loaded[1].realms[1].uri.as_str(), "com.c");
    }

    #[test]
    fn every_mistake_is_found_and_good_realms_stay() {
        let long = "x".repeat(513);
        let text = format!(
            r#"[{{"uri": "com..a"}}, {{"ury": "com.b"}}, {{"uri": "com.c", "description": "{long}"}},
                {{"uri": "com.d", "router": {{"session": 2}}}}, {{"uri": "com.e", "grants":
                [{{"roles": "all"}}], "security_enabled": false}},
                {{"uri": "com.f"}}, {{"uri": "com.f"}}, 5]"#
        );
        let loaded = load_texts(&[&text]).remove(0);
        assert_eq!(
            messages(&loaded),
            [
                "S209 `uri` is no WAMP URI: component 2 is empty",
                "D005 unknown key `ury`",
                "D008 `description`: expected at most 512 bytes",
                "D007 missing key `urls`",
                "D005 unknown key `session`",
                "D012 `grants` is not built yet: it comes with the security release",
                "D012 `security_enabled` is not built yet: it comes with the security release",
                "R301 realm `com.f` is there already, at r.json:4:25",
                "D006 found integer, expected a map",
            ]
        );
        let uris: Vec<&str> = loaded
            .realms
            .iter()
            .map(|realm| realm.uri.as_str())
            .collect();
        assert_eq!(uris, ["com.f"]);
    }

    #[test]
    fn users_are_read_and_their_passwords_never_shown() {
        let loaded = load_texts(&[r#"{"uri": "com.a", "users": [
            {"username": "Peter", "password": "hunter2!", "groups": [], "meta": {}, "aliases": []},
            {"username": "ann", "password": "hunter2?", "enabled": false, "x-note": 1}]}"#])
        .remove(0);
        assert_eq!(messages(&loaded), [] as [&str; 0]);
        let users = &loaded.realms[0].users;
        assert_eq!(users[0].username, "peter");
        assert!(users[0].enabled && !users[1].enabled);
        assert!(!format!("{loaded:?}").contains("hunter2"));
    }

    #[test]
    fn every_mistake_about_users_is_found() {
        let long = "x".repeat(255);
        let users = format!(
            r#"[{{"username": "me", "password": "hunter2"}},
                {{"username": "{long}", "password": "hunter2"}},
                {{"username": "Any", "password": "hunter2"}},
                {{"username": "ann", "password": "hunt2"}},
                {{"username": "bob", "password": "{long}"}},
                {{"username": "cat", "password_hash": "hunter2", "groups": ["g"]}},
                {{"username": "dan"}},
                {{"username": "eve", "password": "hunter2", "enbled": false}},
                {{"username": "EVE", "password": "hunter2"}},
                {{"password": "hunter2"}}, "fred"]"#
        );
        let text = format!(r#"{{"uri": "com.a", "users": {users}}}"#);
        let loaded = load_texts(&[&text]).remove(0);
        assert_eq!(
            messages(&loaded),
            [
                "D008 `username`: expected 3 to 254 bytes",
                "D008 `username`: expected 3 to 254 bytes",
                "D008 `username`: the name is reserved",
                "D008 `password`: expected 6 to 254 bytes",
                "D008 `password`: expected 6 to 254 bytes",
                "D012 `password_hash` is not built yet: it comes with the security release",
                "D012 `groups` is not built yet: it comes with the security release",
                "D007 missing key `password`",
                "D005 unknown key `enbled`",
                "R304 user `eve` is there already, at r.json:8:30",
                "D007 missing key `username`",
                "D006 found text, expected a map",
            ]
        );
        assert!(loaded.realms.is_empty());
        let shown: String = loaded.findings.iter().map(|f| f.render(false)).collect();
        assert!(!shown.contains("hunt"), "{shown}");
    }

    #[test]
    fn users_of_a_realm_whose_router_is_elsewhere_would_mean_nothing() {
        let text = r#"{"uri": "com.a", "router": {"urls": ["ws://h/ws"]},
            "users": [{"username": "ann", "password": "hunter2"}]}"#;
        let loaded = load_texts(&[text]).remove(0);
        assert_eq!(
            messages(&loaded),
            [
                "D012 `users` are for the embedded router only so far, and this realm has a \
                 `router` of its own"
            ]
        );
    }
}
