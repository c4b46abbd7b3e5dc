//! Sessions against a router that does what the test says.

mod callee;
mod calls;
mod ending;
mod opening;
mod subscriber;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::Instant;
use wampgate::uri::UriCheck;
use wampgate::value::{Map, Value};
use wampgate::wamp::auth::{Auth, Secret, cra};
use wampgate::wamp::client::{Call, Client, RegisterOptions, SubscribeOptions};
use wampgate::wamp::config::RouterConfig;
use wampgate::wamp::error::{ApplicationError, CallError, SessionError, chain};
use wampgate::wamp::id::{PublicationId, RegistrationId, RequestId, SubscriptionId};
use wampgate::wamp::message::{Message, Payload};

use crate::fake_router::{
    FEATURES, FakeRouter, LONG, Peer, args, call, config, map, publish, realm, session,
    session_with, uri,
};

const SECOND: Duration = Duration::from_secs(1);

/// Registers `com.p` and returns what holds the registration, whose id is 70.
async fn register<F, R>(
    client: &Client,
    peer: &mut Peer,
    handler: F,
) -> wampgate::wamp::client::Registration
where
    F: Fn(wampgate::wamp::client::Invocation) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Payload, ApplicationError>> + Send + 'static,
{
    let procedure = uri("com.p");
    let (registration, ()) = tokio::join!(
        client.register(&procedure, RegisterOptions::default(), handler),
        async {
            let Message::Register {
                request, procedure, ..
            } = peer.receive().await
            else {
                panic!("no REGISTER");
            };
            assert_eq!(procedure, "com.p");
            peer.send(Message::Registered {
                request,
                registration: RegistrationId(70),
            })
            .await;
        }
    );
    registration.unwrap()
}

async fn subscribe(
    client: &Client,
    peer: &mut Peer,
    queue: usize,
) -> wampgate::wamp::client::Subscription {
    let topic = uri("com.t");
    let (subscription, ()) = tokio::join!(
        client.subscribe(&topic, SubscribeOptions::default(), queue),
        async {
            let Message::Subscribe { request, .. } = peer.receive().await else {
                panic!("no SUBSCRIBE");
            };
            peer.send(Message::Subscribed {
                request,
                subscription: SubscriptionId(30),
            })
            .await;
            // On the heels of it: nothing is lost between the answer and the reader.
            peer.send_raw(r#"[36,30,1,{},["first"]]"#).await;
        }
    );
    subscription.unwrap()
}
