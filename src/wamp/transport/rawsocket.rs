//! WAMP over RawSocket, from either end: frames with a length before them, over TCP, TLS or a Unix
//! domain socket.
//!
//! ```text
//! handshake, both ways   7F | L<<4 + S | 00 | 00      L: takes up to 2^(9+L) bytes, S: serializer
//! frame                  0000XTTT | length, 24 bits | that many bytes     T: message, PING, PONG
//! ```
//!
//! The one bit X stands for a length of exactly 2^24. It is understood, but never written: routers
//! that do not know it (Crossbar.io and xconn-router among them) would lose their place in the
//! stream, and with it the session, over a message that is one byte too long for them.
//!
//! A client asks for one serializer. So each that may be used is tried on a connection of its own,
//! as long as the answer is that it is not spoken; a connection that is closed without an answer
//! says the same, as this is how Crossbar.io says it.
//!
//! The protocol has no good-bye of its own: who closes has said GOODBYE, and the end of the stream
//! between two frames is the end.
//!
//! Reference: WAMP Advanced Profile, "RawSocket Transport".

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::{BoxStream, Stream};
use super::{
    AcceptError, ConnectError, Incoming, ReaderKind, Transport, TransportError, WriterKind, tls,
};
use crate::wamp::config::RouterConfig;
use crate::wamp::serializer::Serializer;

/// The first byte of a handshake, with which no HTTP request begins.
pub(super) const MAGIC: u8 = 0x7f;

/// The longest frame that anybody can announce to take.
const MAX_FRAME_BYTES: usize = 1 << 24;
/// The longest frame that is written; see above.
const MAX_WRITTEN_BYTES: usize = MAX_FRAME_BYTES - 1;
const MIN_EXPONENT: u32 = 9;
const MAX_EXPONENT: u32 = 24;

const HEADER_BYTES: usize = 4;
/// The bit of a header's first byte for a length of 2^24.
const FULL_LENGTH: u8 = 0x08;
const KIND_BITS: u8 = 0x07;
const RESERVED_BITS: u8 = 0xf0;
const MESSAGE: u8 = 0;
const PING: u8 = 1;
const PONG: u8 = 2;

/// Read at once from a socket; allocated per connection, of which an embedded router has many.
const READ_BYTES: usize = 32 * 1024;
/// A buffer that has grown beyond this for a long message is given back after it.
const KEPT_BYTES: usize = 256 * 1024;

/// Why a router refuses a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not speak the serializer.
    #[error("serializer not supported")]
    Serializer,
    /// It does not like how long messages may be that we take.
    #[error("the longest message that we take does not suit it")]
    Length,
    /// It thinks that we asked for a feature that it does not have.
    #[error("use of reserved bits")]
    Reserved,
    /// It has too many connections.
    #[error("it has too many connections")]
    Connections,
    /// An error that came after this was written.
    #[error("error {0}")]
    Other(u8),
}

/// What the four bytes of a handshake say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// The sender speaks this serializer, by its number, and takes frames of up to so many bytes.
    Open {
        /// 1 JSON, 2 MessagePack, 3 CBOR; others are not ours.
        serializer: u8,
        /// A power of two from 2^9 to 2^24.
        max_frame_bytes: usize,
    },
    /// The router refuses.
    Refused(Refusal),
    /// Not the bytes of a RawSocket.
    NotRawSocket {
        /// The first of them.
        first: u8,
    },
    /// The reserved bytes are in use.
    Reserved,
}

impl Handshake {
    /// Reads the four bytes that came from a peer.
    pub fn read(bytes: [u8; 4]) -> Self {
        let [first, second, ..] = bytes;
        if first != MAGIC {
            return Handshake::NotRawSocket { first };
        }
        if bytes[2..] != [0, 0] {
            return Handshake::Reserved;
        }
        let (high, low) = (second >> 4, second & 0x0f);
        match low {
            0 => Handshake::Refused(match high {
                1 => Refusal::Serializer,
                2 => Refusal::Length,
                3 => Refusal::Reserved,
                4 => Refusal::Connections,
                other => Refusal::Other(other),
            }),
            serializer => Handshake::Open {
                serializer,
                max_frame_bytes: 1 << (MIN_EXPONENT + u32::from(high)),
            },
        }
    }
}

/// Returns the least power of two that can be announced and is not below `max_message_bytes`.
fn announced(max_message_bytes: usize) -> u32 {
    let exponent = max_message_bytes
        .min(MAX_FRAME_BYTES)
        .next_power_of_two()
        .trailing_zeros();
    exponent.clamp(MIN_EXPONENT, MAX_EXPONENT)
}

fn opening(serializer: Serializer, exponent: u32) -> [u8; 4] {
    let length = u8::try_from(exponent - MIN_EXPONENT).expect("at most 15");
    [MAGIC, length << 4 | number(serializer), 0, 0]
}

fn refusal(refusal: Refusal) -> [u8; 4] {
    let number = match refusal {
        Refusal::Serializer => 1,
        Refusal::Length => 2,
        Refusal::Reserved => 3,
        Refusal::Connections => 4,
        Refusal::Other(number) => number,
    };
    [MAGIC, number << 4, 0, 0]
}

fn number(serializer: Serializer) -> u8 {
    match serializer {
        Serializer::Json => 1,
        Serializer::Msgpack => 2,
        Serializer::Cbor => 3,
    }
}

/// Opens a connection, for which `dial` gives one stream for each serializer that is tried; the
/// caller sets the deadline.
pub(super) async fn connect<F>(
    dial: impl Fn() -> F,
    config: &RouterConfig,
) -> Result<Transport, ConnectError>
where
    F: Future<Output = Result<BoxStream, ConnectError>>,
{
    let mut is_answered = false;
    for serializer in &config.serializers {
        let exponent = announced(config.max_message_bytes);
        let mut stream = dial().await?;
        let Some(answer) = ask(&mut stream, opening(*serializer, exponent)).await? else {
            continue;
        };
        match Handshake::read(answer) {
            Handshake::Open {
                serializer: chosen,
                max_frame_bytes,
            } if chosen == number(*serializer) => {
                let limits = Limits::new(config.max_message_bytes, max_frame_bytes);
                return Ok(transport(stream, *serializer, limits));
            }
            Handshake::Open { .. } => {
                let text = "the router chose a serializer that it was not asked for";
                return Err(ConnectError::Handshake(text.to_owned()));
            }
            Handshake::Refused(Refusal::Serializer) => is_answered = true,
            Handshake::Refused(refusal) => return Err(ConnectError::RawSocket(refusal)),
            Handshake::NotRawSocket { first: b'H' } => {
                let text = "the server answered HTTP: is this a WebSocket's address?";
                return Err(ConnectError::Handshake(text.to_owned()));
            }
            Handshake::NotRawSocket { first } => {
                let text =
                    format!("the server does not speak RawSocket: it began with {first:#04x}");
                return Err(ConnectError::Handshake(text));
            }
            Handshake::Reserved => {
                let text = "the router uses reserved bytes of the handshake";
                return Err(ConnectError::Handshake(text.to_owned()));
            }
        }
    }
    let names: Vec<_> = config.serializers.iter().map(|s| s.name()).collect();
    let names = names.join(", ");
    Err(if is_answered {
        ConnectError::Serializer(names)
    } else {
        ConnectError::Unanswered(names)
    })
}

/// Says our part of the handshake and waits for the router's. `None`: it closed the connection
/// without a word.
async fn ask(stream: &mut BoxStream, opening: [u8; 4]) -> Result<Option<[u8; 4]>, ConnectError> {
    let talk = async {
        stream.write_all(&opening).await?;
        stream.flush().await?;
        let mut answer = [0; HEADER_BYTES];
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(answer)
    };
    match talk.await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Ok(None),
            _ => Err(tls::failed(error)),
        },
    }
}

/// Serves one client's handshake; the caller sets the deadline.
pub(super) async fn accept(
    stream: impl Stream + 'static,
    serializers: &[Serializer],
    max_message_bytes: usize,
) -> Result<Transport, AcceptError> {
    let mut stream: BoxStream = Box::new(stream);
    let broken = |error: io::Error| AcceptError::Handshake(error.to_string());
    let mut asked = [0; HEADER_BYTES];
    stream.read_exact(&mut asked).await.map_err(broken)?;
    let known = Serializer::ALL
        .into_iter()
        .filter(|serializer| serializers.contains(serializer));
    let (answer, outcome) = match Handshake::read(asked) {
        Handshake::Open {
            serializer,
            max_frame_bytes,
        } => match known.into_iter().find(|known| number(*known) == serializer) {
            Some(serializer) => {
                let limits = Limits::new(max_message_bytes, max_frame_bytes);
                let answer = opening(serializer, announced(max_message_bytes));
                (answer, Ok((serializer, limits)))
            }
            None => (refusal(Refusal::Serializer), Err(AcceptError::Subprotocol)),
        },
        // A client has nothing to refuse: this is serializer 0, which nobody speaks.
        Handshake::Refused(_) => (refusal(Refusal::Serializer), Err(AcceptError::Subprotocol)),
        Handshake::Reserved => {
            let text = "the client uses reserved bytes of the handshake".to_owned();
            (
                refusal(Refusal::Reserved),
                Err(AcceptError::Handshake(text)),
            )
        }
        Handshake::NotRawSocket { first } => {
            let text = format!("the client does not speak RawSocket: it began with {first:#04x}");
            return Err(AcceptError::Handshake(text));
        }
    };
    stream.write_all(&answer).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let (serializer, limits) = match outcome {
        Ok(agreed) => agreed,
        Err(refused) => {
            // Else what the client has sent since would reset the connection, and our answer with it.
            stream.shutdown().await.map_err(broken)?;
            return Err(refused);
        }
    };
    Ok(transport(stream, serializer, limits))
}

/// How long frames may be on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    /// What we announced: whoever keeps to it has done nothing wrong.
    read: usize,
    /// What the peer announced, as far as we go ourselves.
    written: usize,
}

impl Limits {
    fn new(max_message_bytes: usize, peer_takes: usize) -> Self {
        Self {
            read: 1 << announced(max_message_bytes),
            written: max_message_bytes.min(peer_takes).min(MAX_WRITTEN_BYTES),
        }
    }
}

fn transport(stream: BoxStream, serializer: Serializer, limits: Limits) -> Transport {
    let wakers = Arc::new(Wakers::default());
    let link = Link {
        stream,
        outgoing: BytesMut::new(),
        owes_pong: false,
        is_writable: Waker::from(wakers.clone()),
    };
    let shared = Shared {
        link: Arc::new(Mutex::new(link)),
        wakers,
    };
    let reader = Reader {
        shared: shared.clone(),
        frames: Frames::new(limits.read),
        max_pong_bytes: limits.written,
    };
    Transport::new(
        serializer,
        ReaderKind::RawSocket(reader),
        WriterKind::RawSocket(Writer { shared }),
        limits.written,
    )
}

/// What came in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A message.
    Message(Bytes),
    /// To be sent back as a PONG.
    Ping(Bytes),
    /// The answer to a PING.
    Pong(Bytes),
}

/// Finds the frames in a stream of bytes, in whatever pieces they come.
///
/// ```
/// use wampgate::wamp::transport::rawsocket::{Frame, Frames};
///
/// let mut frames = Frames::new(512);
/// frames.extend(&[0, 0, 0, 3, b'[', b'1']);
/// assert_eq!(frames.next_frame().unwrap(), None);
/// frames.extend(b"]");
/// assert_eq!(frames.next_frame().unwrap(), Some(Frame::Message("[1]".into())));
/// ```
#[derive(Debug)]
pub struct Frames {
    buffer: BytesMut,
    max_frame_bytes: usize,
}

impl Frames {
    /// Takes frames of up to `max_frame_bytes`, their headers not counted.
    pub fn new(max_frame_bytes: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            max_frame_bytes,
        }
    }

    /// Adds bytes as they came.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next frame, or `None` while it is not whole.
    ///
    /// # Errors
    ///
    /// [`TransportError::Protocol`] for reserved bits and unknown kinds, [`TransportError::TooLong`]
    /// as soon as the header says so. The stream is of no use after either.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, TransportError> {
        let Some((kind, size)) = self.header()? else {
            return Ok(None);
        };
        if self.buffer.len() < HEADER_BYTES + size {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        let payload = self.buffer.split_to(size).freeze();
        if size > KEPT_BYTES {
            // What came after it would else keep all of its memory.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        Ok(Some(match kind {
            MESSAGE => Frame::Message(payload),
            PING => Frame::Ping(payload),
            _ => Frame::Pong(payload),
        }))
    }

    fn next_is_ping(&self) -> Result<bool, TransportError> {
        Ok(matches!(self.header()?, Some((PING, _))))
    }

    /// Returns the next frame's kind and length, once its header is there.
    fn header(&self) -> Result<Option<(u8, usize)>, TransportError> {
        let Some(&[first, high, middle, low]) = self.buffer.first_chunk() else {
            return Ok(None);
        };
        let protocol = |text: String| Err(TransportError::Protocol(text));
        if first & RESERVED_BITS != 0 {
            return protocol(format!("reserved bits in a RawSocket frame: {first:#04x}"));
        }
        let kind = first & KIND_BITS;
        if !matches!(kind, MESSAGE | PING | PONG) {
            return protocol(format!("unknown kind of RawSocket frame: {kind}"));
        }
        let length = u32::from_be_bytes([0, high, middle, low]);
        let size = match (first & FULL_LENGTH != 0, length) {
            (false, _) => usize::try_from(length).unwrap_or(usize::MAX),
            (true, 0) => MAX_FRAME_BYTES,
            (true, _) => {
                return protocol("a RawSocket frame longer than there can be one".to_owned());
            }
        };
        if size > self.max_frame_bytes {
            return Err(TransportError::TooLong {
                size,
                max: self.max_frame_bytes,
            });
        }
        Ok(Some((kind, size)))
    }

    /// Returns where the next bytes may be put. It grows with what has come, not with what a header
    /// claims.
    fn room(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() == self.buffer.len() {
            self.buffer.reserve(self.buffer.len().max(READ_BYTES));
        }
        &mut self.buffer
    }

    fn is_between_frames(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// The stream and what goes out, shared by the two halves.
#[derive(Debug, Clone)]
struct Shared {
    /// A std mutex: it is held for one poll, which never waits.
    link: Arc<Mutex<Link>>,
    wakers: Arc<Wakers>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Link> {
        // A panic inside one poll leaves a stream whose next use fails by itself.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Link {
    stream: BoxStream,
    /// Whole frames, but for the beginning of the first, which may be written already.
    outgoing: BytesMut,
    /// A PONG is among them, which must go out though nobody may be flushing.
    owes_pong: bool,
    /// Wakes both halves: either may be the one that waits to write, and a stream remembers only
    /// who asked last.
    is_writable: Waker,
}

/// Whom to wake when the stream can be written to.
#[derive(Debug, Default)]
struct Wakers {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

impl Link {
    fn put(&mut self, kind: u8, payload: &[u8]) {
        let size = u32::try_from(payload.len())
            .ok()
            .filter(|size| *size < 1 << 24)
            .expect("checked against the limit, which is below");
        self.outgoing.reserve(HEADER_BYTES + payload.len());
        self.outgoing.put_u32(u32::from(kind) << 24 | size);
        self.outgoing.put_slice(payload);
    }

    /// Writes all that is to go out. The caller has left its waker in [`Wakers`].
    fn poll_write(&mut self) -> Poll<io::Result<()>> {
        let mut cx = Context::from_waker(&self.is_writable);
        while !self.outgoing.is_empty() {
            let written = ready!(Pin::new(&mut *self.stream).poll_write(&mut cx, &self.outgoing))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(written);
        }
        if self.outgoing.capacity() > KEPT_BYTES {
            self.outgoing = BytesMut::new();
        }
        ready!(Pin::new(&mut *self.stream).poll_flush(&mut cx))?;
        self.owes_pong = false;
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self) -> Poll<io::Result<()>> {
        ready!(self.poll_write())?;
        let mut cx = Context::from_waker(&self.is_writable);
        Pin::new(&mut *self.stream).poll_shutdown(&mut cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut BytesMut) -> Poll<io::Result<usize>> {
        pin!(self.stream.read_buf(room)).poll(cx)
    }
}

#[derive(Debug)]
pub(super) struct Reader {
    shared: Shared,
    frames: Frames,
    /// A PING is not answered with more than the peer takes.
    max_pong_bytes: usize,
}

impl Reader {
    /// `None` is the end. After it, and after an error, it is not asked again.
    pub(super) async fn next(&mut self) -> Result<Option<Incoming>, TransportError> {
        poll_fn(|cx| self.poll_incoming(cx)).await
    }

    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Incoming>, TransportError>> {
        loop {
            let mut link = self.shared.lock();
            if link.owes_pong {
                // It goes out by itself, and before the next PING is read: a peer that pings and
                // does not read would else fill our memory with what it is owed.
                self.shared.wakers.reader.register(cx.waker());
                match link.poll_write() {
                    Poll::Ready(written) => written.map_err(TransportError::Lost)?,
                    Poll::Pending if self.frames.next_is_ping()? => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            match self.frames.next_frame()? {
                Some(Frame::Message(message)) => {
                    return Poll::Ready(Ok(Some(Incoming::Message(message))));
                }
                Some(Frame::Ping(payload)) => {
                    if payload.len() > self.max_pong_bytes {
                        return Poll::Ready(Err(TransportError::TooLong {
                            size: payload.len(),
                            max: self.max_pong_bytes,
                        }));
                    }
                    link.put(PONG, &payload);
                    link.owes_pong = true;
                    return Poll::Ready(Ok(Some(Incoming::Ping)));
                }
                Some(Frame::Pong(_)) => return Poll::Ready(Ok(Some(Incoming::Pong))),
                None => {}
            }
            let is_between_frames = self.frames.is_between_frames();
            let room = self.frames.room();
            if ready!(link.poll_read(cx, room)).map_err(TransportError::Lost)? == 0 {
                return Poll::Ready(if is_between_frames {
                    Ok(None)
                } else {
                    let cut = io::ErrorKind::UnexpectedEof;
                    Err(TransportError::Lost(cut.into()))
                });
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    shared: Shared,
}

impl Writer {
    pub(super) fn feed(&mut self, message: &[u8]) {
        self.shared.lock().put(MESSAGE, message);
    }

    pub(super) fn ping(&mut self) {
        self.shared.lock().put(PING, &[]);
    }

    pub(super) async fn flush(&mut self) -> Result<(), TransportError> {
        self.until(Link::poll_write).await
    }

    pub(super) async fn close(&mut self) -> Result<(), TransportError> {
        self.until(Link::poll_close).await
    }

    async fn until(
        &mut self,
        mut step: impl FnMut(&mut Link) -> Poll<io::Result<()>>,
    ) -> Result<(), TransportError> {
        poll_fn(|cx| {
            self.shared.wakers.writer.register(cx.waker());
            step(&mut self.shared.lock())
        })
        .await
        .map_err(TransportError::Lost)
    }
}

#[cfg(test)]
mod tests;
