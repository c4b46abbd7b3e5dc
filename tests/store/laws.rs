//! What every store does, as one function that any of them can be handed to.
//!
//! The store may hold other documents; nothing else may write to it meanwhile, except where a law
//! does so itself.

use std::sync::Arc;

use futures_util::future::join_all;
use wampgate::store::record::hash;
use wampgate::store::{
    Expect, Key, Kind, MAX_ID_BYTES, REVISIONS, Record, Store, Write, WriteError,
};

/// Tries every law but the one of [`end`]. `name` keeps the documents of two runs apart.
pub(crate) async fn hold(store: &dyn Store, name: &str) {
    a_document_is_there_as_it_was_written(store, &id(name, "written")).await;
    a_write_that_expects_something_else_changes_nothing(store, &id(name, "expected")).await;
    a_deleted_document_is_gone_and_remembered(store, &id(name, "deleted")).await;
    the_last_revisions_are_kept(store, &id(name, "revisions")).await;
    contents_follow(store, &id(name, "followed")).await;
    a_spec_and_a_realm_may_have_one_id(store, &id(name, "both")).await;
    any_id_names_a_document(store, name).await;
    what_is_too_long_is_refused(store, &id(name, "long")).await;
    of_many_writers_nobody_overwrites_another(store, &id(name, "counter")).await;
}

/// A store that was closed takes no writes. The last that is done to it.
pub(crate) async fn end(store: &dyn Store) {
    store.close().await;
    let before = store.contents().borrow().clone();
    let result = store.write(put("closed", "{}", Expect::Anything)).await;
    assert!(
        matches!(result, Err(WriteError::Unavailable(_))),
        "{result:?}"
    );
    assert_eq!(*store.contents().borrow(), before);
    // Once more is no harm.
    store.close().await;
}

fn id(name: &str, law: &str) -> String {
    format!("{name}.{law}")
}

pub(crate) fn spec(id: &str) -> Key {
    Key {
        kind: Kind::Spec,
        id: id.to_owned(),
    }
}

pub(crate) fn put(id: &str, text: &str, expect: Expect) -> Write {
    Write {
        key: spec(id),
        text: Some(text.into()),
        expect,
        author: format!("author of {id}"),
        time_ms: 1_795_280_400_123,
    }
}

pub(crate) fn delete(id: &str, expect: Expect) -> Write {
    Write {
        text: None,
        ..put(id, "", expect)
    }
}

/// Returns the document as the contents show it.
pub(crate) fn shown(store: &dyn Store, key: &Key) -> Option<Record> {
    store.contents().borrow().records.get(key).cloned()
}

/// Returns what a conflict found.
fn conflict(result: Result<Record, WriteError>) -> Option<u64> {
    match result {
        Err(WriteError::Conflict { found }) => found,
        other => panic!("not a conflict: {other:?}"),
    }
}

async fn a_document_is_there_as_it_was_written(store: &dyn Store, id: &str) {
    let texts = [
        "{\"id\": \"x\"}",
        "",
        " \u{feff}\r\n\t\0\u{1F980}\u{10FFFF} \"quoted\\\" ",
        &"long ".repeat(40_000),
    ];
    let mut last = store.contents().borrow().revision;
    for text in texts {
        let write = put(id, text, Expect::Anything);
        let record = store.write(write.clone()).await.unwrap();
        let expected = Record {
            key: write.key.clone(),
            revision: record.revision,
            text: Some(text.into()),
            author: write.author,
            time_ms: write.time_ms,
            hash: hash(text),
        };
        assert_eq!(record, expected);
        assert!(record.revision > last, "{} after {last}", record.revision);
        last = record.revision;
        assert_eq!(shown(store, &write.key), Some(expected.clone()));
        assert_eq!(store.revisions(&write.key).await.unwrap()[0], expected);
    }
}

async fn a_write_that_expects_something_else_changes_nothing(store: &dyn Store, id: &str) {
    let key = spec(id);
    assert_eq!(store.revisions(&key).await.unwrap(), []);
    assert_eq!(
        conflict(store.write(put(id, "0", Expect::Revision(1))).await),
        None
    );
    let first = store.write(put(id, "1", Expect::Nothing)).await.unwrap();
    let second = put(id, "2", Expect::Revision(first.revision));
    let second = store.write(second).await.unwrap();
    assert!(second.revision > first.revision);

    let before = store.contents().borrow().clone();
    let wrong = [
        put(id, "3", Expect::Nothing),
        put(id, "3", Expect::Revision(first.revision)),
        put(id, "3", Expect::Revision(second.revision + 1)),
        put(id, "3", Expect::Revision(u64::MAX)),
        put(id, "3", Expect::Revision(0)),
        delete(id, Expect::Revision(first.revision)),
        delete(id, Expect::Nothing),
    ];
    for write in wrong {
        assert_eq!(conflict(store.write(write).await), Some(second.revision));
    }
    assert_eq!(*store.contents().borrow(), before);
    let revisions = store.revisions(&key).await.unwrap();
    assert_eq!(revisions, [second, first]);
}

async fn a_deleted_document_is_gone_and_remembered(store: &dyn Store, id: &str) {
    let key = spec(id);
    for expect in [Expect::Anything, Expect::Nothing, Expect::Revision(1)] {
        assert_eq!(conflict(store.write(delete(id, expect)).await), None);
    }
    let first = store.write(put(id, "1", Expect::Nothing)).await.unwrap();
    let gone = delete(id, Expect::Revision(first.revision));
    let gone = store.write(gone).await.unwrap();
    assert!(gone.revision > first.revision);
    assert_eq!((&gone.text, gone.hash.as_str()), (&None, ""));
    assert_eq!(shown(store, &key), None);
    assert!(store.contents().borrow().revision >= gone.revision);

    // A deletion is no document: it can be neither deleted nor replaced.
    assert_eq!(
        conflict(store.write(delete(id, Expect::Anything)).await),
        None
    );
    let replace = put(id, "2", Expect::Revision(gone.revision));
    assert_eq!(conflict(store.write(replace).await), None);

    let again = store.write(put(id, "1", Expect::Nothing)).await.unwrap();
    assert_eq!(shown(store, &key), Some(again.clone()));
    let revisions = store.revisions(&key).await.unwrap();
    assert_eq!(revisions, [again, gone, first]);
}

async fn the_last_revisions_are_kept(store: &dyn Store, id: &str) {
    let mut written = Vec::new();
    for number in 0..REVISIONS + 5 {
        // A deletion is a revision as any other.
        let write = if number == REVISIONS {
            delete(id, Expect::Anything)
        } else {
            put(id, &number.to_string(), Expect::Anything)
        };
        written.push(store.write(write).await.unwrap());
    }
    let expected: Vec<_> = written.into_iter().rev().take(REVISIONS).collect();
    assert_eq!(store.revisions(&spec(id)).await.unwrap(), expected);
}

async fn contents_follow(store: &dyn Store, id: &str) {
    let other = store
        .write(put(&format!("{id}.other"), "{}", Expect::Nothing))
        .await
        .unwrap();
    let mut contents = store.contents();
    let before = contents.borrow_and_update().clone();
    let record = store.write(put(id, "1", Expect::Nothing)).await.unwrap();
    assert!(contents.has_changed().unwrap());
    let after = contents.borrow_and_update().clone();
    assert_eq!(after.records[&record.key], record);
    assert_eq!(after.records[&other.key], other);
    assert!(after.revision >= record.revision);
    // What somebody holds does not change under them.
    assert!(!before.records.contains_key(&record.key));
    assert_eq!(after.records.len(), before.records.len() + 1);
    store.write(delete(id, Expect::Anything)).await.unwrap();
    assert!(contents.has_changed().unwrap());
    assert_eq!(contents.borrow_and_update().records, before.records);
}

async fn a_spec_and_a_realm_may_have_one_id(store: &dyn Store, id: &str) {
    let realm = Key {
        kind: Kind::Realm,
        id: id.to_owned(),
    };
    let a_spec = store.write(put(id, "spec", Expect::Nothing)).await.unwrap();
    let write = Write {
        key: realm.clone(),
        ..put(id, "realm", Expect::Nothing)
    };
    let a_realm = store.write(write).await.unwrap();
    store.write(delete(id, Expect::Anything)).await.unwrap();
    assert_eq!(shown(store, &a_spec.key), None);
    assert_eq!(shown(store, &realm), Some(a_realm.clone()));
    assert_eq!(store.revisions(&realm).await.unwrap(), [a_realm]);
}

/// An id is any text: none of it may mean something to the store, or be confused with another.
async fn any_id_names_a_document(store: &dyn Store, name: &str) {
    let longest = "x".repeat(MAX_ID_BYTES);
    let wide = "\u{1F980}".repeat(MAX_ID_BYTES / 4);
    let odd = [
        "/",
        "//",
        "..",
        "../x",
        ".",
        "a.b",
        "a.",
        ".a",
        "a..b",
        "*",
        ">",
        "$KV",
        "a b",
        " ",
        "\t",
        "\n",
        "\0",
        "a\0",
        "%2F",
        "=",
        "_",
        "-",
        "a",
        "A",
        "é",
        "e\u{301}",
        "\u{1F980}",
        "\u{202e}",
        "\"'\\",
        "wamp:uri?x#y",
        &longest,
        &wide,
    ];
    let mut written = Vec::new();
    for id in odd {
        // As they are where that fits, for what is special at the beginning.
        for id in [id.to_owned(), format!("{name}{id}")] {
            if id.len() <= MAX_ID_BYTES {
                let write = put(&id, &format!("text of {id:?}"), Expect::Nothing);
                written.push(
                    store
                        .write(write)
                        .await
                        .unwrap_or_else(|error| panic!("{id:?}: {error}")),
                );
            }
        }
    }
    for record in &written {
        assert_eq!(shown(store, &record.key).as_ref(), Some(record));
        let revisions = store.revisions(&record.key).await.unwrap();
        assert_eq!(&revisions[0], record);
    }
    for record in written {
        let write = delete(&record.key.id, Expect::Revision(record.revision));
        store.write(write).await.unwrap();
    }
}

async fn what_is_too_long_is_refused(store: &dyn Store, id: &str) {
    let before = store.contents().borrow().clone();
    for length in [0, MAX_ID_BYTES + 1] {
        let result = store
            .write(put(&"x".repeat(length), "{}", Expect::Anything))
            .await;
        assert!(
            matches!(result, Err(WriteError::Id { bytes }) if bytes == length),
            "{result:?}"
        );
    }
    let result = store
        .write(put(id, &"x".repeat(64 << 20), Expect::Anything))
        .await;
    let Err(WriteError::TooLarge { size, limit, .. }) = result else {
        panic!("{result:?}");
    };
    assert!(size >= 64 << 20, "{size}");
    let result = store
        .write(put(id, &"x".repeat(limit + 1), Expect::Anything))
        .await;
    assert!(
        matches!(result, Err(WriteError::TooLarge { .. })),
        "{result:?}"
    );
    assert_eq!(*store.contents().borrow(), before);
    // What is as good as the longest is taken, also where it needs more room as JSON.
    let longest = limit - 4096;
    for text in ["x".repeat(longest), "\"".repeat(longest / 2)] {
        let record = store.write(put(id, &text, Expect::Anything)).await.unwrap();
        assert_eq!(record.text.as_deref(), Some(text.as_str()));
    }
    store.write(delete(id, Expect::Anything)).await.unwrap();
}

async fn of_many_writers_nobody_overwrites_another(store: &dyn Store, id: &str) {
    const WRITERS: u64 = 8;
    const WRITES: u64 = 5;
    let key = spec(id);
    let writer = async || {
        for _ in 0..WRITES {
            loop {
                let present = shown(store, &key);
                let (count, expect) = match &present {
                    None => (0, Expect::Nothing),
                    Some(record) => (
                        record.text.as_deref().unwrap().parse::<u64>().unwrap(),
                        Expect::Revision(record.revision),
                    ),
                };
                match store.write(put(id, &(count + 1).to_string(), expect)).await {
                    Ok(_) => break,
                    Err(WriteError::Conflict { found }) => assert!(found.is_some()),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    join_all((0..WRITERS).map(|_| writer())).await;
    let text: Arc<str> = shown(store, &key).unwrap().text.unwrap();
    assert_eq!(*text, *(WRITERS * WRITES).to_string());
    let revisions = store.revisions(&key).await.unwrap();
    let counts = revisions
        .iter()
        .map(|record| record.text.as_deref().unwrap());
    let expected = (0..REVISIONS as u64).map(|back| (WRITERS * WRITES - back).to_string());
    assert!(counts.eq(expected), "{revisions:?}");
}
