//! `wampgate register`: a procedure of the shell.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Semaphore, mpsc};

use super::program::Program;
use super::run::as_client;
use super::session::{
    Connection, LEAVE, MATCHES, duration, established, members, pattern, payload, say, start, value,
};
use super::{Outcome, Outside};
use crate::app::StopSignals;
use crate::uri::{Uri, UriPattern};
use crate::value::{Map, Value};
use crate::wamp::client::{Invocation, RegisterOptions};
use crate::wamp::config::RouterConfig;
use crate::wamp::error::ApplicationError;
use crate::wamp::message::Payload;
use crate::wamp::options::Invoke;
use crate::wamp::pool::{Pool, PoolRegistration};

/// Registers a procedure and answers its calls; prints each call, a line of JSON.
///
/// With --exec, each call runs a program, without a shell, and hands it the call as one line of JSON
/// on standard input: `procedure`, `args`, `kwargs`, `details`. Nothing of a call ever stands on a
/// command line. What the program prints is the result: JSON, an object of `args` and `kwargs` alone
/// being both, or else text. If it fails, the call does, with `wamp.error.runtime_error`, the exit
/// code and the end of what it wrote to standard error; or with what it printed, if that is
/// `{"error": "com.example.error.x"}`, with `args` and `kwargs` if wanted. It is killed when it takes
/// too long, when the caller cancels, and when this ends; what it started in the background ends with
/// it, always.
///
/// The registration comes back with its session. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wampgate register com.example.echo --echo
  wampgate register com.example.version --result '\"1.2.0\"'
  wampgate register com.example.date --exec date +%F
  wampgate register com.example.sum --exec jq -c '.args | add'
  wampgate register com.example --match prefix --exec sh -c 'jq -c .procedure'")]
#[command(group = clap::ArgGroup::new("answer").required(true))]
pub(super) struct Args {
    /// The procedure, or a pattern of procedures
    #[arg(value_name = "URI")]
    procedure: String,
    /// Answer with the arguments of the call
    #[arg(long, group = "answer")]
    echo: bool,
    /// Answer with this: JSON, an object of `args` and `kwargs` alone being both, or else text
    #[arg(long, value_name = "VALUE", group = "answer", value_parser = value)]
    result: Option<Value>,
    /// Answer with what a program prints; all that follows is its command line
    #[arg(
        long,
        value_name = "PROGRAM",
        group = "answer",
        num_args = 1..,
        allow_hyphen_values = true
    )]
    exec: Vec<String>,
    /// How long a program may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// How many programs may run at once; further calls wait
    #[arg(long, value_name = "N", default_value = "8")]
    concurrency: NonZeroUsize,
    /// What URI is: one procedure, the beginning of procedures, or a procedure with empty components
    /// that stand for any
    #[arg(long = "match", value_name = "POLICY", default_value = "exact", value_parser = MATCHES)]
    policy: String,
    /// Whether others may register the same, and which of all is called
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "single",
        value_parser = ["single", "roundrobin", "random", "first", "last"]
    )]
    invoke: String,
    #[command(flatten)]
    connection: Connection,
}

/// How calls are answered.
#[derive(Debug)]
enum Answer {
    Echo,
    Fixed(Payload),
    Program { program: Program, places: Semaphore },
}

/// Calls that wait to be printed; beyond it, calls wait.
const QUEUE: usize = 64;

pub(super) fn run(args: Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let procedure = pattern(&args.procedure, &args.policy)?;
    let Some((realm, config)) = args.connection.resolve(outside)? else {
        return Ok(Outcome::Findings);
    };
    let options = RegisterOptions {
        invoke: Invoke::from_name(&args.invoke).unwrap_or_default(),
        ..RegisterOptions::default()
    };
    let answer = match (args.result, args.exec.as_slice()) {
        (Some(value), _) => Answer::Fixed(payload(value)),
        (None, []) => Answer::Echo,
        (None, command) => Answer::Program {
            program: Program::new(command, args.timeout, outside),
            places: Semaphore::new(args.concurrency.get()),
        },
    };
    let work = serve(procedure, options, answer, &realm, &config, outside);
    as_client(outside, work)
}

async fn serve(
    procedure: UriPattern,
    options: RegisterOptions,
    answer: Answer,
    realm: &Uri,
    config: &RouterConfig,
    outside: &Outside,
) -> anyhow::Result<Outcome> {
    let mut signals = StopSignals::listen().context("cannot listen for signals")?;
    let (lines, mut calls) = mpsc::channel(QUEUE);
    let opening = async {
        let pool = start(realm, config).await?;
        let registration = register(procedure, options, answer, lines, &pool).await?;
        anyhow::Ok((pool, registration))
    };
    let (pool, registration) = tokio::select! {
        opened = opening => opened?,
        _ = signals.next() => return Ok(Outcome::CutShort),
    };
    let printing = async {
        while let Some(line) = calls.recv().await {
            outside.print(&format!("{line}\n"))?;
        }
        anyhow::Ok(())
    };
    let printed = tokio::select! {
        printed = printing => printed,
        signal = signals.next() => {
            let name = signal.name();
            say(&format!("{name}: stopping; a second signal ends at once"));
            Ok(())
        }
    };
    // No new calls; those that run have a moment to end, and print nothing any more.
    drop((registration, calls));
    tokio::select! {
        () = pool.drain(LEAVE) => printed.map(|()| Outcome::Done),
        _ = signals.next() => Ok(Outcome::CutShort),
    }
}

async fn register(
    procedure: UriPattern,
    options: RegisterOptions,
    answer: Answer,
    lines: mpsc::Sender<Value>,
    pool: &Pool,
) -> anyhow::Result<PoolRegistration> {
    let answer = Arc::new(answer);
    let name = procedure.to_string();
    let handler = move |call| respond(answer.clone(), lines.clone(), call);
    let registration = pool.register(procedure, options, handler)?;
    let is_ready = registration.ready(LEAVE).await;
    established(is_ready, &registration.status())?;
    say(&format!("registered {name}"));
    Ok(registration)
}

async fn respond(
    answer: Arc<Answer>,
    lines: mpsc::Sender<Value>,
    call: Invocation,
) -> Result<Payload, ApplicationError> {
    let mut line = Map::from_iter([("procedure".to_owned(), Value::from(&*call.procedure))]);
    line.extend(members(call.payload.clone()));
    if !call.details.is_empty() {
        line.insert("details".to_owned(), call.details.clone().into());
    }
    // Without a reader the program is about to end, and this with it.
    lines.send(line.clone().into()).await.ok();
    match &*answer {
        Answer::Echo => Ok(call.payload),
        Answer::Fixed(payload) => Ok(payload.clone()),
        Answer::Program { program, places } => {
            let _place = places.acquire().await;
            program.run(&line.into()).await
        }
    }
}
