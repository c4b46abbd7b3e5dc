//! Reads a request's body: no more than it may have, in no more time than it may take.
//!
//! A declared length that is too large is refused before a byte is read, so that a client that
//! waits with `Expect: 100-continue` never sends the body. A refused body is left unread; the
//! connection ends after the answer, and the listener lingers so that a client which still writes
//! gets to see it.
//!
//! Reference: RFC 9110, "413 Content Too Large" and "408 Request Timeout".

use std::error::Error;
use std::pin::pin;
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

/// Reads `body` to its end: at most `max_bytes`, at most for `within`.
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
pub async fn read<B>(body: B, max_bytes: u64, within: Duration) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if body.size_hint().lower() > max_bytes {
        return Err(BodyError::TooLarge { max_bytes });
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match tokio::time::timeout(within, collect(body, max_bytes)).await {
        Ok(read) => read,
        Err(_) => Err(BodyError::TooSlow { within }),
    }
}

async fn collect<B>(body: B, max_bytes: u64) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    let mut total = 0_u64;
    while let Some(frame) = body.frame().await {
        // Trailers say nothing that a template could ask for.
        let Ok(chunk) = frame
            .map_err(|error| BodyError::Broken(error.into()))?
            .into_data()
        else {
            continue;
        };
        total += chunk.len() as u64;
        if total > max_bytes {
            return Err(BodyError::TooLarge { max_bytes });
        }
        if first.is_empty() && joined.is_empty() {
            first = chunk;
            continue;
        }
        if joined.is_empty() {
            joined.extend_from_slice(&std::mem::take(&mut first));
        }
        joined.extend_from_slice(&chunk);
    }
    Ok(if joined.is_empty() {
        first
    } else {
        joined.freeze()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    const SOON: Duration = Duration::from_secs(15);

    fn chunks(chunks: &[&'static str]) -> impl Body<Data = Bytes, Error = std::io::Error> + use<> {
        let frames: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))))
            .collect();
        StreamBody::new(stream::iter(frames))
    }

    #[tokio::test]
    async fn pieces_are_joined() {
        let read = read(chunks(&["ab", "", "cd", "e"]), 5, SOON).await;
        assert_eq!(read.unwrap(), "abcde");
    }

    #[tokio::test]
    async fn one_byte_more_than_allowed_is_too_large_declared_or_not() {
        let declared = read(Full::new(Bytes::from_static(b"abcdef")), 5, SOON).await;
        assert!(matches!(
            declared,
            Err(BodyError::TooLarge { max_bytes: 5 })
        ));
        let found = read(chunks(&["abc", "def"]), 5, SOON).await;
        let problem = found.unwrap_err().into_problem();
        assert_eq!(problem.status(), 413);
        assert_eq!(problem.headers()["connection"], "close");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_is_for_the_whole_body_however_steady_its_drip() {
        let drip = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let frame: Result<_, std::io::Error> = Ok(Frame::data(Bytes::from_static(b"x")));
            Some((frame, ()))
        });
        let start = tokio::time::Instant::now();
        let read = read(Box::pin(StreamBody::new(drip)), 1000, SOON).await;
        assert_eq!(read.unwrap_err().into_problem().status(), 408);
        assert_eq!(start.elapsed(), SOON);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_shorter_body() {
        let frames = [
            Ok(Frame::data(Bytes::from_static(b"ab"))),
            Err(std::io::Error::other("gone")),
        ];
        let read = read(StreamBody::new(stream::iter(frames)), 5, SOON).await;
        assert!(matches!(read, Err(BodyError::Broken(_))));
    }
}
