//! Reads a request's body: no more than it may have, and no slower than it may come.
//!
//! A declared length that is too large is refused before a byte is read, so that a client that
//! waits with `Expect: 100-continue` never sends the body. A refused body is left unread; the
//! connection ends after the answer, and the listener lingers so that a client which still writes
//! gets to see it.
//!
//! Reference: RFC 9110, "413 Content Too Large" and "408 Request Timeout".

use std::error::Error;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body;

use crate::problem::Problem;
use crate::value::Value;

/// Why there is no body to decode.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is larger than the route allows.
    #[error("the body is larger than {max_bytes} bytes")]
    TooLarge {
        /// What the route allows.
        max_bytes: u64,
    },
    /// It was not all there in time.
    #[error("the body did not arrive within {within:?}")]
    TooSlow {
        /// What the route allows.
        within: Duration,
    },
    /// The client went away or broke the transfer coding. Nobody may be left to read the answer.
    #[error("the body broke off")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
}

impl BodyError {
    /// Words it for the caller. What was not read makes the connection useless for another
    /// request, so each of these ends it.
    pub fn into_problem(self) -> Problem {
        let sentence = format!("{self}.");
        let problem = match self {
            BodyError::TooLarge { max_bytes } => Problem::new(StatusCode::PAYLOAD_TOO_LARGE)
                .member("max_bytes", Value::from(max_bytes)),
            BodyError::TooSlow { .. } => Problem::new(StatusCode::REQUEST_TIMEOUT),
            BodyError::Broken(_) => Problem::new(StatusCode::BAD_REQUEST),
        };
        problem
            .detail(sentence)
            .header(CONNECTION, HeaderValue::from_static("close"))
    }
}

/// How much a route reads, and how fast it must come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest body.
    pub max_bytes: u64,
    /// The longest time for each `read_bytes` of it.
    pub within: Duration,
    /// See `within`; what is left at the end has the same time. 0 counts as 1.
    pub read_bytes: u64,
}

/// Reads `body` to its end, within its limits.
///
/// The time runs from this call. A body that arrives in one piece is not copied.
///
/// # Errors
///
/// [`BodyError`]; the rest of the body is then unread.
///
/// # Cancel safety
///
/// Not cancel safe: what was read is lost.
pub async fn read<B>(body: B, limits: Limits) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Limits {
        max_bytes,
        within,
        read_bytes,
    } = limits;
    if body.size_hint().lower() > max_bytes {
        return Err(BodyError::TooLarge { max_bytes });
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let mut body = pin!(body);
    let mut received = Received::default();
    loop {
        let until = received.total.saturating_add(read_bytes.max(1));
        match tokio::time::timeout(within, received.fill(&mut body, until, max_bytes)).await {
            Ok(Ok(true)) => return Ok(received.into_bytes()),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(BodyError::TooSlow { within }),
        }
    }
}

/// What has come of a body; one piece is kept as it is.
#[derive(Default)]
struct Received {
    first: Bytes,
    joined: BytesMut,
    total: u64,
}

impl Received {
    /// Reads until there are `until` bytes or more, or to the end. Returns whether that was the end.
    async fn fill<B>(
        &mut self,
        body: &mut Pin<&mut B>,
        until: u64,
        max_bytes: u64,
    ) -> Result<bool, BodyError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        while self.total < until {
            let Some(frame) = body.frame().await else {
                return Ok(true);
            };
            let frame = frame.map_err(|error| BodyError::Broken(error.into()))?;
            // Trailers say nothing that a template could ask for.
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            self.total += chunk.len() as u64;
            if self.total > max_bytes {
                return Err(BodyError::TooLarge { max_bytes });
            }
            self.push(chunk);
        }
        Ok(false)
    }

    fn push(&mut self, chunk: Bytes) {
        if self.first.is_empty() && self.joined.is_empty() {
            self.first = chunk;
            return;
        }
        if self.joined.is_empty() {
            self.joined
                .extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.joined.extend_from_slice(&chunk);
    }

    fn into_bytes(self) -> Bytes {
        if self.joined.is_empty() {
            self.first
        } else {
            self.joined.freeze()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    const SOON: Duration = Duration::from_secs(15);

    /// Up to `max_bytes`, all of it within [`SOON`].
    fn at_once(max_bytes: u64) -> Limits {
        Limits {
            max_bytes,
            within: SOON,
            read_bytes: max_bytes,
        }
    }

    fn chunks(chunks: &[&'static str]) -> impl Body<Data = Bytes, Error = std::io::Error> + use<> {
        let frames: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))))
            .collect();
        StreamBody::new(stream::iter(frames))
    }

    #[tokio::test]
    async fn pieces_are_joined() {
        let read = read(chunks(&["ab", "", "cd", "e"]), at_once(5)).await;
        assert_eq!(read.unwrap(), "abcde");
    }

    #[tokio::test]
    async fn one_byte_more_than_allowed_is_too_large_declared_or_not() {
        let declared = read(Full::new(Bytes::from_static(b"abcdef")), at_once(5)).await;
        assert!(matches!(
            declared,
            Err(BodyError::TooLarge { max_bytes: 5 })
        ));
        let found = read(chunks(&["abc", "def"]), at_once(5)).await;
        let problem = found.unwrap_err().into_problem();
        assert_eq!(problem.status(), 413);
        assert_eq!(problem.headers()["connection"], "close");
    }

    /// A byte each second.
    fn drip(count: u32) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
        let drops = stream::unfold(count, async |left| {
            let left = left.checked_sub(1)?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok(Frame::data(Bytes::from_static(b"x"))), left))
        });
        StreamBody::new(Box::pin(drops))
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_is_for_the_whole_part_however_steady_its_drip() {
        let start = tokio::time::Instant::now();
        let read = read(drip(100), at_once(1000)).await;
        assert_eq!(read.unwrap_err().into_problem().status(), 408);
        assert_eq!(start.elapsed(), SOON);
    }

    #[tokio::test(start_paused = true)]
    async fn each_part_has_its_time() {
        let parts_of = |read_bytes| Limits {
            read_bytes,
            ..at_once(1000)
        };
        assert_eq!(read(drip(100), parts_of(14)).await.unwrap().len(), 100);
        assert_eq!(read(drip(100), parts_of(0)).await.unwrap().len(), 100);
        let slow = read(drip(100), parts_of(16)).await;
        assert!(matches!(slow, Err(BodyError::TooSlow { within: SOON })));
        let endless = Limits {
            within: Duration::MAX,
            ..at_once(1000)
        };
        assert_eq!(read(drip(3), endless).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_shorter_body() {
        let frames = [
            Ok(Frame::data(Bytes::from_static(b"ab"))),
            Err(std::io::Error::other("gone")),
        ];
        let read = read(StreamBody::new(stream::iter(frames)), at_once(5)).await;
        assert!(matches!(read, Err(BodyError::Broken(_))));
    }
}
