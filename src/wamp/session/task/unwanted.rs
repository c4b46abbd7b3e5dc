//! Subscriptions and registrations that nobody wants any more, and when it is safe to leave them.
//!
//! Routers give one subscription, and some (Crossbar.io) one shared registration, to all who ask for
//! the same in one session. So while a SUBSCRIBE or REGISTER is on its way, its answer may name what
//! is to be left, and the router has made it so before it reads our UNSUBSCRIBE: that would end what
//! we have just been given, and nothing would tell us. What is unwanted therefore waits until no such
//! request is left. Where it was asked for so long ago that its answer comes late, nobody knows any
//! more what it is for: then any such request counts.

use super::Task;
use crate::uri::UriPattern;
use crate::wamp::error::SessionError;
use crate::wamp::id::{RegistrationId, SubscriptionId};
use crate::wamp::message::Message;
use crate::wamp::session::request::Purpose;
use crate::wamp::session::state::{Answer, Kind};

/// What the router may hold for us in vain.
#[derive(Debug)]
pub(super) struct Unwanted {
    id: Id,
    /// What it is for, if that is known.
    pattern: Option<UriPattern>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Id {
    Subscription(SubscriptionId),
    Registration(RegistrationId),
}

impl Unwanted {
    pub(super) fn subscription(id: SubscriptionId, pattern: Option<UriPattern>) -> Self {
        let id = Id::Subscription(id);
        Self { id, pattern }
    }

    pub(super) fn registration(id: RegistrationId, pattern: Option<UriPattern>) -> Self {
        let id = Id::Registration(id);
        Self { id, pattern }
    }

    /// Returns whether the answer to this request may name it.
    fn may_be_asked_for_by(&self, purpose: &Purpose) -> bool {
        let asked = match (self.id, purpose) {
            (Id::Subscription(_), Purpose::Subscribe { pattern, .. }) => pattern,
            (Id::Registration(_), Purpose::Register(offered)) => &offered.pattern,
            _ => return false,
        };
        self.pattern.as_ref().is_none_or(|pattern| pattern == asked)
    }
}

impl Task {
    /// A subscriber is gone.
    pub(super) fn drop_subscriber(
        &mut self,
        id: SubscriptionId,
        key: u64,
    ) -> Result<(), SessionError> {
        match self.subscribers.remove(id, key) {
            Some(pattern) => self.give_back(Unwanted::subscription(id, Some(pattern))),
            None => Ok(()),
        }
    }

    /// A registration's handle is gone.
    pub(super) fn drop_registration(&mut self, id: RegistrationId) -> Result<(), SessionError> {
        match self.callee.remove(id) {
            Some(pattern) => self.give_back(Unwanted::registration(id, Some(pattern))),
            None => Ok(()),
        }
    }

    /// Leaves it, at once or as soon as it is safe.
    pub(super) fn give_back(&mut self, unwanted: Unwanted) -> Result<(), SessionError> {
        match self.unwanted.iter_mut().find(|one| one.id == unwanted.id) {
            Some(known) if known.pattern != unwanted.pattern => known.pattern = None,
            Some(_) => {}
            None => self.unwanted.push(unwanted),
        }
        self.leave_unwanted()
    }

    /// Leaves what nothing on its way can be about any more. Called whenever that may have changed.
    pub(super) fn leave_unwanted(&mut self) -> Result<(), SessionError> {
        for one in std::mem::take(&mut self.unwanted) {
            if self.is_asked_for(&one) {
                self.unwanted.push(one);
                continue;
            }
            match one.id {
                // It was given to somebody in the meantime.
                Id::Subscription(id) if self.subscribers.has(id) => {}
                Id::Registration(id) if self.callee.has(id) => {}
                Id::Subscription(subscription) => {
                    let request = self.state.forget(Kind::Unsubscribe);
                    self.send_own(&Message::Unsubscribe {
                        request,
                        subscription,
                    })?;
                }
                Id::Registration(registration) => {
                    let request = self.state.forget(Kind::Unregister);
                    self.send_own(&Message::Unregister {
                        request,
                        registration,
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Prepares to leave by a request of a handle. Returns its answer if nothing is to be said now,
    /// since somebody else has the same, or may be about to.
    pub(super) fn stays_for_others(&mut self, purpose: &Purpose) -> Option<Answer> {
        match *purpose {
            Purpose::Unsubscribe { subscription, key } => {
                let pattern = self.subscribers.remove(subscription, key);
                if let Some(pattern) = pattern {
                    let unwanted = Unwanted::subscription(subscription, Some(pattern));
                    if !self.is_asked_for(&unwanted) {
                        return None;
                    }
                    self.unwanted.push(unwanted);
                }
                Some(Answer::Unsubscribed)
            }
            Purpose::Unregister { registration } => {
                let pattern = self.callee.pattern(registration).cloned();
                let unwanted = Unwanted::registration(registration, pattern);
                if !self.is_asked_for(&unwanted) {
                    return None;
                }
                self.callee.remove(registration);
                self.unwanted.push(unwanted);
                Some(Answer::Unregistered)
            }
            Purpose::Call { .. }
            | Purpose::Publish { .. }
            | Purpose::Subscribe { .. }
            | Purpose::Register(_) => None,
        }
    }

    fn is_asked_for(&self, unwanted: &Unwanted) -> bool {
        self.state
            .tickets()
            .any(|ticket| unwanted.may_be_asked_for_by(&ticket.purpose))
    }
}
