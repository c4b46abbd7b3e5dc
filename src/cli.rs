//! The commands, one file each: arguments in, text and an exit code out.
//!
//! Exit codes: 0 done, 1 findings or failure, 2 usage. What a command was asked for goes to
//! standard output, everything else to standard error. Colour is for terminals only.

mod answer;
mod apply;
mod call;
mod check;
mod completions;
mod delete;
mod demo;
mod diff;
mod difference;
mod eval;
mod get;
mod list;
mod program;
mod publish;
mod put;
mod register;
mod remote;
mod router;
mod routes;
mod run;
mod serve;
mod session;
mod settings;
mod stored;
mod subscribe;
mod upload;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::diagnostic::{Diagnostic, Severity};

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("WAMPGATE_COMMIT"),
    ", ",
    env!("WAMPGATE_TARGET"),
    ")"
);

/// Commands that are documented and come with a later version.
const LATER: &[&str] = &["test", "openapi", "schema"];

/// Serves the procedures and topics of a WAMP router as REST endpoints.
#[derive(Debug, Parser)]
#[command(name = "wampgate", version = VERSION, arg_required_else_help = true)]
#[command(after_help = "Examples:
  wampgate demo                         everything in one process, to look at
  wampgate check specs realms           find every mistake before it is served
  wampgate serve                        serve ./specs and ./realms
  wampgate apply specs/market.json      put an API onto a gateway that runs
  wampgate eval 'Hello {{request.body.name |> uppercase}}' --context context.json")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Serve(serve::Args),
    Router(router::Args),
    Check(check::Args),
    Routes(routes::Args),
    Eval(eval::Args),
    Apply(apply::Args),
    Get(get::Args),
    List(list::Args),
    Delete(delete::Args),
    Diff(diff::Args),
    Call(call::Args),
    Publish(publish::Args),
    Subscribe(subscribe::Args),
    Register(register::Args),
    Completions(completions::Args),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// As asked.
    Done,
    /// With findings, which are on standard error or in the output that was asked for.
    Findings,
    /// By force, before everything that was begun had ended.
    CutShort,
}

impl Outcome {
    fn of_stop(has_stopped: bool) -> Self {
        if has_stopped {
            Outcome::Done
        } else {
            Outcome::CutShort
        }
    }
}

/// What a command sees of the world.
#[derive(Debug, Clone)]
struct Outside {
    /// How the program was called, for command lines that it prints.
    program: String,
    environment: Vec<(String, String)>,
}

impl Outside {
    /// Looks up a variable of the environment.
    fn variable(&self, name: &str) -> Option<String> {
        let (_, value) = self.environment.iter().find(|(key, _)| key == name)?;
        Some(value.clone())
    }

    /// Whether a stream takes colour: a terminal, unless `NO_COLOR` says no (no-color.org).
    fn colour(&self, stream: &impl IsTerminal) -> bool {
        stream.is_terminal()
            && self
                .variable("NO_COLOR")
                .is_none_or(|value| value.is_empty())
    }

    /// Writes what the command was asked for.
    fn print(&self, text: &str) -> anyhow::Result<()> {
        let written = io::stdout().write_all(text.as_bytes());
        written.context("cannot write to standard output")
    }

    /// Writes findings for people, and how many there are.
    fn report(&self, findings: &[Diagnostic]) -> anyhow::Result<()> {
        let mut stderr = io::stderr().lock();
        let colour = self.colour(&stderr);
        for finding in findings {
            writeln!(stderr, "{}\n", finding.render(colour))?;
        }
        if !findings.is_empty() {
            writeln!(stderr, "{}", summary(findings))?;
        }
        Ok(())
    }
}

/// `2 errors, 1 warning`
fn summary(findings: &[Diagnostic]) -> String {
    let count = |severity: Severity| {
        let count = findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count();
        let plural = if count == 1 { "" } else { "s" };
        (count > 0).then(|| format!("{count} {severity}{plural}"))
    };
    let counts = [count(Severity::Error), count(Severity::Warning)];
    counts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Runs the program with its arguments, the program's own name first, and its environment.
pub fn main(args: Vec<OsString>, environment: Vec<(String, String)>) -> ExitCode {
    if let Some(name) = args.get(1).and_then(|name| name.to_str())
        && LATER.contains(&name)
    {
        let notice =
            format!("error: `wampgate {name}` is not built yet: it comes with a later version\n");
        return ended(
            io::stderr()
                .write_all(notice.as_bytes())
                .map_err(Into::into),
            2,
        );
    }
    let program = args.first().map(|name| name.to_string_lossy().into_owned());
    let program = program.unwrap_or_else(|| "wampgate".to_owned());
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        // Help and version are such "errors" too, with exit code 0.
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            return ended(error.print().map_err(Into::into), code);
        }
    };
    let outside = Outside {
        program,
        environment,
    };
    let outcome = match cli.command {
        Command::Demo(args) => demo::run(&args, &outside),
        Command::Serve(args) => serve::run(&args, &outside),
        Command::Router(args) => router::run(&args, &outside),
        Command::Check(args) => check::run(&args, &outside),
        Command::Routes(args) => routes::run(&args, &outside),
        Command::Eval(args) => eval::run(&args, &outside),
        Command::Apply(args) => apply::run(&args, &outside),
        Command::Get(args) => get::run(&args, &outside),
        Command::List(args) => list::run(&args, &outside),
        Command::Delete(args) => delete::run(&args, &outside),
        Command::Diff(args) => diff::run(&args, &outside),
        Command::Call(args) => call::run(args, &outside),
        Command::Publish(args) => publish::run(args, &outside),
        Command::Subscribe(args) => subscribe::run(&args, &outside),
        Command::Register(args) => register::run(args, &outside),
        Command::Completions(args) => completions::run(&args, &outside),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Findings | Outcome::CutShort) => ExitCode::from(1),
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => ended(usage.print().map_err(Into::into), 2),
            Err(error) => ended(Err(error), 1),
        },
    }
}

/// Says what failed. A reader that has gone away, as in `wampgate routes specs | head`, is none.
fn ended(result: anyhow::Result<()>, code: u8) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::from(code);
    };
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    if error.downcast_ref::<io::Error>().is_some_and(is_gone) {
        return ExitCode::SUCCESS;
    }
    // Nothing is left to tell it to if standard error is gone as well.
    writeln!(io::stderr(), "error: {error:#}").ok();
    ExitCode::from(1)
}
