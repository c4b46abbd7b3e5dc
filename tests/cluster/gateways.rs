//! The stores of some gateways, and what is waited for.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use wampgate::store::nats::{Address, Nats};
use wampgate::store::{Contents, Expect, Key, Kind, Record, Store, Write, WriteError};

/// Servers elect within ten seconds on an idle machine; this is for a busy one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A gateway, as far as its store is concerned.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) store: Nats,
    url: String,
    folder: TempDir,
}

impl Gateway {
    /// Starts one that has never been there.
    pub(crate) async fn start(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            store: open(url, folder.path()).await,
            url: url.to_owned(),
            folder,
        }
    }

    /// Starts three, and waits until they are ready.
    pub(crate) async fn three(url: &str) -> [Self; 3] {
        let gateways = [
            Self::start(url).await,
            Self::start(url).await,
            Self::start(url).await,
        ];
        for gateway in &gateways {
            gateway.ready().await;
        }
        gateways
    }

    /// Ends it, and starts it again with what is on its disk.
    pub(crate) async fn restart(self) -> Self {
        self.stop().await.start().await
    }

    /// The same, with another address.
    pub(crate) async fn restart_with(self, url: &str) -> Self {
        let mut stopped = self.stop().await;
        stopped.url = url.to_owned();
        stopped.start().await
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> Stopped {
        self.store.close().await;
        Stopped {
            url: self.url,
            folder: self.folder,
        }
    }

    pub(crate) async fn ready(&self) {
        self.state("ready").await;
    }

    /// Waits for a state, and returns its reason.
    pub(crate) async fn state(&self, name: &str) -> String {
        let mut state = self.store.state();
        let wait = state.wait_for(|state| state.name() == name);
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(state)) => state.reason().unwrap_or_default().to_owned(),
            _ => panic!("not {name} but {:?}", self.store.state().borrow()),
        }
    }

    /// Waits until the contents are as they are waited for.
    pub(crate) async fn shows(&self, what: &str, is_met: impl Fn(&Contents) -> bool) -> Contents {
        let mut contents = self.store.contents();
        let wait = contents.wait_for(|contents| is_met(contents));
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(contents)) => contents.clone(),
            _ => panic!("not {what}: {:?}", self.texts()),
        }
    }

    /// Waits until exactly these texts are served.
    pub(crate) async fn serves(&self, expected: &[(&str, &str)]) {
        let what = format!("{expected:?}");
        let expected: Vec<_> = expected.iter().map(owned).collect();
        self.shows(&what, |contents| texts(contents) == expected)
            .await;
    }

    /// The ids and texts that are served.
    pub(crate) fn texts(&self) -> Vec<(String, String)> {
        texts(&self.store.contents().borrow())
    }

    pub(crate) async fn put(&self, id: &str, text: &str) -> Result<Record, WriteError> {
        self.store
            .write(write(id, Some(text), Expect::Anything))
            .await
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<Record, WriteError> {
        self.store.write(write(id, None, Expect::Anything)).await
    }

    /// Asserts that it takes no writes, and says so with this.
    pub(crate) async fn refuses(&self, reason: &str) {
        match self.put("refused", "").await {
            Err(WriteError::Unavailable(said)) if said.contains(reason) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What is left of a gateway that does not run.
#[derive(Debug)]
pub(crate) struct Stopped {
    url: String,
    folder: TempDir,
}

impl Stopped {
    pub(crate) async fn start(self) -> Gateway {
        Gateway {
            store: open(&self.url, self.folder.path()).await,
            url: self.url,
            folder: self.folder,
        }
    }
}

async fn open(url: &str, folder: &Path) -> Nats {
    let mut address: Address = url.parse().unwrap();
    folder.clone_into(&mut address.snapshot);
    Nats::open(address).await.unwrap()
}

fn owned((id, text): &(&str, &str)) -> (String, String) {
    ((*id).to_owned(), (*text).to_owned())
}

fn texts(contents: &Contents) -> Vec<(String, String)> {
    let records = contents.records.values();
    let texts = records.map(|record| {
        let text = record.text.as_deref().expect("not deleted");
        (record.key.id.clone(), text.to_owned())
    });
    texts.collect()
}

pub(crate) fn spec(id: &str) -> Key {
    Key {
        kind: Kind::Spec,
        id: id.to_owned(),
    }
}

pub(crate) fn write(id: &str, text: Option<&str>, expect: Expect) -> Write {
    Write {
        key: spec(id),
        text: text.map(Into::into),
        expect,
        author: "ann".to_owned(),
        time_ms: 1_795_280_400_123,
    }
}
