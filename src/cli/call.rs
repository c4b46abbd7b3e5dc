//! `wampgate call`: one call of a procedure.

use std::time::Duration;

use anyhow::Context;

use super::run::as_client;
use super::session::{Arguments, Connection, LEAVE, duration, join, refused, shown, uri};
use super::{Outcome, Outside};
use crate::app::StopSignals;
use crate::uri::Uri;
use crate::wamp::client::{Call, CallStep, Client, ProgressLimits};
use crate::wamp::config::RouterConfig;

/// Calls a procedure and prints its result.
///
/// The result is a line of JSON on standard output: the first positional result if that is all there
/// is, else `{"args": [...], "kwargs": {...}}`. An error goes to standard error: its URI, and in the
/// next line what it carries. Ctrl-C cancels the call.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wampgate call com.example.market.get lamp
  wampgate call com.example.market.list --kwarg limit=2
  wampgate call com.example.market.sell chair 45.5 --kwarg deadline=2030-01-01
  wampgate call com.example.add '\"5\"' '[1, {\"a\": null}]'
  wampgate call com.example.report --progress --timeout 10m
  wampgate call com.example.time --realm com.example --url ws://127.0.0.1:8080/ws")]
pub(super) struct Args {
    /// The procedure
    #[arg(value_name = "URI", value_parser = uri)]
    procedure: Uri,
    #[command(flatten)]
    arguments: Arguments,
    /// Longest wait for the result; with --progress, for each
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// Ask for progressive results, and print each as it comes, a line each; the last is the result
    #[arg(long)]
    progress: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let Some((realm, config)) = args.connection.resolve(outside)? else {
        return Ok(Outcome::Findings);
    };
    let (payload, options) = args.arguments.into_parts();
    let call = Call {
        options,
        ..Call::new(args.procedure, payload, args.timeout)
    };
    let work = ask(call, args.progress, &realm, &config, outside);
    as_client(outside, work)
}

async fn ask(
    call: Call,
    progress: bool,
    realm: &Uri,
    config: &RouterConfig,
    outside: &Outside,
) -> anyhow::Result<Outcome> {
    let mut signals = StopSignals::listen().context("cannot listen for signals")?;
    let client = tokio::select! {
        joined = join(realm, config) => joined?,
        _ = signals.next() => return Ok(Outcome::CutShort),
    };
    let asking = async {
        if progress {
            print_each(&client, call, outside).await
        } else {
            print_result(&client, call, outside).await
        }
    };
    let outcome = tokio::select! {
        outcome = asking => outcome,
        // What is dropped here is canceled at the router, before the session leaves.
        _ = signals.next() => Ok(Outcome::CutShort),
    };
    tokio::select! {
        _ = client.close(LEAVE) => outcome,
        // A router that does not answer GOODBYE is not worth a second wait.
        _ = signals.next() => outcome,
    }
}

async fn print_result(client: &Client, call: Call, outside: &Outside) -> anyhow::Result<Outcome> {
    match client.call(call).await {
        Ok(result) => {
            outside.print(&format!("{}\n", shown(result.payload)))?;
            Ok(Outcome::Done)
        }
        Err(error) => refused(&error),
    }
}

async fn print_each(client: &Client, call: Call, outside: &Outside) -> anyhow::Result<Outcome> {
    let mut steps = match client.call_progressive(call, ProgressLimits::default()) {
        Ok(steps) => steps,
        Err(error) => return refused(&error),
    };
    loop {
        // Whatever becomes of a call, the client settles it: with its result, or with an error.
        let step = steps.next().await.context("the call was never settled")?;
        match step {
            Ok(CallStep::Progress(part)) => {
                outside.print(&format!("{}\n", shown(part.payload)))?;
            }
            Ok(CallStep::Result(result)) => {
                outside.print(&format!("{}\n", shown(result.payload)))?;
                return Ok(Outcome::Done);
            }
            Err(error) => return refused(&error),
        }
    }
}
