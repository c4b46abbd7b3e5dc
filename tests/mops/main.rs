//! Templates and what they give: every file in `cases/` is one test.
//!
//! A file holds a context (JSON, one of the roots `request`, `action`, `security` as data and
//! `variables`, `defaults`, `status_codes` as templates; empty for none), a line `---`, the
//! template (the text of one string; after a line `json` any JSON), a line `---`, and what
//! `wampgate eval` prints: the value as JSON, in `err_*.txt` the finding. Lines before the context
//! that begin with `#` say what the case is about.
//!
//! What is expected is compared byte by byte. `UPDATE_CASES=1 cargo test --test mops` writes what
//! comes out into the files; read the difference as carefully as code.

mod docs;
mod limits;
mod stages;

use std::fs;
use std::path::{Path, PathBuf};

use wampgate::mops::{Aliases, Roots, Trial};
use wampgate::value::Value;

const TEMPLATES: &[&str] = &["variables", "defaults", "status_codes"];
const DATA: &[&str] = &["request", "action", "security"];

#[test]
fn cases() {
    let mut wrong = Vec::new();
    let files = case_files();
    assert!(files.len() > 50, "cases/ is nearly empty");
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        let case = Case::read(&text).unwrap_or_else(|| panic!("{name}: no `---` in it"));
        let (found, failed) = case.run();
        if failed != name.starts_with("err_") {
            wrong.push(format!(
                "{name} (a case that fails is named err_*): {found}"
            ));
        } else if found == case.expected {
            continue;
        } else if update("UPDATE_CASES") {
            fs::write(&file, format!("{}\n---\n{found}\n", case.before)).unwrap();
        } else {
            wrong.push(format!(
                "{name}\nexpected: {}\nfound:    {found}",
                case.expected
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[expect(clippy::disallowed_methods, reason = "a test's own switch")]
fn update(switch: &str) -> bool {
    std::env::var_os(switch).is_some()
}

fn case_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mops/cases");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

struct Case<'t> {
    /// Everything above what is expected.
    before: &'t str,
    context: String,
    template: &'t str,
    expected: &'t str,
}

impl<'t> Case<'t> {
    fn read(text: &'t str) -> Option<Self> {
        let (first, rest) = text.split_once("---\n")?;
        let (template, expected) = rest.split_once("\n---").unwrap_or((rest.trim_end(), ""));
        let context: Vec<_> = first
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        Some(Case {
            before: &text[..first.len() + 4 + template.len()],
            context: context.join("\n"),
            template,
            expected: expected.trim_matches('\n'),
        })
    }

    fn run(&self) -> (String, bool) {
        let context = match self.context.trim() {
            "" => Value::Map(wampgate::value::Map::new()),
            json => serde_json::from_str(json).expect("the context is JSON"),
        };
        let template = match self.template.strip_prefix("json\n") {
            Some(json) => serde_json::from_str(json).expect("the template is JSON"),
            None => Value::from(self.template),
        };
        let aliases = Aliases::new()
            .with("action.result.arguments", "args")
            .with("action.result.arguments_kw", "kwargs")
            .with("action.error.arguments", "args")
            .with("action.error.arguments_kw", "kwargs")
            .with("request.path_params", "bindings");
        let roots = Roots {
            templates: TEMPLATES,
            data: DATA,
            aliases: &aliases,
        };
        let last = |bound: usize| bound - 1;
        let found = Trial::new(&template, &context, "context", roots)
            .and_then(|trial| trial.value(&last).map_err(|finding| vec![finding]));
        match found {
            Ok(value) => (value.to_string(), false),
            Err(findings) => {
                let findings: Vec<_> = findings
                    .iter()
                    .map(|finding| finding.render(false))
                    .collect();
                (findings.join("\n"), true)
            }
        }
    }
}
