//! What lasts beyond one request: a subscription, a registration.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::wamp::client::Client;
use crate::wamp::client::prepared::UNSET;
use crate::wamp::error::CallError;
use crate::wamp::id::{RegistrationId, SubscriptionId};
use crate::wamp::message::Message;
use crate::wamp::session::{Control, Event, Purpose};

/// A subscription: a stream of events. Dropping it leaves the topic.
#[derive(Debug)]
pub struct Subscription {
    pub(super) id: SubscriptionId,
    pub(super) key: u64,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) dropped: Arc<AtomicU64>,
    pub(super) client: Client,
}

impl Subscription {
    /// Waits for the next event. `None` is the end: of the session, or by the router's will;
    /// [`Client::closed`] tells which.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an event is either returned or still to come.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Returns the broker's id of the subscription.
    pub fn id(&self) -> SubscriptionId {
        self.id
    }

    /// Returns how many events were lost because the queue was full: the newest ones at that time.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Leaves the topic and waits for the broker's word that it is done.
    ///
    /// # Errors
    ///
    /// See [`CallError`]. No event comes any more, whatever the outcome.
    pub async fn unsubscribe(self) -> Result<(), CallError> {
        let message = Message::Unsubscribe {
            request: UNSET,
            subscription: self.id,
        };
        let purpose = Purpose::Unsubscribe {
            subscription: self.id,
            key: self.key,
        };
        self.client.plain_request(message, purpose).await?;
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // If the task is gone, so is the subscription; the same after `unsubscribe`.
        let gone = Control::DropSubscriber(self.id, self.key);
        drop(self.client.control.send(gone));
    }
}

/// A registration. Dropping it withdraws the procedure; what runs of it goes on.
#[derive(Debug)]
#[must_use = "the procedure is withdrawn when this is dropped"]
pub struct Registration {
    pub(super) id: RegistrationId,
    pub(super) client: Client,
}

impl Registration {
    /// Returns the dealer's id of the registration.
    pub fn id(&self) -> RegistrationId {
        self.id
    }

    /// Withdraws the procedure and waits for the dealer's word that it is done.
    ///
    /// # Errors
    ///
    /// See [`CallError`]. No call is taken any more, whatever the outcome.
    pub async fn unregister(self) -> Result<(), CallError> {
        let message = Message::Unregister {
            request: UNSET,
            registration: self.id,
        };
        let purpose = Purpose::Unregister {
            registration: self.id,
        };
        self.client.plain_request(message, purpose).await?;
        Ok(())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // If the task is gone, so is the registration; the same after `unregister`.
        drop(self.client.control.send(Control::DropRegistration(self.id)));
    }
}
