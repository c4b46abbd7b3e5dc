//! `wampgate subscribe`: the events of a topic, as they come.

use std::num::NonZeroU64;

use anyhow::Context;

use super::run::as_client;
use super::session::{Connection, LEAVE, MATCHES, established, members, pattern, say, start};
use super::{Outcome, Outside};
use crate::app::StopSignals;
use crate::uri::{Uri, UriPattern};
use crate::value::{Map, Value};
use crate::wamp::client::{Event, SubscribeOptions};
use crate::wamp::config::RouterConfig;
use crate::wamp::pool::{Pool, PoolSubscription};

/// Subscribes to a topic and prints its events, a line of JSON each.
///
/// A line has `topic`, `publication_id`, `args` and `kwargs`, and `details` where the router has any.
/// The subscription comes back with its session, whose loss is told on standard error: events may be
/// missing then. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wampgate subscribe com.example.market.announcement
  wampgate subscribe com.example --match prefix
  wampgate subscribe com.example.door --get-retained --count 1 | jq .kwargs")]
pub(super) struct Args {
    /// The topic, or a pattern of topics
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// What TOPIC is: one topic, the beginning of topics, or a topic with empty components that
    /// stand for any
    #[arg(long = "match", value_name = "POLICY", default_value = "exact", value_parser = MATCHES)]
    policy: String,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
    /// Ask for the event that the router has retained
    #[arg(long)]
    get_retained: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Events that wait to be printed; those beyond are lost, and told.
const QUEUE: usize = 4096;

pub(super) fn run(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let topic = pattern(&args.topic, &args.policy)?;
    let Some((realm, config)) = args.connection.resolve(outside)? else {
        return Ok(Outcome::Findings);
    };
    as_client(outside, listen(args, topic, &realm, &config, outside))
}

async fn listen(
    args: &Args,
    topic: UriPattern,
    realm: &Uri,
    config: &RouterConfig,
    outside: &Outside,
) -> anyhow::Result<Outcome> {
    let mut signals = StopSignals::listen().context("cannot listen for signals")?;
    let opening = async {
        let pool = start(realm, config).await?;
        let subscription = subscribe(args, topic, &pool).await?;
        anyhow::Ok((pool, subscription))
    };
    let (pool, mut subscription) = tokio::select! {
        opened = opening => opened?,
        _ = signals.next() => return Ok(Outcome::CutShort),
    };
    let printed = tokio::select! {
        printed = print_events(args.count, &mut subscription, outside) => printed,
        _ = signals.next() => Ok(()),
    };
    drop(subscription);
    tokio::select! {
        () = pool.drain(LEAVE) => printed.map(|()| Outcome::Done),
        _ = signals.next() => Ok(Outcome::CutShort),
    }
}

async fn subscribe(
    args: &Args,
    topic: UriPattern,
    pool: &Pool,
) -> anyhow::Result<PoolSubscription> {
    let options = SubscribeOptions {
        get_retained: args.get_retained,
    };
    let subscription = pool.subscribe(topic, options, QUEUE)?;
    let is_ready = subscription.ready(LEAVE).await;
    established(is_ready, &subscription.status())?;
    say(&format!("subscribed to {}", args.topic));
    Ok(subscription)
}

/// Prints events until there were `count`, or for ever.
async fn print_events(
    count: Option<NonZeroU64>,
    subscription: &mut PoolSubscription,
    outside: &Outside,
) -> anyhow::Result<()> {
    let (mut printed, mut dropped, mut gaps) = (0, 0, 0);
    while let Some(event) = subscription.next().await {
        if subscription.gaps() > gaps {
            gaps = subscription.gaps();
            say("subscribed again: events may be missing");
        }
        if subscription.dropped() > dropped {
            dropped = subscription.dropped();
            say(&format!(
                "{dropped} events came faster than they were printed, and are lost"
            ));
        }
        outside.print(&format!("{}\n", line(event)))?;
        printed += 1;
        if count.is_some_and(|count| printed == count.get()) {
            break;
        }
    }
    Ok(())
}

fn line(event: Event) -> Value {
    let Event {
        publication,
        topic,
        details,
        payload,
    } = event;
    let mut line = Map::from_iter([
        ("topic".to_owned(), Value::from(&*topic)),
        ("publication_id".to_owned(), Value::from(publication.0)),
    ]);
    line.extend(members(payload));
    if !details.is_empty() {
        line.insert("details".to_owned(), details.into());
    }
    line.into()
}
