//! The HTTP status of an error URI that a spec says nothing about.
//!
//! Reference: `api-spec.md`, "Status of an error".

/// The status of every other error.
pub const OTHER: u16 = 500;

/// Statuses by error URI. An API's and a version's own `status_codes` are merged over it.
pub const TABLE: &[(&str, u16)] = &[
    ("wamp.error.invalid_argument", 400),
    ("wamp.error.invalid_uri", 400),
    ("wamp.error.option_not_allowed", 400),
    ("wamp.error.option_disallowed.disclose_me", 400),
    ("wamp.error.disclose_me.not_allowed", 400),
    ("wamp.error.no_such_role", 400),
    ("wamp.error.procedure_already_exists", 400),
    ("wamp.error.canceled", 400),
    ("bondy.error.already_exists", 400),
    ("wamp.error.not_authorized", 403),
    ("bondy.error.not_found", 404),
    // Not in the reference's table: a message that the router would not take, wherever it is found.
    ("wamp.error.payload_size_exceeded", 413),
    ("wamp.error.no_such_procedure", 501),
    ("wamp.error.no_eligible_callee", 502),
    ("wamp.error.no_available_callee", 502),
    ("wamp.error.network_failure", 502),
    ("wamp.error.net_failure", 502),
    ("wamp.error.no_such_realm", 502),
    ("wamp.error.no_such_registration", 502),
    ("wamp.error.no_such_subscription", 502),
    ("bondy.error.bad_gateway", 503),
    ("bondy.error.timeout", 504),
    ("wamp.error.timeout", 504),
    ("wamp.error.authorization_failed", 500),
    ("wamp.error.close_realm", 500),
    ("wamp.error.goodbye_and_out", 500),
    ("wamp.error.no_such_session", 500),
    ("wamp.error.system_shutdown", 500),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uri::{Uri, UriCheck};

    #[test]
    fn the_table_has_each_uri_once() {
        let mut seen = std::collections::HashSet::new();
        for (uri, status) in TABLE {
            assert!(Uri::parse(uri, UriCheck::Strict).is_ok(), "{uri}");
            assert!(seen.insert(uri), "{uri} is there twice");
            assert!((400..600).contains(status), "{uri}");
        }
    }
}
