//! The embedded store: the laws, in memory and in a file, and what only a file does.

#[path = "laws.rs"]
mod laws;
#[path = "model.rs"]
mod model;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use futures_util::FutureExt;
use redb::{Database, TableDefinition};
use tempfile::{TempDir, tempdir};
use wampgate::store::embedded::Embedded;
use wampgate::store::{Confirm, Expect, Gateway, OpenError, REVISIONS, State, Store};

use laws::{delete, put, spec};

#[tokio::test]
async fn the_laws_hold_in_memory() {
    let store = Embedded::in_memory();
    laws::hold(&store, "memory").await;
    laws::end(&store).await;
}

#[tokio::test]
async fn the_laws_hold_in_a_file_and_again_when_it_is_opened_anew() {
    let folder = tempdir().unwrap();
    for name in ["first", "second"] {
        let store = Embedded::open(folder.path()).await.unwrap();
        laws::hold(&store, name).await;
        laws::end(&store).await;
    }
}

#[tokio::test]
async fn what_was_written_is_there_when_it_is_opened_anew() {
    let folder = tempdir().unwrap();
    let store = Embedded::open(folder.path()).await.unwrap();
    assert_eq!(store.contents().borrow().revision, 0);
    for number in 0..REVISIONS + 3 {
        let text = number.to_string();
        store
            .write(put("a", &text, Expect::Anything))
            .await
            .unwrap();
    }
    store.write(put("b", "b", Expect::Nothing)).await.unwrap();
    let gone = store.write(delete("b", Expect::Anything)).await.unwrap();
    let contents = store.contents().borrow().clone();
    let revisions = store.revisions(&spec("a")).await.unwrap();
    // Dropped, not closed.
    drop(store);

    let store = Embedded::open(folder.path()).await.unwrap();
    assert_eq!(*store.contents().borrow(), contents);
    assert_eq!(store.revisions(&spec("a")).await.unwrap(), revisions);
    // Also where the newest write has left nothing but its number.
    let next = store.write(put("c", "c", Expect::Nothing)).await.unwrap();
    assert_eq!(next.revision, gone.revision + 1);
}

#[tokio::test]
async fn it_is_ready_knows_no_other_gateway_and_has_nothing_to_confirm() {
    let store = Embedded::in_memory();
    assert_eq!(*store.state().borrow(), State::Ready);
    assert_eq!(store.gateways().await.unwrap(), []);
    let gateway = Gateway {
        id: "1".to_owned(),
        version: "0".to_owned(),
        revision: 7,
        state: "ready".to_owned(),
        time_ms: 1,
    };
    store.announce(gateway.clone());
    assert_eq!(store.gateways().await.unwrap(), [gateway]);
    store.write(put("a", "1", Expect::Nothing)).await.unwrap();
    let before = store.contents().borrow().clone();
    for choice in [Confirm::Store, Confirm::Gateway] {
        store.confirm(choice, "ann".to_owned()).await.unwrap();
    }
    assert_eq!(*store.contents().borrow(), before);
}

/// A write whose caller went away is done as a whole or not at all, before or after those that follow.
#[tokio::test]
async fn a_write_that_nobody_waits_for_is_done_or_not_but_never_in_between() {
    let store = Embedded::in_memory();
    for number in 0..200_u32 {
        let text = number.to_string();
        let mut write = store.write(put("a", &text, Expect::Anything));
        // Begun, and dropped.
        drop((&mut write).now_or_never());
    }
    let last = store
        .write(put("a", "last", Expect::Anything))
        .await
        .unwrap();
    let contents = store.contents().borrow().clone();
    let present = &contents.records[&last.key];
    assert_eq!(contents.revision, present.revision);
    assert!(present.revision >= last.revision, "{present:?}");

    let revisions = store.revisions(&last.key).await.unwrap();
    let numbers: Vec<_> = revisions.iter().map(|record| record.revision).collect();
    let kept = numbers[0].min(REVISIONS as u64);
    let expected = (0..kept).map(|back| numbers[0] - back);
    assert!(expected.eq(numbers.iter().copied()), "{numbers:?}");
    let found = revisions.iter().find(|it| it.revision == last.revision);
    assert!(found.is_none_or(|found| *found == last), "{found:?}");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn nobody_else_can_read_what_it_makes() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("var/data");
    let store = Embedded::open(&data).await.unwrap();
    store.write(put("a", "1", Expect::Nothing)).await.unwrap();
    store.close().await;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("store.redb")), 0o600);
    let files: Vec<_> = fs::read_dir(&data).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    // A folder that somebody else has made stays as it is.
    fs::set_permissions(&data, fs::Permissions::from_mode(0o750)).unwrap();
    let store = Embedded::open(&data).await.unwrap();
    store.close().await;
    assert_eq!(mode(&data), 0o750);
}

#[tokio::test]
async fn a_file_is_opened_once() {
    let folder = tempdir().unwrap();
    let store = Embedded::open(folder.path()).await.unwrap();
    let error = Embedded::open(folder.path()).await.unwrap_err();
    let file = folder.path().join("store.redb");
    assert!(matches!(&error, OpenError::InUse { path } if *path == file));
    assert_eq!(
        error.to_string(),
        format!(
            "the store {} is in use by another process; every gateway needs a file of its own",
            file.display()
        )
    );
    store.write(put("a", "1", Expect::Nothing)).await.unwrap();
    store.close().await;
    let store = Embedded::open(folder.path()).await.unwrap();
    assert_eq!(store.contents().borrow().records.len(), 1);
}

#[tokio::test]
async fn of_two_that_make_it_at_once_one_gets_it() {
    for _ in 0..20 {
        let folder = tempdir().unwrap();
        let open = || Embedded::open(folder.path());
        let stores = futures_util::future::join_all([open(), open(), open(), open()]).await;
        let (opened, refused): (Vec<_>, Vec<_>) = stores.into_iter().partition(Result::is_ok);
        assert_eq!(opened.len(), 1, "{refused:?}");
        for error in refused {
            assert!(matches!(error, Err(OpenError::InUse { .. })), "{error:?}");
        }
        for store in opened {
            store.unwrap().close().await;
        }
        let store = Embedded::open(folder.path()).await.unwrap();
        store.close().await;
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(files.len(), 1, "{files:?}");
    }
}

/// What a process leaves that was killed while it made the file.
#[tokio::test]
async fn a_file_that_was_half_made_is_made_anew() {
    let folder = tempdir().unwrap();
    for left in [&b""[..], b"redb", &[0; 4096]] {
        fs::write(folder.path().join("store.redb.new"), left).unwrap();
        let store = Embedded::open(folder.path()).await.unwrap();
        store.close().await;
        // Also where another process has made the file meanwhile.
        fs::write(folder.path().join("store.redb.new"), left).unwrap();
        let store = Embedded::open(folder.path()).await.unwrap();
        store.close().await;
        assert!(!folder.path().join("store.redb.new").exists());
        fs::remove_file(folder.path().join("store.redb")).unwrap();
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_had_is_named() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("data")] {
        let error = Embedded::open(&path).await.unwrap_err().to_string();
        let begins = format!("cannot open the store {}", path.display());
        assert!(error.starts_with(&begins), "{error}");
    }
}

/// Makes a file with some documents, and closes it.
async fn filled() -> TempDir {
    let folder = tempdir().unwrap();
    let store = Embedded::open(folder.path()).await.unwrap();
    for number in 0..50_usize {
        let text = format!("{number}").repeat(1000);
        let write = put(&format!("id{}", number % 7), &text, Expect::Anything);
        store.write(write).await.unwrap();
    }
    store.close().await;
    folder
}

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const RECORDS: TableDefinition<'_, (&str, &str, u64), &[u8]> = TableDefinition::new("records");

/// Returns why a file is refused, after the file's name.
async fn refused(folder: &Path) -> String {
    let error = Embedded::open(folder).await.unwrap_err().to_string();
    let begins = format!("the store {} ", folder.join("store.redb").display());
    let rest = error.strip_prefix(&begins);
    rest.unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_left_as_it_is() {
    const DAMAGED: &str = "is damaged or no store: ";
    const HINT: &str = "; bring it back from a backup, or move it away to begin with an empty one";
    let folder = tempdir().unwrap();
    let file = folder.path().join("store.redb");
    for text in ["", "{}", &"not a database\n".repeat(1000)] {
        fs::write(&file, text).unwrap();
        let error = refused(folder.path()).await;
        assert!(
            error.starts_with(DAMAGED) && error.ends_with(HINT),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    fs::remove_file(&file).unwrap();
    drop(Database::create(&file).unwrap());
    let error = refused(folder.path()).await;
    assert_eq!(
        error,
        format!("{DAMAGED}it is the file of another program{HINT}")
    );

    // What holds together as a database, but not as a store.
    let check = async |change: &dyn Fn(&redb::WriteTransaction), expected: &str| {
        let folder = filled().await;
        let database = Database::open(folder.path().join("store.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        change(&transaction);
        transaction.commit().unwrap();
        drop(database);
        let error = refused(folder.path()).await;
        assert!(error.contains(expected), "{error}");
    };
    let meta = |name: &'static str, number: u64| {
        move |transaction: &redb::WriteTransaction| {
            let mut meta = transaction.open_table(META).unwrap();
            meta.insert(name, number).unwrap();
        }
    };
    let later = "has format 2, of a later version of wampgate; this one knows format 1";
    check(&meta("format", 2), later).await;
    check(&meta("revision", 3), "is newer than the newest, 3").await;
    let record = |value: &'static [u8]| {
        move |transaction: &redb::WriteTransaction| {
            let mut records = transaction.open_table(RECORDS).unwrap();
            records.insert(("spec", "id3", 50), value).unwrap();
        }
    };
    check(
        &record(b"{}"),
        "spec `id3`: not a record: missing field `format`",
    )
    .await;
    check(
        &record(b"{\"format\": 2}"),
        "spec `id3`: format 2, of a later version",
    )
    .await;
    let other = br#"{"format":1,"kind":"spec","id":"x","author":"","time_ms":0,"hash":""}"#;
    check(&record(other), "spec `id3` is another document's").await;
    let no_format = |transaction: &redb::WriteTransaction| {
        let mut meta = transaction.open_table(META).unwrap();
        meta.remove("format").unwrap();
    };
    check(&no_format, "it does not say its format").await;
}

/// Whatever happens to a file, it is opened with all that was in it, or refused with an error.
#[tokio::test]
async fn a_damaged_file_is_an_error_and_never_other_contents() {
    let original = filled().await;
    let bytes = fs::read(original.path().join("store.redb")).unwrap();
    let store = Embedded::open(original.path()).await.unwrap();
    let contents = store.contents().borrow().clone();
    store.close().await;

    let folder = tempdir().unwrap();
    let file = folder.path().join("store.redb");
    let mut refused = 0;
    let mut try_it = async |what: String| match Embedded::open(folder.path()).await {
        Ok(store) => {
            assert_eq!(*store.contents().borrow(), contents, "{what}");
            store.close().await;
        }
        Err(OpenError::Damaged { .. }) => refused += 1,
        Err(error) => panic!("{what}: {error}"),
    };
    // Cut off.
    for part in 0..8 {
        let length = bytes.len() * part / 8;
        fs::write(&file, &bytes[..length]).unwrap();
        try_it(format!("{length} of {} bytes", bytes.len())).await;
    }
    // A byte that is another one; many fall into free pages.
    let mut random = fastrand::Rng::with_seed(7);
    for at in (0..512).chain((0..100).map(|_| random.usize(..bytes.len()))) {
        fs::write(&file, &bytes).unwrap();
        let open = OpenOptions::new().write(true).open(&file).unwrap();
        open.write_at(&[bytes[at] ^ 0x15], at as u64).unwrap();
        try_it(format!("byte {at}")).await;
    }
    assert!(refused > 20, "{refused}");
}
