//! A disk that fails, and one that fills.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::StorageBackend;

use super::*;
use crate::store::{Expect, Kind};

/// A disk in memory that outlives what is opened on it, and fails when it is told to.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    bytes: Mutex<Vec<u8>>,
    /// How many more operations that change something succeed; `u64::MAX` for all.
    left: AtomicU64,
    /// Whether what fails is done all the same: the answer was lost, not the bytes.
    is_done: AtomicBool,
    longest: AtomicU64,
}

impl Disk {
    fn new() -> Self {
        let disk = Self::default();
        disk.fail_after(u64::MAX);
        disk
    }

    fn fail_after(&self, operations: u64) {
        self.0.left.store(operations, Ordering::Relaxed);
    }

    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let parts = &*self.0;
        let spend = |left: u64| match left {
            u64::MAX => Some(left),
            left => left.checked_sub(1),
        };
        let spent = parts
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        if spent.is_ok() || parts.is_done.load(Ordering::Relaxed) {
            let mut bytes = lock(&parts.bytes);
            change(&mut bytes);
            parts
                .longest
                .fetch_max(bytes.len() as u64, Ordering::Relaxed);
        }
        spent
            .map(|_| ())
            .map_err(|_| io::ErrorKind::StorageFull.into())
    }

    fn open(&self) -> Result<Embedded, OpenError> {
        let disk = self.clone();
        Embedded::from_source(Box::new(move || {
            let path = Path::new("disk");
            let is_new = lock(&disk.0.bytes).is_empty();
            let database = if is_new {
                file::initialize(disk.clone(), tables::FORMAT)
            } else {
                Database::builder()
                    .set_check_integrity_on_open(true)
                    .create_with_backend(disk.clone())
                    .map_err(redb::Error::from)
            };
            let database = database.map_err(|error| OpenError::redb(path, error))?;
            let contents = tables::load(&database, path)?;
            Ok((database, contents))
        }))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0.bytes).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        out.copy_from_slice(&lock(&self.0.bytes)[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(|bytes| bytes.resize(usize::try_from(length).unwrap(), 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|_| ())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.change(|bytes| bytes[offset..offset + data.len()].copy_from_slice(data))
    }
}

fn write(id: &str, text: &str) -> Write {
    Write {
        key: Key {
            kind: Kind::Spec,
            id: id.to_owned(),
        },
        text: Some(text.into()),
        expect: Expect::Anything,
        author: String::new(),
        time_ms: 0,
    }
}

/// Wherever in a write the disk begins to fail, whether or not it did what it says it did not: the
/// outcome that is told is the true one, and nothing else changes.
#[tokio::test]
async fn a_disk_that_fails_is_told_and_what_was_written_stays() {
    let (mut done, mut failed, mut unknown) = (0, 0, 0);
    for is_done in [false, true] {
        for operations in 0..40 {
            let disk = Disk::new();
            let store = disk.open().unwrap();
            store.write(write("a", "old")).await.unwrap();
            let before = store.contents().borrow().clone();

            disk.0.is_done.store(is_done, Ordering::Relaxed);
            disk.fail_after(operations);
            let result = store.write(write("a", "new")).await;
            let told = store.contents().borrow().clone();
            let is_ready = *store.state().borrow() == State::Ready;

            disk.fail_after(u64::MAX);
            let revisions = store.revisions(&write("a", "").key).await.unwrap();
            let after = store.contents().borrow().clone();
            assert_eq!(*store.state().borrow(), State::Ready);
            assert_eq!(after.records[&revisions[0].key], revisions[0]);
            let at = format!("{operations} {is_done} {result:?}");
            match result {
                Ok(record) => {
                    done += 1;
                    assert_eq!(revisions[0], record, "{at}");
                    assert_eq!(told, after, "{at}");
                }
                Err(WriteError::Failed(_)) => {
                    failed += 1;
                    assert!(is_ready, "{at}");
                    assert_eq!((&told, &after), (&before, &before), "{at}");
                }
                Err(WriteError::Unknown(_)) => {
                    unknown += 1;
                    assert!(!is_ready, "{at}");
                    assert!(
                        after == before || after.revision == before.revision + 1,
                        "{at}"
                    );
                }
                Err(error) => panic!("{at}: {error}"),
            }
            // It goes on, and so it does when it is opened anew.
            let next = store.write(write("b", "next")).await.unwrap();
            assert_eq!(next.revision, after.revision + 1, "{at}");
            let after = store.contents().borrow().clone();
            store.close().await;
            assert_eq!(*disk.open().unwrap().contents().borrow(), after, "{at}");
        }
    }
    assert!(done > 0 && unknown > 0, "{done} {failed} {unknown}");
}

/// Rewriting documents takes no more room than their last revisions do.
#[tokio::test]
async fn ten_thousand_rewrites_do_not_make_it_grow() {
    let disk = Disk::new();
    let store = disk.open().unwrap();
    let longest = || disk.0.longest.load(Ordering::Relaxed);
    let mut at_first = 0;
    for number in 0..10_000 {
        // Now and then a long one, so that rooms of different sizes come free.
        let times = if number % 11 == 0 { 9_000 } else { 100 };
        let text = number.to_string().repeat(times + number % 300);
        let id = ["a", "b", "c"][number % 3];
        store.write(write(id, &text)).await.unwrap();
        if number == 1_000 {
            at_first = longest();
        }
    }
    assert!(longest() <= 2 * at_first, "{} after {at_first}", longest());
    // Some three hundred kilobytes are held; an empty file has one megabyte.
    assert!(longest() < 3 << 20, "{}", longest());
}

/// A disk that hangs holds nobody up for longer than the deadline, and fills no memory.
#[tokio::test(start_paused = true)]
async fn what_hangs_is_given_up_and_the_queue_has_an_end() {
    let store = Embedded::in_memory();
    let shared = store.shared.clone();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (held, is_held) = std::sync::mpsc::channel();
    let hanging = std::thread::spawn(move || {
        let medium = lock(&shared.medium);
        held.send(()).unwrap();
        released.recv().unwrap();
        drop(medium);
    });
    is_held.recv().unwrap();

    let queue = QUEUE as usize;
    let writes = (0..2 * queue).map(|number| store.write(write("a", &number.to_string())));
    let mut all = futures_util::future::join_all(writes);
    assert!((&mut all).now_or_never().is_none());
    tokio::time::advance(DEADLINE).await;
    let results = all.await;
    let is_unknown = |result: &Result<_, _>| matches!(result, Err(WriteError::Unknown(_)));
    let is_refused = |result: &Result<_, _>| matches!(result, Err(WriteError::Unavailable(_)));
    assert!(results[..queue].iter().all(is_unknown), "{results:?}");
    assert!(results[queue..].iter().all(is_refused), "{results:?}");

    // Those that had begun come to their end.
    release.send(()).unwrap();
    hanging.join().unwrap();
    store.close().await;
    assert_eq!(store.contents().borrow().revision, u64::from(QUEUE));
}
