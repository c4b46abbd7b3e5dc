//! What this gateway tells others about itself that share its store.

use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use super::clock::now_ms;
use crate::store::{Gateway, State, Store};
use crate::telemetry::lifecycle::{Lifecycle, Stage};

#[derive(Debug)]
pub(super) struct Presence {
    id: String,
    store: Arc<dyn Store>,
    state: watch::Receiver<State>,
    lifecycle: Lifecycle,
    told: Option<Stage>,
}

impl Presence {
    pub(super) fn new(store: Arc<dyn Store>, lifecycle: Lifecycle) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            state: store.state(),
            store,
            lifecycle,
            told: None,
        }
    }

    /// Waits until there is something to tell.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn changed(&mut self) {
        let draining = async {
            match self.told {
                Some(Stage::Draining) => std::future::pending().await,
                Some(Stage::Serving) => self.lifecycle.reached(Stage::Draining).await,
                Some(Stage::Starting) | None => self.lifecycle.reached(Stage::Serving).await,
            }
        };
        tokio::select! {
            Ok(()) = self.state.changed() => {}
            () = draining => {}
        }
    }

    /// Tells that this gateway serves a revision of the store, and how it is.
    pub(super) fn announce(&mut self, revision: u64) {
        let stage = self.lifecycle.stage();
        self.told = Some(stage);
        let store = self.state.borrow_and_update().name();
        let state = match stage {
            Stage::Serving => store,
            Stage::Starting | Stage::Draining => stage.name(),
        };
        self.store.announce(Gateway {
            id: self.id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision,
            state: state.to_owned(),
            time_ms: now_ms(),
        });
    }
}
