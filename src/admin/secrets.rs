//! Secrets of realms are write-only: they come in and are kept, and never go out.
//!
//! Whoever reads a realm, changes its description and writes it back has not got its secrets; so what
//! a new text leaves out is taken from the stored one, where it is clear that it means the same: the
//! same method and authid of the router, the same user, the same URL but for its user.

use crate::document::is_secret_key;
use crate::value::{Map, Value};
use crate::wamp::config::Endpoint;

/// Returns a realm without its secrets.
pub(super) fn withheld(realm: &Map) -> Map {
    let mut shown = Map::new();
    for (key, value) in realm {
        if is_secret(key) {
            continue;
        }
        shown.insert(key.clone(), without(key, value));
    }
    shown
}

fn without(key: &str, value: &Value) -> Value {
    match value {
        Value::Map(map) => Value::Map(withheld(map)),
        Value::List(items) => Value::List(items.iter().map(|item| without(key, item)).collect()),
        Value::Text(url) if key == "urls" => Value::from(shown_url(url)),
        other => other.clone(),
    }
}

fn is_secret(key: &str) -> bool {
    is_secret_key(key) || matches!(key, "private_keys" | "hash")
}

/// A router's URL may hold a user, a password, a token in its query.
fn shown_url(url: &str) -> String {
    if url.contains(['@', '?', '#']) {
        Endpoint::from(url).to_string()
    } else {
        url.to_owned()
    }
}

/// Puts the secrets of `stored` into `realm`, as far as it leaves them out. Returns whether there
/// were any.
pub(super) fn keep(realm: &mut Map, stored: &Map) -> bool {
    let mut kept = false;
    if let (Some(Value::Map(router)), Some(Value::Map(before))) =
        (realm.get_mut("router"), stored.get("router"))
    {
        kept |= keep_urls(router, before);
        if let (Some(Value::Map(auth)), Some(Value::Map(before))) =
            (router.get_mut("auth"), before.get("auth"))
            && ["method", "authid"]
                .iter()
                .all(|key| auth.get(*key) == before.get(*key))
        {
            kept |= keep_members(auth, before, &["secret", "private_key"]);
        }
    }
    if let (Some(Value::List(users)), Some(Value::List(before))) =
        (realm.get_mut("users"), stored.get("users"))
    {
        for user in users {
            let Value::Map(user) = user else { continue };
            let same = before
                .iter()
                .filter_map(Value::as_map)
                .find(|before| name(before).is_some() && name(before) == name(user));
            if let Some(before) = same {
                kept |= keep_members(user, before, &["password", "password_hash"]);
            }
        }
    }
    kept
}

fn name(user: &Map) -> Option<String> {
    Some(user.get("username")?.as_text()?.to_lowercase())
}

/// Takes one of `keys` over, or the file that stands for it, where the new text has none of them.
fn keep_members(map: &mut Map, before: &Map, keys: &[&str]) -> bool {
    let in_file = |key: &str| format!("{key}_file");
    let is_given = |key: &&str| map.contains_key(*key) || map.contains_key(&in_file(key));
    if keys.iter().any(is_given) {
        return false;
    }
    let mut kept = false;
    for key in keys {
        if let Some(value) = before.get(*key) {
            map.insert((*key).to_owned(), value.clone());
            kept = true;
        }
    }
    kept
}

fn keep_urls(router: &mut Map, before: &Map) -> bool {
    let (Some(Value::List(urls)), Some(Value::List(before))) =
        (router.get_mut("urls"), before.get("urls"))
    else {
        return false;
    };
    let mut kept = false;
    for url in urls {
        let Value::Text(url) = url else { continue };
        let same = before
            .iter()
            .filter_map(Value::as_text)
            .find(|before| *before != url && shown_url(before) == *url);
        // One that is there as it is, without a user, means just that.
        let is_there = before
            .iter()
            .any(|before| before.as_text() == Some(url.as_str()));
        if let Some(same) = same.filter(|_| !is_there) {
            *url = same.to_owned();
            kept = true;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::json::from_json;

    fn map(text: &str) -> Map {
        match from_json(text.as_bytes()).unwrap() {
            Value::Map(map) => map,
            other => panic!("{other}"),
        }
    }

    fn shown(text: &str) -> String {
        Value::Map(withheld(&map(text))).to_string()
    }

    #[test]
    fn what_goes_out_holds_no_secret() {
        let realm = r#"{"uri": "com.a", "router": {"urls": ["ws://bob:hush@h/ws?token=hush", "ws://i/ws"],
            "auth": {"method": "ticket", "authid": "me", "secret": "hush"}}, "users": [
            {"username": "ann", "password": "hush"}, {"username": "bob", "password_hash": "hush"}],
            "api_keys": [{"id": "k", "hash": "hush"}], "private_keys": ["hush"],
            "info": {"oidc_providers": {"p": {"client_id": "c", "client_secret": "hush"}}},
            "x-note": {"token": "hush", "private_key": "hush"}}"#;
        let shown = shown(realm);
        assert!(!shown.contains("hush"), "{shown}");
        assert!(
            shown.contains(r#""urls":["ws://h/ws","ws://i/ws"]"#),
            "{shown}"
        );
        assert!(
            shown.contains(r#""auth":{"method":"ticket","authid":"me"}"#),
            "{shown}"
        );
    }

    fn kept(new: &str, stored: &str) -> Option<String> {
        let mut new = map(new);
        keep(&mut new, &map(stored)).then(|| Value::Map(new).to_string())
    }

    #[test]
    fn what_is_left_out_is_kept_where_it_means_the_same() {
        let stored = r#"{"uri":"com.a","router":{"urls":["ws://bob:pw@h/ws","ws://i"],"auth":{"method":"ticket","authid":"me","secret":"hush"}},"users":[{"username":"Ann","password":"hush"}]}"#;
        // What was read can be written back.
        let read = Value::Map(withheld(&map(stored))).to_string();
        let back = kept(&read, stored).unwrap();
        assert_eq!(map(&back), map(stored));
        for new in [
            r#"{"router": {"auth": {"method": "wampcra", "authid": "me"}}}"#,
            r#"{"router": {"auth": {"method": "ticket", "authid": "you"}}}"#,
            r#"{"router": {"auth": {"method": "ticket", "authid": "me", "secret": "new"}}}"#,
            r#"{"router": {"auth": {"method": "ticket", "authid": "me", "secret_file": "f"}}}"#,
            r#"{"router": {"urls": ["ws://i", "ws://other/ws"]}}"#,
            r#"{"users": [{"username": "bob"}, {"username": "ann", "password": "new"}, 5]}"#,
            r#"{"users": {}, "router": 5}"#,
            "{}",
        ] {
            assert_eq!(kept(new, stored), None, "{new}");
        }
        let user = r#"{"users":[{"username":"ANN"}]}"#;
        let with_password = r#"{"users":[{"username":"ANN","password":"hush"}]}"#;
        assert_eq!(kept(user, stored).as_deref(), Some(with_password));
    }
}
