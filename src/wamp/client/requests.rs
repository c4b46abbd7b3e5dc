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
        let cancel = purpose.cancel_mode();
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
        let mut guard = AbandonOnDrop {
            request: Some(request),
            cancel,
            control: &self.control,
        };
        match timeout_at(deadline.at, answer).await {
            Ok(answered) => {
                guard.request = None;
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

/// Tells the task that nobody waits for a request any more.
struct AbandonOnDrop<'a> {
    request: Option<Arc<AtomicU64>>,
    cancel: CancelMode,
    control: &'a mpsc::UnboundedSender<Control>,
}

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            // If the task is gone, so is the request.
            drop(self.control.send(Control::Abandon(request, self.cancel)));
        }
    }
}
