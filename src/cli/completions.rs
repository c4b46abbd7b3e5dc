//! `wampgate completions`: the shell's own script.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Outcome, Outside};

/// Prints a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wampgate completions bash > /etc/bash_completion.d/wampgate
  wampgate completions zsh > ~/.zfunc/_wampgate")]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "wampgate", &mut script);
    outside.print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Done)
}
