//! The files of specs and realms: where they are, what they hold, and when to look again.
//!
//! Folders are watched rather than files: editors replace a file by another of its name, and a
//! mounted volume swaps one link for a whole folder (`..data` of a Kubernetes volume), which no watch
//! of a file sees. The folder above is watched too, so that a folder is found that comes to be later,
//! is made anew, or is itself a link that is swapped. Events only say that it is time to look:
//! everything is read again, and whoever compares it finds what changed.
//!
//! No watcher sees everything (network file systems, links to files elsewhere, limits of the system),
//! so the folders are looked at now and then anyway, and more often where they cannot be watched.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::catalog::{self, SourceText};
use crate::diagnostic::{Diagnostic, Severity};

/// Where specs and realms come from that are not in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// All `*.json` of two folders, which are watched.
    Folders {
        /// The folder of API specs.
        specs: PathBuf,
        /// The folder of realms.
        realms: PathBuf,
    },
    /// Texts that never change.
    Fixed {
        /// API specs.
        specs: Vec<SourceText>,
        /// Realms.
        realms: Vec<SourceText>,
    },
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) specs: Vec<SourceText>,
    pub(super) realms: Vec<SourceText>,
    pub(super) unread: Vec<Diagnostic>,
}

/// How often folders are looked at that are watched.
const WATCHED: Duration = Duration::from_secs(30);

/// How often folders are looked at that cannot be watched.
const UNWATCHED: Duration = Duration::from_secs(3);

impl Files {
    /// Reads all of it. Blocks.
    ///
    /// A folder that was never there is a warning, as an API may as well come from the store; one
    /// that has been `seen` and is gone is an error, and not as good as an empty one.
    pub(super) fn read(&self, seen: &mut Vec<PathBuf>) -> Texts {
        match self {
            Files::Fixed { specs, realms } => Texts {
                specs: specs.clone(),
                realms: realms.clone(),
                unread: Vec::new(),
            },
            Files::Folders { specs, realms } => {
                let (specs, mut unread) = read_folder(specs, seen);
                let (realms, more) = read_folder(realms, seen);
                unread.extend(more);
                Texts {
                    specs,
                    realms,
                    unread,
                }
            }
        }
    }

    fn folders(&self) -> Vec<&Path> {
        match self {
            Files::Fixed { .. } => Vec::new(),
            Files::Folders { specs, realms } => vec![specs, realms],
        }
    }
}

fn read_folder(folder: &PathBuf, seen: &mut Vec<PathBuf>) -> (Vec<SourceText>, Vec<Diagnostic>) {
    let is_missing = match folder.metadata() {
        Ok(_) => {
            if !seen.contains(folder) {
                seen.push(folder.clone());
            }
            false
        }
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    let (texts, mut unread) = catalog::read_files(std::slice::from_ref(folder));
    if is_missing && !seen.contains(folder) {
        for finding in &mut unread {
            finding.severity = Severity::Warning;
        }
    }
    (texts, unread)
}

/// Tells when files may have changed.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    folders: Vec<PathBuf>,
    /// Whether the watcher will tell of a change of any of them.
    is_complete: bool,
    changed: Arc<Notify>,
    /// What the watcher's own thread compares events with. A std mutex: held to look, or to replace.
    looked_for: Arc<Mutex<Vec<PathBuf>>>,
    has_warned: bool,
}

impl Watch {
    /// Begins to watch, as far as the system allows.
    pub(super) fn new(files: &Files) -> Self {
        let changed = Arc::new(Notify::new());
        let looked_for = Arc::<Mutex<Vec<PathBuf>>>::default();
        let mut watch = Self {
            watcher: None,
            folders: Vec::new(),
            is_complete: false,
            changed,
            looked_for,
            has_warned: false,
        };
        watch.follow(files);
        watch
    }

    /// Watches other files from now on.
    pub(super) fn follow(&mut self, files: &Files) {
        // An absolute path is that of events, whatever the folder was called.
        let absolute = |path: &&Path| std::path::absolute(path).ok();
        let paths: Vec<PathBuf> = files.folders().iter().filter_map(absolute).collect();
        *self
            .looked_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = paths.clone();
        self.folders = paths;
        self.watcher = None;
        self.is_complete = false;
        if !self.folders.is_empty() {
            let (changed, looked_for) = (self.changed.clone(), self.looked_for.clone());
            let tell = move |event: notify::Result<Event>| {
                let looked_for = looked_for.lock().unwrap_or_else(PoisonError::into_inner);
                if event.map_or(true, |event| is_about(&event, &looked_for)) {
                    changed.notify_one();
                }
            };
            match notify::recommended_watcher(tell) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => self.warn(&error),
            }
        }
        self.renew();
    }

    /// Watches what has come to be or was made anew. To be called before the folders are read, so
    /// that nothing is missed in between.
    ///
    /// All of it each time: a watch ends with its folder, and a new folder of the name may well have
    /// the inode of the old one, so that nothing else tells.
    pub(super) fn renew(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let mut failure = None;
        let mut watch = |path: &Path| {
            // There is none yet, or it is over already.
            drop(watcher.unwatch(path));
            watcher.watch(path, RecursiveMode::NonRecursive)
        };
        for folder in &self.folders {
            let mut watched = match folder.parent() {
                Some(above) => watch(above),
                None => Ok(()),
            };
            // One that is not there comes to be in the folder above.
            if folder.exists() {
                watched = watch(folder);
            }
            failure = failure.or(watched.err());
        }
        self.is_complete = failure.is_none();
        if let Some(error) = failure {
            self.warn(&error);
        }
    }

    /// Waits until it is time to look at the files: something has changed, or may have.
    ///
    /// # Cancel safety
    ///
    /// A change that was told is not lost.
    pub(super) async fn changed(&self) {
        if self.folders.is_empty() {
            return std::future::pending().await;
        }
        tokio::select! {
            () = self.changed.notified() => {}
            () = sleep(if self.is_complete { WATCHED } else { UNWATCHED }) => {}
        }
    }

    /// Waits for a change that is told; not for those that nobody tells of.
    pub(super) async fn told(&self) {
        self.changed.notified().await;
    }

    fn warn(&mut self, error: &notify::Error) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                "cannot watch the folders of specs and realms; they are looked at every \
                 {UNWATCHED:?} instead: {error}"
            );
        }
    }
}

/// Whether an event may be about one of the folders: something in it, or the folder itself.
fn is_about(event: &Event, folders: &[PathBuf]) -> bool {
    // Reading is an event too, and we read.
    let is_change = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    let is_in = |path: &PathBuf| {
        let mut folders = folders.iter();
        folders.any(|folder| path == folder || path.parent() == Some(folder))
    };
    is_change && (event.need_rescan() || event.paths.iter().any(is_in))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Place {
        root: tempfile::TempDir,
        files: Files,
        watch: Watch,
        seen: Vec<PathBuf>,
    }

    impl Place {
        fn new(make: impl FnOnce(&Path)) -> Self {
            let root = tempfile::tempdir().unwrap();
            make(root.path());
            let files = Files::Folders {
                specs: root.path().join("specs"),
                realms: root.path().join("realms"),
            };
            Self {
                watch: Watch::new(&files),
                root,
                files,
                seen: Vec::new(),
            }
        }

        /// Waits until the watcher has told enough for the specs to read like this.
        async fn reads(&mut self, expected: &[&str]) {
            let until = async {
                loop {
                    self.watch.renew();
                    let texts = self.files.read(&mut self.seen);
                    let texts: Vec<String> = texts.specs.into_iter().map(|it| it.text).collect();
                    if texts == expected {
                        break;
                    }
                    self.watch.told().await;
                }
            };
            let within = Duration::from_secs(20);
            tokio::time::timeout(within, until)
                .await
                .unwrap_or_else(|_| panic!("{expected:?} is not seen"));
        }
    }

    #[tokio::test]
    async fn edits_replacements_and_removals_are_told() {
        let mut place = Place::new(|root| fs::create_dir(root.join("specs")).unwrap());
        let specs = place.root.path().join("specs");
        place.reads(&[]).await;
        fs::write(specs.join("a.json"), "1").unwrap();
        place.reads(&["1"]).await;
        fs::write(specs.join("a.json"), "2").unwrap();
        place.reads(&["2"]).await;
        fs::write(specs.join(".a.swp"), "3").unwrap();
        fs::rename(specs.join(".a.swp"), specs.join("a.json")).unwrap();
        place.reads(&["3"]).await;
        fs::remove_file(specs.join("a.json")).unwrap();
        place.reads(&[]).await;
    }

    #[tokio::test]
    async fn a_link_that_is_swapped_is_told() {
        let volume = |root: &Path, version: &str| {
            let version_folder = root.join("specs").join(version);
            fs::create_dir_all(&version_folder).unwrap();
            fs::write(version_folder.join("a.json"), version).unwrap();
        };
        let mut place = Place::new(|root| {
            volume(root, "..1");
            symlink("..1", root.join("specs/..data")).unwrap();
            symlink("..data/a.json", root.join("specs/a.json")).unwrap();
        });
        place.reads(&["..1"]).await;
        volume(place.root.path(), "..2");
        let specs = place.root.path().join("specs");
        symlink("..2", specs.join("..data_tmp")).unwrap();
        fs::rename(specs.join("..data_tmp"), specs.join("..data")).unwrap();
        place.reads(&["..2"]).await;
    }

    #[tokio::test]
    async fn a_folder_may_come_later_be_made_anew_and_be_a_link() {
        let mut place = Place::new(|_| {});
        let root = place.root.path().to_owned();
        let specs = root.join("specs");
        let texts = place.files.read(&mut place.seen);
        assert!(texts.unread.iter().all(|finding| !finding.is_error()));
        for text in ["1", "2"] {
            fs::create_dir(&specs).unwrap();
            fs::write(specs.join("a.json"), text).unwrap();
            place.reads(&[text]).await;
            fs::write(specs.join("b.json"), text).unwrap();
            place.reads(&[text, text]).await;
            fs::remove_dir_all(&specs).unwrap();
            place.reads(&[]).await;
            // Gone is not empty.
            let texts = place.files.read(&mut place.seen);
            let errors = texts.unread.iter().filter(|finding| finding.is_error());
            assert_eq!(errors.count(), 1);
        }
        for (version, text) in [("v1", "3"), ("v2", "4")] {
            fs::create_dir(root.join(version)).unwrap();
            fs::write(root.join(version).join("a.json"), text).unwrap();
            symlink(version, root.join("link")).unwrap();
            fs::rename(root.join("link"), &specs).unwrap();
            place.reads(&[text]).await;
        }
        fs::write(root.join("v2/a.json"), "5").unwrap();
        place.reads(&["5"]).await;
    }

    #[tokio::test]
    async fn a_folder_that_was_made_anew_between_two_looks_is_watched() {
        let mut place = Place::new(|root| fs::create_dir(root.join("specs")).unwrap());
        let specs = place.root.path().join("specs");
        for text in ["1", "2", "3"] {
            // The new one often has the inode of the old one.
            fs::remove_dir_all(&specs).unwrap();
            fs::create_dir(&specs).unwrap();
            place.watch.renew();
            let quiet = Duration::from_millis(50);
            while tokio::time::timeout(quiet, place.watch.told())
                .await
                .is_ok()
            {
                place.watch.renew();
            }
            fs::write(specs.join("a.json"), text).unwrap();
            let told = place.watch.told();
            let told = tokio::time::timeout(Duration::from_secs(20), told).await;
            told.expect("the new folder is watched");
            place.reads(&[text]).await;
        }
    }

    #[tokio::test]
    async fn what_cannot_be_watched_is_looked_at_more_often() {
        let root = tempfile::tempdir().unwrap();
        let files = |specs: PathBuf| Files::Folders {
            specs,
            realms: root.path().join("realms"),
        };
        // Neither is there, but both can come to be in a folder that is.
        assert!(Watch::new(&files(root.path().join("specs"))).is_complete);
        let mut watch = Watch::new(&files(root.path().join("a/specs")));
        assert!(!watch.is_complete);
        fs::create_dir(root.path().join("a")).unwrap();
        watch.renew();
        assert!(watch.is_complete);
    }

    #[test]
    fn what_cannot_be_reached_is_not_gone_and_what_is_hidden_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("specs");
        fs::create_dir(&folder).unwrap();
        fs::create_dir(folder.join("folder.json")).unwrap();
        fs::write(folder.join("a.json"), "1").unwrap();
        // What editors and copying programs put beside a file for a while.
        symlink("ann@host.1", folder.join(".#a.json")).unwrap();
        fs::write(folder.join("._a.json"), [0xff]).unwrap();
        let (texts, unread) = read_folder(&folder, &mut Vec::new());
        assert_eq!(texts.len(), 1);
        assert!(unread.is_empty(), "{unread:?}");
        symlink("../elsewhere/b.json", folder.join("b.json")).unwrap();
        let (texts, unread) = read_folder(&folder, &mut Vec::new());
        assert_eq!((texts.len(), unread.len()), (1, 1));
        assert!(unread[0].is_error());
        let name = folder.join("b.json").display().to_string();
        assert_eq!(unread[0].location.file, Some(name));
    }

    #[tokio::test]
    async fn reading_and_strange_files_are_no_news() {
        let mut place = Place::new(|root| fs::create_dir(root.join("specs")).unwrap());
        let root = place.root.path().to_owned();
        fs::write(root.join("specs/a.json"), "1").unwrap();
        place.reads(&["1"]).await;
        fs::write(root.join("other.json"), "x").unwrap();
        for _ in 0..10 {
            place.files.read(&mut place.seen);
        }
        // Events come in order: what had been told before this one would be told by now.
        fs::write(root.join("specs/b.json"), "2").unwrap();
        place.reads(&["1", "2"]).await;
        let event = |kind, path: PathBuf| Event::new(kind).add_path(path);
        let folders = [root.join("specs")];
        let read = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert!(!is_about(&event(read, root.join("specs/a.json")), &folders));
        assert!(!is_about(
            &event(EventKind::Any, root.join("other.json")),
            &folders
        ));
        assert!(is_about(
            &event(EventKind::Any, root.join("specs")),
            &folders
        ));
    }
}
