//! `wampgate publish`: one event.

use std::time::Duration;

use anyhow::Context;

use super::run::as_client;
use super::session::{Arguments, Connection, LEAVE, duration, join, refused, uri};
use super::{Outcome, Outside};
use crate::app::StopSignals;
use crate::uri::Uri;
use crate::value::{Map, Value};
use crate::wamp::client::Publish;
use crate::wamp::config::RouterConfig;

/// Publishes an event to a topic, and prints the publication's id once the router has it.
///
/// What is printed is a line of JSON, `{"publication_id": 123}`; null with the option
/// `acknowledge` at false. An error goes to standard error: its URI, and in the next line what it
/// carries.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wampgate publish com.example.market.announcement 'closed today'
  wampgate publish com.example.door --kwarg open=true --options '{\"retain\": true}'")]
pub(super) struct Args {
    /// The topic
    #[arg(value_name = "TOPIC", value_parser = uri)]
    topic: Uri,
    #[command(flatten)]
    arguments: Arguments,
    /// Longest wait for the router's acknowledgement
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let Some((realm, config)) = args.connection.resolve(outside)? else {
        return Ok(Outcome::Findings);
    };
    let (payload, options) = args.arguments.into_parts();
    let publish = Publish {
        options,
        ..Publish::new(args.topic, payload, args.timeout)
    };
    as_client(outside, tell(publish, &realm, &config, outside))
}

async fn tell(
    publish: Publish,
    realm: &Uri,
    config: &RouterConfig,
    outside: &Outside,
) -> anyhow::Result<Outcome> {
    let mut signals = StopSignals::listen().context("cannot listen for signals")?;
    let work = async {
        let client = join(realm, config).await?;
        let published = client.publish(publish).await;
        // An event without acknowledgement is on its way: it goes out before GOODBYE.
        client.close(LEAVE).await;
        match published {
            Ok(id) => {
                let id = id.map_or(Value::Null, |id| Value::from(id.0));
                let line = Value::from(Map::from_iter([("publication_id".to_owned(), id)]));
                outside.print(&format!("{line}\n"))?;
                Ok(Outcome::Done)
            }
            Err(error) => refused(&error),
        }
    };
    tokio::select! {
        outcome = work => outcome,
        _ = signals.next() => Ok(Outcome::CutShort),
    }
}
