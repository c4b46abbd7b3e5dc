//! Every error of an exchange becomes a [`Problem`] here, and only here.
//!
//! One `match` without a wildcard arm: a new way to fail cannot be forgotten. It asks of each error
//! whose fault it is. What the caller may know goes into the problem; causes go to the log.

use http::{Method, StatusCode};

use crate::gateway::answer::AnswerError;
use crate::gateway::codec::{DecodeError, EncodeError};
use crate::gateway::context::BadQuery;
use crate::gateway::target::BadPath;
use crate::listener::body::BodyError;
use crate::mops::{self, ErrorKind};
use crate::problem::Problem;

/// Why an exchange ended without the answer that its route describes.
#[derive(Debug)]
pub enum Refusal {
    /// The path cannot be matched.
    BadPath(BadPath),
    /// No API serves the host and path, or not on this scheme.
    NoRoute,
    /// The path is served, but not with this method.
    NoMethod {
        /// The methods that it is served with.
        allow: Vec<Method>,
    },
    /// The body's type is none that the route takes.
    UnsupportedMediaType {
        /// The request's method.
        method: Method,
        /// The types that it takes.
        accepts: Vec<String>,
    },
    /// The client accepts none of the types that the route provides.
    NotAcceptable {
        /// The types that it provides.
        provides: Vec<String>,
    },
    /// The query's parameters are not text.
    BadQuery(BadQuery),
    /// The body could not be read.
    Body(BodyError),
    /// The body is not what its type says.
    Undecodable(DecodeError),
    /// A template failed.
    Template(mops::Error),
    /// The response's templates gave what cannot be sent.
    BadAnswer(String),
    /// A fault of ours. The text is what the panic said, for the log.
    Panicked(String),
    /// Neither the outcome nor the answer to its failure could be encoded.
    Unencodable(EncodeError),
}

impl From<BadQuery> for Refusal {
    fn from(error: BadQuery) -> Self {
        Self::BadQuery(error)
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::Undecodable(error)
    }
}

/// The code of a template that failed through no fault of the client's.
const INVALID_EXPRESSION: &str = "bondy.error.http_gateway.invalid_expression";

/// Words a refusal for the caller and logs what the caller must not see.
pub fn rescue(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::BadPath(error) => {
            Problem::new(StatusCode::BAD_REQUEST).detail(format!("{error}."))
        }
        Refusal::NoRoute => Problem::new(StatusCode::NOT_FOUND),
        Refusal::NoMethod { allow } => Problem::new(StatusCode::METHOD_NOT_ALLOWED).allow(&allow),
        Refusal::UnsupportedMediaType { method, accepts } => {
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE)
                .detail(format!("The body may be {}.", accepts.join(", ")))
                .accepts(&method, &accepts)
        }
        Refusal::NotAcceptable { provides } => Problem::new(StatusCode::NOT_ACCEPTABLE)
            .detail(format!("The answer can be {}.", provides.join(", "))),
        Refusal::BadQuery(error) => {
            Problem::new(StatusCode::BAD_REQUEST).detail(format!("{error}."))
        }
        Refusal::Body(error) => error.into_problem(),
        Refusal::Undecodable(error) => error.into_problem(),
        Refusal::Template(error) => template(&error),
        Refusal::BadAnswer(detail) => {
            tracing::error!(detail, "a response template gave what cannot be sent");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
                .code(INVALID_EXPRESSION)
                .detail(format!("The API's response template is wrong: {detail}."))
        }
        Refusal::Panicked(panic) => {
            tracing::error!(panic, "a request panicked");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
        }
        Refusal::Unencodable(error) => {
            tracing::error!("an answer cannot be encoded: {error}");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE)
                .detail("The service's answer cannot be sent in a type that the request accepts.")
        }
    }
}

/// The client is at fault where the expression begins at `request`: it asks for something that the
/// request does not have. What was met is never shown, its type is (`reference/mops.md`).
fn template(error: &mops::Error) -> Problem {
    if error.primary_root() != Some("request") {
        tracing::error!("a template failed: {error}");
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
            .code(INVALID_EXPRESSION)
            .detail(format!("The expression failed: {error}."));
    }
    let problem = Problem::new(StatusCode::BAD_REQUEST).detail(format!(
        "The request does not have what this operation needs: {error}."
    ));
    match error.kind() {
        ErrorKind::Missing { key, within, .. } => match body_pointer(within, key) {
            Some(pointer) => problem.error(pointer, error.to_string()),
            None => problem,
        },
        _ => problem,
    }
}

/// Returns the place in the body, as a JSON Pointer fragment, of a path below `request.body`.
fn body_pointer(within: &str, key: &str) -> Option<String> {
    let inside = within.trim_matches('`').strip_prefix("request.body")?;
    if !inside.is_empty() && !inside.starts_with('.') {
        // `request.body_length` is no place in the body.
        return None;
    }
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    let path = inside.split('.').filter(|key| !key.is_empty()).chain([key]);
    Some(format!(
        "#/{}",
        path.map(escape).collect::<Vec<_>>().join("/")
    ))
}

/// Turns what the response's templates did wrong into a refusal.
impl From<AnswerError> for Refusal {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Template(error) => Self::Template(error),
            AnswerError::Header(detail) | AnswerError::Status(detail) => Self::BadAnswer(detail),
            AnswerError::Encode(error) => Self::Unencodable(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_names_a_place_in_the_body_and_nowhere_else() {
        let pointer = |within: &str| body_pointer(within, "a/b");
        assert_eq!(pointer("`request.body`").as_deref(), Some("#/a~1b"));
        assert_eq!(pointer("`request.body.c.0`").as_deref(), Some("#/c/0/a~1b"));
        assert_eq!(pointer("`request.body_length`"), None);
        assert_eq!(pointer("`request.headers`"), None);
    }
}
