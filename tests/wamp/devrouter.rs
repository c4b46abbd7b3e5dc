//! The embedded router, by what its clients say and hear.

mod bounds;
mod calls;
mod canceling;
mod events;
mod patterns;
mod refusals;
mod sessions;
mod shared;

use wampgate::devrouter::Router;
use wampgate::wamp::serializer::Serializer;

use crate::peer::Peer;

async fn pair(router: &Router) -> (Peer, Peer) {
    (
        Peer::join(router, Serializer::Json).await,
        Peer::join(router, Serializer::Json).await,
    )
}
