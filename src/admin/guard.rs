//! Who may ask: whoever knows the token, and no browser on somebody else's behalf.
//!
//! A page from anywhere may send requests to this machine. It cannot know the token; but what
//! answers without one should not be readable either, by a host name that was made to point here
//! (DNS rebinding). So a request must not come from a page of another origin, and while only this
//! machine is served it must be to a name of this machine.
//!
//! Reference: RFC 6750; RFC 9110, "421 Misdirected Request"; Fetch standard, "`Origin` header".

use http::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::is_this_machine;
use super::token::Token;
use crate::problem::Problem;

/// The paths that need no token.
const OPEN: [&str; 4] = ["/ping", "/livez", "/ready", "/readyz"];

/// The name of what is guarded.
const REALM: &str = "Bearer realm=\"wampgate admin\"";

/// Returns whether a path needs no token.
pub(super) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

/// Lets a request in or says why not.
pub(super) fn admit(
    parts: &Parts,
    path: &str,
    token: &Token,
    allow_remote: bool,
) -> Result<(), Problem> {
    let authority = authority(parts);
    if !allow_remote && !is_this_machine(host_of(authority)) {
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST)
            .code("wampgate.error.misdirected")
            .detail(
                "Only this machine is served, under its own names: `localhost` or a loopback \
                 address. `admin.allow_remote` changes that.",
            ));
    }
    if !is_own_origin(&parts.headers, authority) {
        return Err(Problem::new(StatusCode::FORBIDDEN)
            .detail("Pages of other origins may not use the admin API."));
    }
    if is_open(path) {
        return Ok(());
    }
    let mut given = parts.headers.get_all(AUTHORIZATION).into_iter();
    let (first, others) = (given.next(), given.next());
    let bearer = first.and_then(bearer);
    match bearer {
        Some(bearer) if others.is_none() && token.is(bearer) => Ok(()),
        // RFC 6750, "The WWW-Authenticate Response Header Field": who brings no credentials is
        // told nothing of an error.
        None => Err(unauthorized(REALM.to_owned())),
        Some(_) => {
            let challenge = format!("{REALM}, error=\"invalid_token\"");
            Err(unauthorized(challenge).detail("The token is not the admin token."))
        }
    }
}

fn unauthorized(challenge: String) -> Problem {
    let problem = Problem::new(StatusCode::UNAUTHORIZED)
        .detail("The admin API needs `Authorization: Bearer` with the admin token.");
    match HeaderValue::try_from(challenge) {
        Ok(challenge) => problem.header(WWW_AUTHENTICATE, challenge),
        Err(_) => problem,
    }
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer ");
    is_bearer.then(|| token.trim_ascii())
}

/// Returns what the client believes to talk to, as `host:port`.
fn authority(parts: &Parts) -> &str {
    let header = || parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let target = parts.uri.authority().map(|authority| authority.as_str());
    target.or_else(header).unwrap_or_default()
}

/// `[::1]:80` is `::1`.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    authority.split(':').next().unwrap_or_default()
}

/// Returns whether the request comes from no page, or from one that was got from here.
fn is_own_origin(headers: &HeaderMap, authority: &str) -> bool {
    let mut origins = headers.get_all(ORIGIN).into_iter();
    origins.all(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        let (_, host) = origin.split_once("://").unwrap_or_default();
        !host.is_empty() && host.eq_ignore_ascii_case(authority)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn asked(headers: &[(&str, &str)], path: &str, allow_remote: bool) -> String {
        let token = Token::fixed("0123456789abcdef0123456789abcdef");
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        match admit(&parts, path, &token, allow_remote) {
            Ok(()) => "in".to_owned(),
            Err(problem) => {
                let challenge = problem.headers().get(WWW_AUTHENTICATE);
                let challenge = challenge.map_or("", |value| value.to_str().unwrap());
                format!("{} {challenge}", problem.status().as_u16())
                    .trim_end()
                    .to_owned()
            }
        }
    }

    const LOCAL: (&str, &str) = ("host", "127.0.0.1:18081");

    #[test]
    fn only_the_token_opens() {
        let with = |value| asked(&[LOCAL, ("authorization", value)], "/routes", false);
        assert_eq!(with("Bearer 0123456789abcdef0123456789abcdef"), "in");
        assert_eq!(with("bearer   0123456789abcdef0123456789abcdef "), "in");
        let realm = "401 Bearer realm=\"wampgate admin\"";
        let invalid = format!("{realm}, error=\"invalid_token\"");
        assert_eq!(asked(&[LOCAL], "/routes", false), realm);
        assert_eq!(with("Basic YTpi"), realm);
        assert_eq!(with("Bearer"), realm);
        assert_eq!(with("Bearer "), invalid);
        assert_eq!(with("Bearer 0123456789abcdef0123456789abcdee"), invalid);
        let twice = [
            LOCAL,
            ("authorization", "Bearer 0123456789abcdef0123456789abcdef"),
            ("authorization", "Bearer 0123456789abcdef0123456789abcdef"),
        ];
        assert_eq!(asked(&twice, "/routes", false), invalid);
    }

    #[test]
    fn health_is_open_and_nothing_beside_it() {
        for path in OPEN {
            assert_eq!(asked(&[LOCAL], path, false), "in");
            assert!(asked(&[LOCAL], &format!("{path}/x"), false).starts_with("401"));
        }
        assert!(asked(&[LOCAL], "/", false).starts_with("401"));
        assert!(asked(&[LOCAL], "/metrics", false).starts_with("401"));
    }

    #[test]
    fn names_of_others_are_not_ours_while_only_this_machine_is_served() {
        for host in [
            "localhost",
            "LOCALHOST:18081",
            "127.0.0.2",
            "[::1]:18081",
            "a.localhost:1",
        ] {
            assert_eq!(asked(&[("host", host)], "/ping", false), "in", "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[fe80::1]",
            "",
        ] {
            assert_eq!(asked(&[("host", host)], "/ping", false), "421", "{host}");
            assert_eq!(asked(&[("host", host)], "/ping", true), "in", "{host}");
        }
        assert_eq!(asked(&[LOCAL], "http://evil.example/ping", false), "421");
    }

    #[test]
    fn pages_of_other_origins_stay_out() {
        let from = |origin| asked(&[LOCAL, ("origin", origin)], "/ping", false);
        assert_eq!(from("http://127.0.0.1:18081"), "in");
        for origin in [
            "https://evil.example",
            "null",
            "",
            "http://127.0.0.1:1",
            "http://localhost:18081",
        ] {
            assert_eq!(from(origin), "403", "{origin}");
        }
    }
}
