//! How a request gets to the session's task, and its answer back.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

use crate::wamp::client::{Client, Deadline};
use crate::wamp::error::CallError;
use crate::wamp::message::Message;
use crate::wamp::options::CancelMode;
use crate::wamp::session::{Answer, Command, Control, Purpose, Refused, Reply, Unsent};

impl Client {
    pub(super) async fn plain_request(
        &self,
        message: Message,
        purpose: Purpose,
    ) -> Result<Answer, CallError> {
        let deadline = Deadline::after(self.shared.config.connect_timeout);
        match self.request(message, purpose, deadline).await {
            Ok(Answer::Error(error)) => Err(CallError::Application(error)),
            Ok(answer) => Ok(answer),
            Err(unsent) => Err(failure(unsent)),
        }
    }

    /// Queues a request and waits until it is settled.
    pub(crate) async fn request(
        &self,
        message: Message,
        purpose: Purpose,
        deadline: Deadline,
    ) -> Result<Answer, Unsent> {
        let permit = match self.shared.admit() {
            Ok(permit) => permit,
            Err(Refused::Busy(error)) => return Err(Unsent::Failed(error)),
            Err(Refused::Ended(error)) => return Err(Unsent::Returned(Box::new(message), error)),
        };
        let (sender, answer) = oneshot::channel();
        let request = Arc::new(AtomicU64::new(0));
        let (cancel, subscriber) = (purpose.cancel_mode(), purpose.subscriber());
        let command = Command {
            message,
            purpose,
            deadline: deadline.at,
            request: request.clone(),
            reply: Reply { sender, permit },
        };
        if let Err(refused) = self.commands.try_send(command) {
            return Err(match refused {
                // The queue has a place for each permit.
                mpsc::error::TrySendError::Full(_) => {
                    Unsent::Failed(CallError::Busy(self.shared.config.max_in_flight))
                }
                mpsc::error::TrySendError::Closed(command) => {
                    Unsent::Returned(Box::new(command.message), self.shared.end())
                }
            });
        }
        let mut waiting = Waiting {
            answer,
            request: Some(request),
            cancel,
            subscriber,
            control: &self.control,
        };
        match timeout_at(deadline.at, &mut waiting.answer).await {
            Ok(answered) => {
                waiting.request = None;
                // The task was dropped with all it held, the message too.
                answered.unwrap_or_else(|_| {
                    Err(Unsent::Failed(CallError::Disconnected(self.shared.end())))
                })
            }
            Err(_) => Err(Unsent::Failed(CallError::Timeout(deadline.given))),
        }
    }
}

pub(super) fn failure(unsent: Unsent) -> CallError {
    match unsent {
        Unsent::Failed(error) => error,
        Unsent::Returned(_, error) => CallError::NotSent(error),
    }
}

/// Waits for an answer. Dropped before it has it, it tells the task that nobody waits any more.
struct Waiting<'a> {
    answer: oneshot::Receiver<Result<Answer, Unsent>>,
    /// Until the answer has been taken.
    request: Option<Arc<AtomicU64>>,
    cancel: CancelMode,
    /// Who subscribes, if somebody does.
    subscriber: Option<u64>,
    control: &'a mpsc::UnboundedSender<Control>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else {
            return;
        };
        // From here on the task sees that nobody takes the answer. If it was there already, the
        // request is settled, and what it has brought would last with nobody to give it up.
        self.answer.close();
        let gone = match (self.answer.try_recv(), self.subscriber) {
            (Ok(Ok(Answer::Subscribed(id))), Some(key)) => Control::DropSubscriber(id, key),
            (Ok(Ok(Answer::Registered(id))), _) => Control::DropRegistration(id),
            _ => Control::Abandon(request, self.cancel),
        };
        // If the task is gone, so is the request.
        drop(self.control.send(gone));
    }
}
