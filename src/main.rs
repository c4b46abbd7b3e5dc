//! The `wampgate` program.
fn main() {}
