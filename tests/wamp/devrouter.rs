//! The embedded router, by what its clients say and hear.

mod bounds;
mod calls;
mod canceling;
mod clients;
mod events;
mod meta;
mod patterns;
mod progress;
mod refusals;
mod retained;
mod sessions;
mod shared;
mod timeouts;

use wampgate::devrouter::Router;
use wampgate::wamp::serializer::Serializer;

use crate::peer::Peer;

async fn pair(router: &Router) -> (Peer, Peer) {
    (
        Peer::join(router, Serializer::Json).await,
        Peer::join(router, Serializer::Json).await,
    )
}
