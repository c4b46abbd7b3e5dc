//! Parts of a document's text: one value's, the whole without secrets, the place of a line and column.

use super::{Document, Source, Step, narrow};
use crate::diagnostic::{Location, SourceId};

/// What stands for a secret in a text that is shown.
const HIDDEN: &str = "\"***\"";

impl Document {
    /// Returns the text of one value, as it is written; of the root, the whole text.
    pub fn text_of(&self, id: SourceId) -> &str {
        if let Some((layer, id)) = self.layer(id) {
            return layer.text_of(id);
        }
        let place = self.place(id);
        let range = place.value.start as usize..place.value.end as usize;
        match place.step {
            Step::Root => &self.text,
            Step::Item(_) | Step::Member(..) => self.text.get(range).unwrap_or_default(),
        }
    }

    /// Returns the text as it is written, but for secrets: `"***"` stands in their place, and in that of
    /// a user and password in a URL.
    pub fn text_without_secrets(&self) -> String {
        let mut shown = String::with_capacity(self.text.len());
        let mut from = 0;
        for secret in self.secrets() {
            let (start, end) = (secret.start as usize, secret.end as usize);
            // One inside another is hidden already.
            if start < from {
                continue;
            }
            shown.push_str(&self.text[from..start]);
            // Else it is a whole value, whose place may be another type's.
            let is_in_url = shown.ends_with("://");
            shown.push_str(if is_in_url {
                HIDDEN.trim_matches('"')
            } else {
                HIDDEN
            });
            from = end;
        }
        shown.push_str(&self.text[from..]);
        shown
    }

    /// Returns the place that a line and a column name, both from one, where somebody else has found
    /// something: the value or the key that begins there, else the word. A line that the text does not
    /// have gives its end.
    pub fn location_at(&self, line: u32, column: u32) -> Location {
        let source = Source {
            file: self.file.as_deref(),
            text: &self.text,
            line_starts: &self.line_starts,
        };
        let line = (line.max(1) as usize).min(self.line_starts.len());
        let text = source.line_text(line);
        let before = text.chars().take(column.saturating_sub(1) as usize);
        let offset: usize = before.map(char::len_utf8).sum();
        let start = narrow(self.line_starts[line - 1] as usize + offset);
        let known = self.places.iter().find_map(|place| match &place.step {
            Step::Member(_, key) if key.start == start => Some(key.clone()),
            _ if place.value.start == start => Some(place.value.clone()),
            _ => None,
        });
        let range = known.unwrap_or_else(|| {
            let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
            let rest = &text[offset..];
            let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            start..start + narrow(word.max(1))
        });
        source.location(range, self.secrets())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Document {
        Document::parse_json(Some("f.json"), text).unwrap()
    }

    #[test]
    fn a_value_has_its_text() {
        let document = parse("[ {\"a\": 1.0e2} , \"\\u00fc\"]");
        let super::super::NodeKind::List(items) = &document.root().kind else {
            panic!("a list");
        };
        assert_eq!(document.text_of(items[0].id), "{\"a\": 1.0e2}");
        assert_eq!(document.text_of(items[1].id), "\"\\u00fc\"");
        assert_eq!(parse(" {} \n").text_of(SourceId(0)), " {} \n");
    }

    #[test]
    fn secrets_are_not_in_the_text_that_is_shown() {
        let document = parse(
            "{\"a\": \"ws://me:hush@host/ws\",\n \"secret\": \"hush\", \"token\": {\"token\": 5}, \"b\": 1}",
        );
        assert_eq!(
            document.text_without_secrets(),
            "{\"a\": \"ws://***@host/ws\",\n \"secret\": \"***\", \"token\": \"***\", \"b\": 1}"
        );
    }

    #[test]
    fn a_line_and_a_column_are_a_place() {
        let document = parse("{\n \"ü\": \"{{a |> intger}}\",\n \"secret\": \"hush\"\n}");
        let marked = |line, column| {
            let location = document.location_at(line, column);
            assert_eq!((location.line, location.column), (line, column));
            let excerpt = location.excerpt.unwrap();
            let chars = excerpt.text.chars().skip(excerpt.start);
            chars.take(excerpt.length).collect::<String>()
        };
        assert_eq!(marked(2, 2), "\"ü\"");
        assert_eq!(marked(2, 7), "\"{{a |> intger}}\"");
        assert_eq!(marked(2, 15), "intger");
        assert_eq!(marked(3, 12), "******");
        // Beyond the end of a line, and of the text.
        assert_eq!(document.location_at(2, 900).line, 2);
        assert_eq!(document.location_at(900, 1).line, 4);
    }
}
