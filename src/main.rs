//! The `wampgate` program. All of it is in the library, `cli.rs` first.

use std::process::ExitCode;

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
fn main() -> ExitCode {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    wampgate::cli::main(std::env::args_os().collect(), environment)
}
