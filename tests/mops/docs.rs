//! The guide's table of functions is made from the registry.
//!
//! `UPDATE_DOCS=1 cargo test --test mops` writes it into `docs/mops.md`.

use std::fs;
use std::path::Path;

use wampgate::mops::functions::{Output, all};

const BEGIN: &str = "from the registry in src/mops/functions -->\n";
const END: &str = "<!-- end of functions -->";

#[test]
fn the_guide_lists_every_function() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mops.md");
    let guide = fs::read_to_string(&path).unwrap();
    let (before, rest) = guide.split_once(BEGIN).expect("the guide has the marker");
    let (found, after) = rest.split_once(END).expect("the guide has the end marker");
    let table = table();
    if found == table {
        return;
    }
    if crate::update("UPDATE_DOCS") {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    panic!("docs/mops.md is stale: run UPDATE_DOCS=1 cargo test --test mops");
}

fn table() -> String {
    let mut table = "\n| function | operand | result | example |\n|---|---|---|---|\n".to_owned();
    for function in all() {
        let example = &function.examples[0];
        let (Output::Is(output) | Output::Fails(output)) = example.output;
        let template = example
            .template
            .trim_start_matches("{{")
            .trim_end_matches("}}");
        let row = format!(
            "| `{}` | {} | {} | `x = {}`: `{template}` is `{output}` |",
            function.usage(),
            function.operand,
            function.description,
            example.input,
        );
        // A bar would end the cell, also inside backticks.
        let row: Vec<_> = row
            .split(" | ")
            .map(|cell| cell.replace("|>", "\\|>"))
            .collect();
        table += &row.join(" | ");
        table.push('\n');
    }
    table.push('\n');
    table
}
