//! The demo: the main job in one process, with nothing to install and nothing to configure.
//!
//! An embedded router, a marketplace service on it (`demo/market.rs`), and the gateway with the
//! sample spec and realm of this repository compiled in. The service joins the router as any callee
//! would, through our own client, and knows nothing of HTTP.

pub mod market;

use std::sync::Arc;

use crate::demo::market::{Market, PROCEDURES};
use crate::uri::{Uri, UriCheck};
use crate::wamp::client::{Client, RegisterOptions, Registration};
use crate::wamp::error::{ApplicationError, CallError};
use crate::wamp::message::Payload;

/// The sample spec.
pub const SPEC: (&str, &str) = ("specs/market.json", include_str!("../specs/market.json"));
/// The sample realm.
pub const REALM: (&str, &str) = ("realms/market.json", include_str!("../realms/market.json"));

/// The `id` of the sample spec, and the `uri` of the sample realm.
pub const ID: &str = "com.example.market";

/// Registers the marketplace's procedures in the session of `client`.
///
/// They are withdrawn when the registrations are dropped.
///
/// # Errors
///
/// [`CallError`] of the first procedure that the router refuses.
pub async fn offer_market(
    client: &Client,
    market: Arc<Market>,
) -> Result<Vec<Registration>, CallError> {
    let mut registrations = Vec::with_capacity(PROCEDURES.len());
    for procedure in PROCEDURES {
        let uri = Uri::parse(procedure, UriCheck::Strict).expect("the procedures are valid URIs");
        let market = market.clone();
        let registration = client
            .register(&uri, RegisterOptions::default(), move |invocation| {
                let answer = market.call(
                    procedure,
                    invocation.payload.args(),
                    invocation.payload.kwargs(),
                );
                std::future::ready(match answer {
                    Ok(result) => Ok(Payload::new(
                        result.into_iter().collect(),
                        Default::default(),
                    )),
                    Err(refusal) => Err(ApplicationError::new(
                        refusal.uri,
                        refusal.args,
                        refusal.kwargs,
                    )),
                })
            })
            .await?;
        registrations.push(registration);
    }
    Ok(registrations)
}

/// The `curl` lines that the demo prints: each works as printed, in this order, on a fresh demo.
pub fn curl_lines(base: &str) -> Vec<String> {
    vec![
        format!("curl -s {base}/v1/items"),
        format!("curl -s {base}/v1/items/lamp"),
        format!(
            "curl -s -i {base}/v1/items -H 'content-type: application/json' \
             -d '{{\"name\": \"clock\", \"price\": 30}}'"
        ),
        format!(
            "curl -s {base}/v1/bidders -H 'content-type: application/json' -d '{{\"name\": \"bob\"}}'"
        ),
        format!(
            "curl -s {base}/v1/items/clock/bids -H 'content-type: application/json' \
             -d '{{\"price\": 31.5, \"bidder\": \"bob\"}}'"
        ),
        format!("curl -s -i {base}/v1/items/boat"),
        format!(
            "curl -s {base}/v1/announcements -H 'content-type: application/json' \
             -d '{{\"text\": \"Everything must go\"}}'"
        ),
        format!("curl -s -i -X DELETE {base}/v1/bidders/bob"),
    ]
}

/// The lines for the admin API that the demo prints: they too work as printed, in the same folder.
pub fn admin_lines(program: &str, address: &str, token: &str) -> Vec<String> {
    vec![
        format!("curl -s http://{address}/api_specs/{ID}/info -H 'authorization: Bearer {token}'"),
        format!("WAMPGATE_ADMIN_TOKEN={token} {program} list --admin {address}"),
    ]
}
