//! How two texts differ, as people read it: the unified form that `diff -u` has.

use std::time::Duration;

use similar::{ChangeTag, TextDiff};

use crate::diagnostic::{BLUE, BOLD, GREEN, Paint, RED};

/// Lines around a change that are shown with it.
const CONTEXT: usize = 3;

/// How long the shortest difference is looked for; then any will do.
const EFFORT: Duration = Duration::from_secs(2);

/// A text and its name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

/// Returns the difference, every line with its break; empty where there is none.
///
/// Reference: POSIX, `diff`, "Diff -u Output Format".
pub(super) fn unified(old: Named<'_>, new: Named<'_>, paint: Paint) -> String {
    let mut diff = TextDiff::configure();
    diff.timeout(EFFORT);
    let diff = diff.diff_lines(old.text, new.text);
    let mut lines: Vec<String> = Vec::new();
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        if lines.is_empty() {
            lines.push(paint.wrap(BOLD, &format!("--- {}", old.name)));
            lines.push(paint.wrap(BOLD, &format!("+++ {}", new.name)));
        }
        lines.push(paint.wrap(BLUE, &hunk.header().to_string()));
        for change in hunk.iter_changes() {
            let text = change.value().trim_end_matches('\n');
            let line = format!("{}{}", change.tag(), text.replace(is_odd, "\u{fffd}"));
            lines.push(match change.tag() {
                ChangeTag::Equal => line,
                ChangeTag::Delete => paint.wrap(RED, &line),
                ChangeTag::Insert => paint.wrap(GREEN, &line),
            });
            if change.missing_newline() {
                lines.push("\\ No newline at end of file".to_owned());
            }
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What could drive a terminal. A line break of another system is shown: it may be the difference.
fn is_odd(c: char) -> bool {
    c.is_control() && c != '\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(old: &str, new: &str) -> String {
        let old = Named {
            name: "old",
            text: old,
        };
        let new = Named {
            name: "new",
            text: new,
        };
        unified(old, new, Paint { colour: false })
    }

    #[test]
    fn a_difference_is_shown_with_three_lines_around_it() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let expected = "--- old\n+++ new\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+V\n 6\n 7\n 8\n";
        assert_eq!(plain(old, &old.replace('5', "V")), expected);
        assert_eq!(plain(old, old), "");
    }

    #[test]
    fn what_is_not_seen_by_itself_is_shown() {
        let shown = plain("a\n", "a");
        assert!(
            shown.ends_with("-a\n+a\n\\ No newline at end of file\n"),
            "{shown}"
        );
        assert!(plain("a\n", "a\r\n").ends_with("-a\n+a\u{fffd}\n"));
        assert!(plain("", "\u{9b}31m\n").ends_with("+\u{fffd}31m\n"));
    }
}
