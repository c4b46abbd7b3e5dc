//! Keeps the snapshot as new as what is served: one save at a time, on a thread that may block.
//!
//! What is new is served when it is on the disk, so that no restart goes back. But a disk that hangs
//! must not end the following of the bucket: after a while it is served without, and saved when the
//! disk answers again.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use super::known::Known;
use super::snapshot::Snapshot;

/// Longest wait for the disk. A sync takes milliseconds.
const SAVE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Saver {
    snapshot: Arc<Snapshot>,
    running: Option<JoinHandle<Result<(), redb::Error>>>,
    /// What is to be saved when the running save has ended.
    next: Option<Known>,
    /// Whether the disk is not waited for any more, since it hangs.
    is_late: bool,
}

impl Saver {
    pub(super) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            running: None,
            next: None,
            is_late: false,
        }
    }

    /// Saves what is known, and waits until it is on the disk or the disk has had its time. A
    /// failure is logged: after a restart it is the store that has to be there.
    pub(super) async fn save(&mut self, known: Known) {
        self.next = Some(known);
        self.go_on().await;
    }

    /// Goes on with what is not saved yet, where a disk that hung answers again.
    pub(super) async fn go_on(&mut self) {
        let patience = if self.is_late { Duration::ZERO } else { SAVE };
        let deadline = Instant::now() + patience;
        loop {
            if self.running.is_none()
                && let Some(known) = self.next.take()
            {
                let snapshot = self.snapshot.clone();
                self.running = Some(spawn_blocking(move || snapshot.save(&known)));
            }
            let Some(running) = &mut self.running else {
                return;
            };
            let Ok(saved) = timeout_at(deadline, running).await else {
                if !self.is_late {
                    tracing::error!("the snapshot is not written: the disk does not answer");
                }
                self.is_late = true;
                return;
            };
            self.running = None;
            match saved {
                Ok(Ok(())) if self.is_late => tracing::warn!("the snapshot is written again"),
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!("the snapshot cannot be written: {error}"),
                Err(error) => tracing::error!("the snapshot cannot be written: {error}"),
            }
            self.is_late = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use futures_util::FutureExt;

    use super::*;
    use crate::store::nats::meta::Identity;

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_not_waited_for_and_has_the_newest_when_it_answers() {
        let folder = tempfile::tempdir().unwrap();
        let (snapshot, known) = Snapshot::open(folder.path()).await.unwrap();
        let snapshot = Arc::new(snapshot);
        let mut saver = Saver::new(snapshot.clone());
        let next = || Known {
            identity: Some(Identity::found([])),
            ..known.clone()
        };

        let (release, released) = mpsc::channel::<()>();
        let (held, is_held) = mpsc::channel();
        let disk = snapshot.clone();
        let hanging = thread::spawn(move || {
            let file = disk.hold();
            held.send(()).unwrap();
            released.recv().unwrap();
            drop(file);
        });
        is_held.recv().unwrap();
        {
            let mut saving = Box::pin(saver.save(next()));
            assert!((&mut saving).now_or_never().is_none());
            tokio::time::advance(SAVE).await;
            saving.await;
        }
        // From now on nobody waits, and of all that comes the newest is kept.
        saver.save(next()).now_or_never().expect("no wait");
        let newest = next();
        saver.save(newest.clone()).now_or_never().expect("no wait");

        release.send(()).unwrap();
        hanging.join().unwrap();
        while saver.running.is_some() {
            saver.go_on().await;
            tokio::task::yield_now().await;
        }
        snapshot.close();
        assert_eq!(Snapshot::open(folder.path()).await.unwrap().1, newest);
    }
}
