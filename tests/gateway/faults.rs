//! What a reload makes of a store that fails, and of mistakes of our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use wampgate::app::Environment;
use wampgate::config::Router;
use wampgate::store::embedded::Embedded;
use wampgate::store::{
    Confirm, Contents, Expect, Gateway, Key, Kind, ReadError, Record, State, Store, Write,
    WriteError,
};
use wampgate::wamp::config::RouterConfig;

use crate::http::PATIENCE;
use crate::live::{Live, fixed};

/// A store with a fault.
#[derive(Debug)]
struct Faulty {
    store: Embedded,
    fault: AtomicU8,
    state: watch::Sender<State>,
}

const NONE: u8 = 0;
const PANICS: u8 = 1;
const UNAVAILABLE: u8 = 2;
const HANGS: u8 = 3;

impl Faulty {
    fn new(fault: u8) -> Arc<Self> {
        Arc::new(Self {
            store: Embedded::in_memory(),
            fault: AtomicU8::new(fault),
            state: watch::Sender::new(State::Ready),
        })
    }

    async fn put(&self, id: &str, text: &str) {
        let write = Write {
            key: Key {
                kind: Kind::Spec,
                id: id.to_owned(),
            },
            text: Some(text.into()),
            expect: Expect::Anything,
            author: "test".to_owned(),
            time_ms: 0,
        };
        self.store.write(write).await.unwrap();
    }
}

impl Store for Faulty {
    fn contents(&self) -> watch::Receiver<Contents> {
        self.store.contents()
    }

    fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<Record, WriteError>> {
        self.store.write(write)
    }

    fn revisions<'s>(&'s self, key: &'s Key) -> BoxFuture<'s, Result<Vec<Record>, ReadError>> {
        match self.fault.load(SeqCst) {
            UNAVAILABLE => {
                let error = ReadError::Unavailable("it is a test".to_owned());
                std::future::ready(Err(error)).boxed()
            }
            HANGS => std::future::pending().boxed(),
            _ => self.store.revisions(key),
        }
    }

    fn confirm(&self, choice: Confirm, author: String) -> BoxFuture<'_, Result<(), WriteError>> {
        self.store.confirm(choice, author)
    }

    fn announce(&self, gateway: Gateway) {
        assert_ne!(self.fault.load(SeqCst), PANICS, "as the test has it");
        self.store.announce(gateway);
    }

    fn gateways(&self) -> BoxFuture<'_, Result<Vec<Gateway>, ReadError>> {
        self.store.gateways()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close()
    }
}

const REALM: (&str, &str) = ("realms/r.json", r#"{"uri": "com.a"}"#);

async fn live(files: &[(&str, &str)], store: &Arc<Faulty>) -> Live {
    let nowhere = Router::Remote(RouterConfig::default());
    let store = store.clone();
    Live::changed(files, nowhere, |plan| plan.store = store).await
}

#[tokio::test]
async fn a_panic_does_not_end_the_reloads() {
    let store = Faulty::new(NONE);
    let live = live(
        &[REALM, ("specs/x.json", &fixed("x", "com.a", "/x", "one"))],
        &store,
    )
    .await;
    store.fault.store(PANICS, SeqCst);
    assert!(live.app.reloads().reload(None).await.is_none());
    assert_eq!(live.get("/x").await, "200 \"one\"");
    store.fault.store(NONE, SeqCst);
    assert!(live.app.reloads().reload(None).await.is_some());
    live.write("specs/x.json", &fixed("x", "com.a", "/x", "two"));
    live.until_table(2).await;
    assert_eq!(live.get("/x").await, "200 \"two\"");
    live.app.stop().await;
}

#[tokio::test]
async fn a_text_that_makes_us_panic_is_refused_like_any_other_bad_one() {
    let nowhere = Router::Remote(RouterConfig::default());
    let bad = fixed("bad", "com.a", "/bad", "${PANIC}");
    let files = [
        REALM,
        ("specs/bad.json", &*bad),
        ("specs/x.json", &fixed("x", "com.a", "/x", "one")),
    ];
    let live = Live::changed(&files, nowhere, |plan| {
        plan.environment = Environment::new(|name| panic!("{name}, as the test has it"));
    })
    .await;
    assert_eq!(live.get("/x").await, "200 \"one\"");
    let installed = live.app.installed().borrow().clone();
    assert_eq!(installed.rejected(), (1, 0));
    live.write("specs/bad.json", &fixed("bad", "com.a", "/bad", "good"));
    live.until_table(2).await;
    assert_eq!(live.get("/bad").await, "200 \"good\"");
    live.app.stop().await;
}

#[tokio::test]
async fn earlier_revisions_are_asked_for_again_when_the_store_is_back() {
    let store = Faulty::new(UNAVAILABLE);
    store.put("x", &fixed("x", "com.a", "/x", "one")).await;
    store.put("x", "{").await;
    let live = live(&[REALM], &store).await;
    assert_eq!(live.get("/x").await, "404");
    store.fault.store(NONE, SeqCst);
    store.state.send_replace(State::Ready);
    live.until_table(2).await;
    assert_eq!(live.get("/x").await, "200 \"one\"");
    live.app.stop().await;
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_reload_that_hangs() {
    let store = Faulty::new(NONE);
    let live = live(&[REALM], &store).await;
    store.fault.store(HANGS, SeqCst);
    store.put("x", "{").await;
    let reloads = live.app.reloads().clone();
    let both = futures_util::future::join(reloads.reload(None), live.app.stop());
    let both = tokio::time::timeout(PATIENCE, both).await;
    let (reload, _) = both.expect("it stops");
    assert!(reload.is_none());
}
