//! A model of a store: what the simplest thing does that keeps the laws, beside the real one.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::tempdir;
use wampgate::store::embedded::Embedded;
use wampgate::store::{Contents, Expect, Key, Kind, REVISIONS, Record, Store, Write, WriteError};

/// What is done to both.
#[derive(Debug, Clone)]
enum Step {
    Write {
        key: usize,
        text: Option<String>,
        expect: Expecting,
    },
    /// The store is closed, or just dropped, and opened.
    Reopen { in_order: bool },
}

/// What a write expects, in terms of what the model has.
#[derive(Debug, Clone, Copy)]
enum Expecting {
    Anything,
    Nothing,
    /// The present revision, or the one that was there so many writes before.
    Back(usize),
    /// One that never was.
    Future,
}

#[derive(Default)]
struct Model {
    revision: u64,
    records: BTreeMap<Key, Vec<Record>>,
}

impl Model {
    fn present(&self, key: &Key) -> Option<&Record> {
        let newest = self.records.get(key)?.last()?;
        newest.text.is_some().then_some(newest)
    }

    fn write(&mut self, write: Write) -> Result<Record, Option<u64>> {
        let found = self.present(&write.key).map(|record| record.revision);
        let is_met = match write.expect {
            Expect::Anything => true,
            Expect::Nothing => found.is_none(),
            Expect::Revision(revision) => found == Some(revision),
        };
        if !is_met || (write.text.is_none() && found.is_none()) {
            return Err(found);
        }
        self.revision += 1;
        let record = Record::of(write, self.revision);
        let records = self.records.entry(record.key.clone()).or_default();
        records.push(record.clone());
        Ok(record)
    }

    fn revisions(&self, key: &Key) -> Vec<Record> {
        let all = self.records.get(key).into_iter().flatten();
        all.rev().take(REVISIONS).cloned().collect()
    }

    fn contents(&self) -> Contents {
        let present = self.records.keys().filter_map(|key| self.present(key));
        let records = present.map(|record| (record.key.clone(), record.clone()));
        Contents {
            revision: self.revision,
            records: Arc::new(records.collect()),
        }
    }
}

/// Two keys that differ in their kind alone, and two of which one begins with the other.
fn key(number: usize) -> Key {
    let (kind, id) = [
        (Kind::Spec, "a"),
        (Kind::Realm, "a"),
        (Kind::Spec, "a\0b"),
        (Kind::Spec, "ä"),
    ][number];
    Key {
        kind,
        id: id.to_owned(),
    }
}

const KEYS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let expect = prop_oneof![
        4 => Just(Expecting::Anything),
        2 => Just(Expecting::Nothing),
        4 => Just(Expecting::Back(0)),
        2 => (0..4_usize).prop_map(Expecting::Back),
        1 => Just(Expecting::Future),
    ];
    let text = prop_oneof![3 => ".{0,20}".prop_map(Some), 1 => Just(None)];
    let write =
        (0..KEYS, text, expect).prop_map(|(key, text, expect)| Step::Write { key, text, expect });
    prop_oneof![30 => write, 1 => any::<bool>().prop_map(|in_order| Step::Reopen { in_order })]
}

async fn compare(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let folder = tempdir().unwrap();
    let mut store = Embedded::open(folder.path()).await.unwrap();
    let mut model = Model::default();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Write {
                key: k,
                text,
                expect,
            } => {
                let key = key(k);
                let expect = match expect {
                    Expecting::Anything => Expect::Anything,
                    Expecting::Nothing => Expect::Nothing,
                    Expecting::Back(back) => {
                        let revisions = model.revisions(&key);
                        Expect::Revision(revisions.get(back).map_or(0, |record| record.revision))
                    }
                    Expecting::Future => Expect::Revision(model.revision + 1),
                };
                let write = Write {
                    key,
                    text: text.map(Arc::from),
                    expect,
                    author: format!("author {number}"),
                    time_ms: number as u64,
                };
                let expected = model.write(write.clone());
                match store.write(write).await {
                    Ok(record) => prop_assert_eq!(Ok(record), expected),
                    Err(WriteError::Conflict { found }) => prop_assert_eq!(Err(found), expected),
                    Err(error) => prop_assert!(false, "{}", error),
                }
            }
            Step::Reopen { in_order } => {
                if in_order {
                    store.close().await;
                }
                drop(store);
                store = Embedded::open(folder.path()).await.unwrap();
            }
        }
        let contents = store.contents().borrow().clone();
        prop_assert_eq!(contents, model.contents());
    }
    for key in (0..KEYS).map(key) {
        prop_assert_eq!(store.revisions(&key).await.unwrap(), model.revisions(&key));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_does_what_its_model_does(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(compare(steps))?;
    }
}
