//! The one task that owns a session's connection.
//!
//! Why it gathers before it writes: a write to a socket costs tens of times what a message costs,
//! and on a runtime of several threads the task wakes for the first message before the next is
//! queued. So it yields a few times, lets the requests that are ready join, and writes them at once.
//!
//! Why it takes no new request while a flush is unfinished: what is not written may go to another
//! session when this one ends, what is written may not.
//!
//! Reading and flushing are polled together, always: two peers that both wait until the other has
//! read would wait for ever.

mod reaction;
mod unwanted;
mod writing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use crate::value::{Map, Value};
use crate::wamp::error::{CallError, SessionError, uris};
use crate::wamp::message::Message;
use crate::wamp::session::callee::Callee;
use crate::wamp::session::outbox::Outbox;
use crate::wamp::session::request::{Command, Control, Purpose, Reply, Unsent};
use crate::wamp::session::state::State;
use crate::wamp::session::subscribers::Subscribers;
use crate::wamp::session::task::unwanted::Unwanted;
use crate::wamp::session::{CLOSE_WAIT, Shared, after, lost, take_leave};
use crate::wamp::transport::{FrameReader, FrameWriter, Incoming, TransportError};

/// How often the others get a turn to queue their requests before a batch is written.
const GATHER_YIELDS: usize = 2;
/// A batch is written when it has so many messages ...
const MAX_BATCH: usize = 256;
/// ... or so many bytes, so that a flush is a matter of one buffer and not of a slow minute.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// Frames that are taken in at one go before the others get a turn.
const MAX_READS: usize = 64;
/// Longest wait for the router's answer to our GOODBYE.
const GOODBYE_WAIT: Duration = Duration::from_secs(3);
/// Pings without an answer after which the session is over.
const MAX_UNANSWERED_PINGS: u32 = 2;

#[derive(Debug)]
struct Ticket {
    purpose: Purpose,
    reply: Reply,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Open,
    /// No new requests; those in flight have until then.
    Draining(Instant),
    /// GOODBYE is said; the router has until then to answer.
    Leaving(Instant),
}

/// A session, as a task: [`Task::run`] lasts as long as it.
#[derive(Debug)]
pub(crate) struct Task {
    shared: Arc<Shared>,
    state: State<Ticket>,
    reader: FrameReader,
    outbox: Outbox,
    queue: mpsc::Receiver<Command>,
    batch: VecDeque<Command>,
    control: mpsc::UnboundedReceiver<Control>,
    subscribers: Subscribers,
    callee: Callee,
    /// What is left as soon as nothing that is on its way can be about it.
    unwanted: Vec<Unwanted>,
    heartbeat: Option<Interval>,
    unanswered_pings: u32,
    /// What `shared` says too: read for each frame.
    is_suspect: bool,
    phase: Phase,
    has_no_handles: bool,
    /// Whether the dealer announces `call_timeout`.
    tells_timeouts: bool,
}

impl Task {
    pub(super) fn new(
        shared: Arc<Shared>,
        reader: FrameReader,
        writer: FrameWriter,
        queue: mpsc::Receiver<Command>,
        control: mpsc::UnboundedReceiver<Control>,
    ) -> Self {
        let config = &shared.config;
        let heartbeat = config.heartbeat.filter(|period| !period.is_zero());
        let heartbeat = heartbeat.map(|period| {
            let mut ticks = interval_at(after(period), period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self {
            state: State::new(shared.welcome.dealer_has("call_canceling")),
            reader,
            outbox: Outbox {
                writer,
                serializer: shared.serializer,
                max_message_bytes: config.max_message_bytes,
                unflushed_since: None,
            },
            queue,
            batch: VecDeque::new(),
            control,
            subscribers: Subscribers::default(),
            callee: Callee::new(config.max_in_flight),
            unwanted: Vec::new(),
            heartbeat,
            unanswered_pings: 0,
            is_suspect: false,
            phase: Phase::Open,
            has_no_handles: false,
            tells_timeouts: shared.welcome.dealer_has("call_timeout"),
            shared,
        }
    }

    /// Runs the session to its end and returns what ended it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the session at once: no GOODBYE, and who waits for an answer is
    /// told that it is lost.
    pub(crate) async fn run(mut self) -> SessionError {
        let (last_word, error) = match self.serve().await {
            Ok(ended) => ended,
            Err(error) => {
                let word = matches!(error, SessionError::NotWamp(_)).then(protocol_violation);
                (word, error)
            }
        };
        self.finish(last_word, error.clone()).await;
        error
    }

    async fn serve(&mut self) -> Result<(Option<Message>, SessionError), SessionError> {
        let mut gathered = Vec::new();
        loop {
            self.write_batch()?;
            self.leave_when_drained()?;
            self.measure();
            let may_take = self.may_take_requests();
            let may_answer = self.outbox.writer.unflushed_bytes() < MAX_BATCH_BYTES;
            let phase_ends = match self.phase {
                Phase::Open => None,
                Phase::Draining(until) | Phase::Leaving(until) => Some(until),
            };
            tokio::select! {
                flushed = self.outbox.writer.flush(), if self.outbox.unflushed_since.is_some() => {
                    flushed.map_err(lost)?;
                    self.outbox.unflushed_since = None;
                }
                frame = self.reader.next() => {
                    if let Some(end) = self.read(frame)? {
                        return Ok(end);
                    }
                }
                count = self.queue.recv_many(&mut gathered, MAX_BATCH), if may_take => {
                    if count == 0 {
                        // No handle is left, so nobody can want anything.
                        self.has_no_handles = true;
                        self.drain(Duration::ZERO);
                    } else {
                        self.gather(&mut gathered).await;
                    }
                }
                Some(control) = self.control.recv() => self.obey(control)?,
                said = self.callee.next(), if may_answer => self.send_said(&said)?,
                () = tick(&mut self.heartbeat) => self.beat()?,
                () = until(phase_ends) => {
                    match self.phase {
                        Phase::Leaving(_) => return Ok((None, SessionError::Closed)),
                        Phase::Open | Phase::Draining(_) => self.say_goodbye()?,
                    }
                }
            }
        }
    }

    fn measure(&self) {
        let (pending, tombstones) = (self.state.pending(), self.state.tombstones());
        self.shared.gauges.set(pending, tombstones);
    }

    /// While a flush is unfinished requests stay in the queue, from which they can still move to
    /// another session; after GOODBYE they stay there for good.
    fn may_take_requests(&self) -> bool {
        self.outbox.unflushed_since.is_none()
            && self.batch.is_empty()
            && match self.phase {
                // A queue that nobody can fill is ready at once, again and again.
                Phase::Open | Phase::Draining(_) => !self.has_no_handles,
                Phase::Leaving(_) => false,
            }
    }

    async fn gather(&mut self, gathered: &mut Vec<Command>) {
        self.batch.extend(gathered.drain(..));
        for _ in 0..GATHER_YIELDS {
            yield_now().await;
            while self.batch.len() < MAX_BATCH
                && let Ok(command) = self.queue.try_recv()
            {
                self.batch.push_back(command);
            }
        }
    }

    fn write_batch(&mut self) -> Result<(), SessionError> {
        // What was told before these requests were queued comes before them: a caller that gives
        // one call up and makes another sees its CANCEL go first.
        while let Ok(control) = self.control.try_recv() {
            self.obey(control)?;
        }
        if self.outbox.unflushed_since.is_some() || matches!(self.phase, Phase::Leaving(_)) {
            return Ok(());
        }
        while self.outbox.writer.unflushed_bytes() < MAX_BATCH_BYTES
            && let Some(command) = self.batch.pop_front()
        {
            self.write(command)?;
        }
        Ok(())
    }

    /// Takes in a frame and those that have come with it.
    fn read(
        &mut self,
        first: Option<Result<Incoming, TransportError>>,
    ) -> Result<Option<(Option<Message>, SessionError)>, SessionError> {
        let mut frame = first;
        for reads in 1.. {
            // Whoever sends is there.
            self.unanswered_pings = 0;
            if self.is_suspect {
                self.suspect(false);
            }
            match frame {
                Some(Ok(Incoming::Message(bytes))) => {
                    if let Some(end) = self.take_in(&bytes)? {
                        return Ok(Some(end));
                    }
                }
                // The transport has an answer ready, which goes out with the next flush.
                Some(Ok(Incoming::Ping)) => {
                    self.outbox.touch();
                }
                Some(Ok(Incoming::Pong)) => {}
                Some(Err(_)) | None if matches!(self.phase, Phase::Leaving(_)) => {
                    return Ok(Some((None, SessionError::Closed)));
                }
                Some(Err(error)) => return Err(lost(error)),
                None => return Err(SessionError::Dropped),
            }
            if reads == MAX_READS {
                break;
            }
            match self.reader.next().now_or_never() {
                Some(next) => frame = next,
                None => break,
            }
        }
        Ok(None)
    }

    fn drain(&mut self, within: Duration) {
        self.shared.refuse_requests();
        let until = after(within);
        match &mut self.phase {
            Phase::Open => self.phase = Phase::Draining(until),
            Phase::Draining(earlier) => *earlier = until.min(*earlier),
            Phase::Leaving(_) => {}
        }
    }

    fn leave_when_drained(&mut self) -> Result<(), SessionError> {
        let is_drained = matches!(self.phase, Phase::Draining(_))
            && self.shared.in_flight() == 0
            && self.callee.is_idle();
        if is_drained {
            self.say_goodbye()
        } else {
            Ok(())
        }
    }

    fn say_goodbye(&mut self) -> Result<(), SessionError> {
        let goodbye = self.state.goodbye();
        self.send_own(&goodbye)?;
        self.phase = Phase::Leaving(Instant::now() + GOODBYE_WAIT);
        Ok(())
    }

    fn beat(&mut self) -> Result<(), SessionError> {
        let period = self.shared.config.heartbeat.unwrap_or_default();
        let since = self.outbox.unflushed_since;
        let stalled = since.map_or(Duration::ZERO, |since| since.elapsed());
        if stalled >= period * MAX_UNANSWERED_PINGS {
            return Err(SessionError::Stalled(stalled));
        }
        self.suspect(self.unanswered_pings > 0 || stalled >= period);
        if !self.outbox.writer.may_ping() {
            return Ok(());
        }
        if self.unanswered_pings >= MAX_UNANSWERED_PINGS {
            return Err(SessionError::Unresponsive(self.unanswered_pings));
        }
        self.unanswered_pings += 1;
        self.outbox.ping().map_err(lost)
    }

    fn suspect(&mut self, is_suspect: bool) {
        self.is_suspect = is_suspect;
        self.shared.is_suspect.store(is_suspect, Ordering::Relaxed);
    }

    async fn finish(&mut self, last_word: Option<Message>, error: SessionError) {
        // First nobody may choose this session any more: whoever gets a request back looks for
        // another one at once.
        self.shared.refuse_requests();
        self.shared.ended.send_replace(Some(error.clone()));
        for ticket in self.state.end() {
            let lost = CallError::Disconnected(error.clone());
            ticket.reply.settle(Err(Unsent::Failed(lost)));
        }
        self.shared.gauges.set(0, 0);
        self.queue.close();
        for command in self.batch.drain(..) {
            give_back(command, &error);
        }
        while let Some(command) = self.queue.recv().await {
            give_back(command, &error);
        }
        self.subscribers.clear();
        self.callee.end(CLOSE_WAIT).await;
        take_leave(&mut self.outbox.writer, self.outbox.serializer, last_word).await;
    }
}

/// However the task ends, also when its owner drops it: nobody is left waiting.
impl Drop for Task {
    fn drop(&mut self) {
        self.shared.refuse_requests();
        self.shared.ended.send_if_modified(|ended| {
            let is_news = ended.is_none();
            ended.get_or_insert(SessionError::Closed);
            is_news
        });
    }
}

/// Waits for an instant, or for ever. Costs nothing before it is polled, as the loop needs.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn tick(heartbeat: &mut Option<Interval>) {
    match heartbeat {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

fn give_back(command: Command, error: &SessionError) {
    let returned = Unsent::Returned(Box::new(command.message), error.clone());
    command.reply.settle(Err(returned));
}

fn protocol_violation() -> Message {
    Message::Abort {
        details: Map::from([(
            "message".to_owned(),
            Value::from("the frame holds no WAMP message"),
        )]),
        reason: uris::PROTOCOL_VIOLATION.to_owned(),
        payload: crate::wamp::message::Payload::default(),
    }
}
