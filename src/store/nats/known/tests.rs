use super::*;
use crate::store::{Expect, Kind};

fn spec(id: &str) -> Key {
    Key {
        kind: Kind::Spec,
        id: id.to_owned(),
    }
}

fn put(id: &str, text: Option<&str>, expect: Expect) -> Write {
    Write {
        key: spec(id),
        text: text.map(Into::into),
        expect,
        author: "ann".to_owned(),
        time_ms: 1,
    }
}

/// An entry with a document's record; without a text it deletes it.
fn entry(sequence: u64, id: &str, text: Option<&str>) -> Entry {
    let record = Record::of(put(id, text, Expect::Anything), 0);
    Entry {
        sequence,
        key: names::name(&record.key),
        is_deletion: text.is_none(),
        payload: record.encode().into(),
        time_ms: 2,
    }
}

fn meta(sequence: u64, identity: Option<&Identity>, claim: Option<&str>) -> Entry {
    let meta = Meta {
        identity: identity.cloned(),
        claim: claim.map(str::to_owned),
        author: "ann".to_owned(),
    };
    Entry {
        sequence,
        key: names::META.to_owned(),
        is_deletion: false,
        payload: meta.encode().into(),
        time_ms: 2,
    }
}

/// What a stream shows that had these entries; the newest of a key is what is left of it.
fn found(entries: &[Entry], known: &Known) -> Found {
    let mut newest: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in entries {
        newest.insert(&entry.key, entry);
    }
    let at = known.newest().map(|(_, head)| head.sequence);
    Found {
        newest: entries.last().map_or(0, |entry| entry.sequence),
        entries: newest.into_values().cloned().collect(),
        at_newest: entries.iter().find(|it| Some(it.sequence) == at).cloned(),
    }
}

/// A gateway that has seen these entries.
fn knowing(identity: &Identity, entries: &[Entry]) -> Known {
    let mut known = Known::default();
    let unread = known.take(identity.clone(), &found(entries, &Known::default()));
    assert_eq!(unread, []);
    known
}

fn verdict(known: &Known, entries: &[Entry]) -> String {
    match known.judge(&found(entries, known)) {
        Verdict::Take(identity) => format!("take {}", identity.store),
        Verdict::Vacant => "vacant".to_owned(),
        Verdict::Claimed(reason) => format!("claimed: {reason}"),
        Verdict::Doubtful(reason) => reason,
    }
}

#[test]
fn who_holds_nothing_takes_what_is_there_and_founds_where_nothing_is() {
    let store = Identity::found([]);
    let nothing = Known::default();
    assert_eq!(verdict(&nothing, &[]), "vacant");
    // Also what somebody has put there by hand, before any gateway.
    assert_eq!(verdict(&nothing, &[entry(1, "a", Some("1"))]), "vacant");
    let take = format!("take {}", store.store);
    assert_eq!(verdict(&nothing, &[meta(1, Some(&store), None)]), take);
    let claim = [meta(1, None, Some("g"))];
    assert_eq!(
        verdict(&nothing, &claim),
        "claimed: gateway g writes its contents"
    );
    // It knew another store, but has nothing of it that could be lost.
    let emptied = knowing(&Identity::found([]), &[meta(9, None, None)]);
    assert_eq!(verdict(&emptied, &[meta(1, Some(&store), None)]), take);
}

#[test]
fn what_follows_what_is_known_is_taken_and_nothing_else() {
    let store = Identity::found([]);
    let first = meta(1, Some(&store), None);
    let seen = [
        first.clone(),
        entry(2, "a", Some("1")),
        entry(3, "b", Some("1")),
    ];
    let known = knowing(&store, &seen);
    let take = format!("take {}", store.store);
    assert_eq!(verdict(&known, &seen), take);
    let more = [&seen[..], &[entry(4, "a", Some("2")), entry(5, "b", None)]].concat();
    assert_eq!(verdict(&known, &more), take);

    assert_eq!(verdict(&known, &[]), "the store is empty");
    let lost = verdict(&known, &seen[1..]);
    assert!(lost.contains("has lost its entry `meta`"), "{lost}");
    let older = verdict(&known, &seen[..2]);
    assert!(older.contains("it ends at 2, 3 was seen"), "{older}");
    // It went back, and was written to since.
    let other = [
        first.clone(),
        seen[1].clone(),
        entry(3, "c", Some("1")),
        entry(4, "d", Some("1")),
    ];
    assert_eq!(
        verdict(&known, &other),
        "`spec.b` is gone without having been deleted"
    );
    let other = [
        first.clone(),
        seen[1].clone(),
        entry(3, "c", Some("1")),
        entry(4, "b", Some("2")),
    ];
    assert_eq!(verdict(&known, &other), "entry 3 is not what was seen");
    let other = [first.clone(), seen[1].clone(), entry(3, "b", Some("2"))];
    assert_eq!(
        verdict(&known, &other),
        "`spec.b` is not what was seen under its number"
    );
    let other = [
        first,
        entry(2, "b", Some("1")),
        entry(3, "x", None),
        entry(4, "a", Some("1")),
    ];
    assert_eq!(
        verdict(&known, &other),
        "`spec.b` is older than what was seen"
    );
}

#[test]
fn the_trace_of_a_deletion_may_go_and_so_may_old_revisions() {
    let store = Identity::found([]);
    let seen = [
        meta(1, Some(&store), None),
        entry(2, "a", Some("1")),
        entry(3, "a", None),
    ];
    let known = knowing(&store, &[&seen[..], &[entry(4, "b", Some("1"))]].concat());
    // Entry 4, the newest that is known, had to make room for the twenty of `b` that follow it.
    let later = [seen[0].clone(), entry(25, "b", Some("2"))];
    assert_eq!(verdict(&known, &later), format!("take {}", store.store));
}

#[test]
fn a_store_that_replaces_the_known_one_is_followed_and_revisions_grow() {
    let store = Identity::found([]);
    let seen = [
        meta(1, Some(&store), None),
        entry(2, "a", Some("1")),
        entry(50, "b", Some("1")),
    ];
    let mut known = knowing(&store, &seen);
    let other = Identity::found([]);
    let foreign = verdict(&known, &[meta(1, Some(&other), None)]);
    assert!(foreign.contains("another store"), "{foreign}");
    assert!(!known.clone().follow(&meta(51, Some(&other), None)));

    let next = Identity::found([(&store, 50)]);
    let last = Identity::found([(&next, 3)]);
    for replacing in [&next, &last] {
        let entries = [entry(1, "a", Some("1")), meta(2, Some(replacing), None)];
        assert_eq!(
            verdict(&known, &entries),
            format!("take {}", replacing.store)
        );
    }
    let before = known.contents.clone();
    assert!(known.follow(&meta(51, Some(&next), None)));
    assert_eq!(known.contents.revision, before.revision + next.base);
    let of_a = |contents: &Contents| contents.records[&spec("a")].revision;
    assert_eq!(of_a(&known.contents), of_a(&before) + next.base);
    assert!(of_a(&known.contents) > before.revision);
}

#[test]
fn a_write_names_the_entry_that_it_replaces() {
    let store = Identity::found([(&Identity::found([]), 0)]);
    let base = store.base;
    let later = Entry {
        payload: br#"{"format":2}"#.as_slice().into(),
        ..entry(5, "later", Some(""))
    };
    let entries = [
        meta(1, Some(&store), None),
        entry(2, "a", Some("1")),
        entry(3, "b", None),
    ];
    let mut known = knowing(&store, &entries);
    known.put(&entry(4, "later", Some("1"))).unwrap();
    assert_eq!(known.put(&later), Err(spec("later")));

    let check = |id: &str, expect: Expect| {
        let checked = known.check(&put(id, Some("2"), expect));
        checked.map_err(|error| error.to_string())
    };
    assert_eq!(check("a", Expect::Anything), Ok(2));
    assert_eq!(check("a", Expect::Revision(base + 2)), Ok(2));
    let present = format!("the present revision is {}", base + 2);
    assert_eq!(check("a", Expect::Nothing), Err(present));
    assert_eq!(check("b", Expect::Nothing), Ok(3));
    assert_eq!(check("c", Expect::Nothing), Ok(0));
    let none = "the present revision is none".to_owned();
    assert_eq!(check("c", Expect::Revision(7)), Err(none));
    // Served is the revision before it; to be replaced it has to be named.
    assert_eq!(known.contents.records[&spec("later")].revision, base + 4);
    assert!(
        check("later", Expect::Anything)
            .unwrap_err()
            .contains("a later version")
    );
    let present = format!("the present revision is {}", base + 5);
    assert_eq!(check("later", Expect::Revision(base + 4)), Err(present));
    assert_eq!(check("later", Expect::Revision(base + 5)), Ok(5));
}
