//! One template tried out against a context written as JSON: what `wampgate eval` does.
//!
//! Hosts that serve requests do not come here; they keep promises and use `partial` and `eval`.

use std::fmt;

use super::ast::{KeyPath, Template, TemplateMap};
use super::error::Error;
use super::eval::{Context, eval};
use super::navigate::Aliases;
use super::partial::partial;
use super::scope::Scope;
use crate::diagnostic::{Code, Diagnostic, Excerpt, Location};
use crate::value::Value;

/// The names that the host of the language gives: roots, and other names of keys.
#[derive(Debug, Clone, Copy)]
pub struct Roots<'n> {
    /// Roots whose values are templates, known at load.
    pub templates: &'n [&'n str],
    /// Roots whose values are data, known when a request runs.
    pub data: &'n [&'n str],
    /// Other names of keys of data.
    pub aliases: &'n Aliases,
}

/// A template with a context to try it in.
pub struct Trial<'n> {
    template: Template,
    templates: Vec<(String, TemplateMap)>,
    data: Vec<(String, Value)>,
    roots: Roots<'n>,
    texts: Texts,
}

/// What load leaves of a template.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// A literal, if everything was known; else the promise.
    pub left: Template,
    /// The paths that the promise needs, each once, in the order of their first use.
    pub needs: Vec<String>,
}

impl<'n> Trial<'n> {
    /// Reads a template (any JSON value; the text of one string is a [`Value::Text`]) and a context:
    /// a map with any of the roots. `context_name` is the file of the context, for findings.
    ///
    /// # Errors
    ///
    /// Every text that cannot be parsed, and every key of the context that is no root.
    pub fn new(
        template: &Value,
        context: &Value,
        context_name: &str,
        roots: Roots<'n>,
    ) -> Result<Trial<'n>, Vec<Diagnostic>> {
        let mut texts = Texts::default();
        let mut findings = Vec::new();
        let mut next = 0;
        texts.collect(template, None, String::new());
        let parsed = Template::from_value(template, &mut next);
        let mut templates = Vec::new();
        let mut data = Vec::new();
        let mut errors = Vec::new();
        let parsed = parsed.unwrap_or_else(|mut found| {
            errors.append(&mut found);
            Template::literal(Value::Null)
        });
        let wrong_type = |pointer: &str, value: &Value| {
            let location = Location {
                pointer: pointer.to_owned(),
                ..Location::of_file(context_name)
            };
            let message = format!("expected a map, found {}", value.type_name());
            Diagnostic::error(Code::WrongType, location, message)
        };
        match context {
            Value::Map(context) => {
                for (root, value) in context {
                    let pointer = format!("/{}", escape(root));
                    if roots.data.contains(&root.as_str()) {
                        data.push((root.clone(), value.clone()));
                    } else if !roots.templates.contains(&root.as_str()) {
                        let known = roots.templates.iter().chain(roots.data).copied();
                        let location = Location {
                            pointer,
                            ..Location::of_file(context_name)
                        };
                        let message = format!("unknown key `{root}`");
                        let finding = Diagnostic::error(Code::UnknownKey, location, message);
                        findings.push(finding.with_nearest(root, known));
                    } else if let Value::Map(values) = value {
                        let mut map = TemplateMap::new();
                        for (key, value) in values {
                            let place = format!("{pointer}/{}", escape(key));
                            texts.collect(value, Some(context_name), place);
                            match Template::from_value(value, &mut next) {
                                Ok(template) => {
                                    map.insert(key.clone(), template);
                                }
                                Err(mut found) => errors.append(&mut found),
                            }
                        }
                        templates.push((root.clone(), map));
                    } else {
                        findings.push(wrong_type(&pointer, value));
                    }
                }
            }
            other => findings.push(wrong_type("", other)),
        }
        findings.extend(errors.iter().map(|error| texts.diagnostic(error)));
        if !findings.is_empty() {
            return Err(findings);
        }
        Ok(Trial {
            template: parsed,
            templates,
            data,
            roots,
            texts,
        })
    }

    /// Evaluates what is known at load, and tells what is left.
    ///
    /// # Errors
    ///
    /// What a spec with this template would be refused for.
    pub fn explain(&self) -> Result<Explanation, Diagnostic> {
        let left = self
            .promise()
            .map_err(|error| self.texts.diagnostic(&error))?;
        let mut needs: Vec<String> = Vec::new();
        for path in left.key_paths().into_iter().map(KeyPath::to_string) {
            if !needs.contains(&path) {
                needs.push(path);
            }
        }
        Ok(Explanation { left, needs })
    }

    /// Evaluates the template, in two stages as a gateway does.
    ///
    /// `random` gives a number below its argument, each as likely as any other.
    ///
    /// # Errors
    ///
    /// What load or a request would report.
    pub fn value(&self, random: &(dyn Fn(usize) -> usize + Sync)) -> Result<Value, Diagnostic> {
        let run = || -> Result<Value, Error> {
            let promise = self.promise()?;
            let mut context = Context::new().random(random);
            for (root, value) in &self.data {
                context = context.data(root, value);
            }
            Ok(eval(&promise, &context)?.into_owned())
        };
        run().map_err(|error| self.texts.diagnostic(&error))
    }

    fn promise(&self) -> Result<Template, Error> {
        // A root that the context does not have is an empty one.
        let none = TemplateMap::new();
        let mut scope = Scope::new().aliases(self.roots.aliases);
        for root in self.roots.templates {
            let found = self.templates.iter().find(|(name, _)| name == root);
            scope = scope.templates(root, found.map_or(&none, |(_, templates)| templates));
        }
        for root in self.roots.data {
            scope = scope.later(root);
        }
        partial(&self.template, &scope)
    }
}

impl fmt::Debug for Trial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trial({})", self.template)
    }
}

/// Every text that was parsed, at the index that its spans name.
#[derive(Debug, Default)]
struct Texts(Vec<Text>);

#[derive(Debug)]
struct Text {
    /// None for the template itself.
    file: Option<String>,
    pointer: String,
    text: String,
}

impl Texts {
    /// Goes through a value in the order in which [`Template::from_value`] numbers its texts.
    fn collect(&mut self, value: &Value, file: Option<&str>, pointer: String) {
        match value {
            Value::Text(text) => self.0.push(Text {
                file: file.map(str::to_owned),
                pointer,
                text: text.clone(),
            }),
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.collect(item, file, format!("{pointer}/{index}"));
                }
            }
            Value::Map(map) => {
                for (key, item) in map {
                    self.collect(item, file, format!("{pointer}/{}", escape(key)));
                }
            }
            _ => {}
        }
    }

    /// Says where an error is: line and column are those of the text.
    fn diagnostic(&self, error: &Error) -> Diagnostic {
        let span = error.span();
        let index = usize::try_from(span.source.0).unwrap_or(usize::MAX);
        let location = self.0.get(index).map_or_else(Location::default, |source| {
            let start = usize::try_from(span.start).unwrap_or(usize::MAX);
            let end = usize::try_from(span.end).unwrap_or(usize::MAX);
            let before = source.text.get(..start).unwrap_or(&source.text);
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            let line = source.text.get(line_start..).unwrap_or_default();
            let line = line.lines().next().unwrap_or_default();
            let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
            Location {
                file: source.file.clone().or_else(|| Some("template".to_owned())),
                pointer: source.pointer.clone(),
                line: u32::try_from(before.matches('\n').count() + 1).unwrap_or(u32::MAX),
                column: u32::try_from(column).unwrap_or(u32::MAX),
                excerpt: Some(Box::new(Excerpt::new(
                    line,
                    start.saturating_sub(line_start),
                    end.saturating_sub(line_start),
                ))),
            }
        });
        let finding = Diagnostic::error(error.code(), location, error.message());
        match error.hint() {
            Some(hint) => finding.with_hint(hint),
            None => finding,
        }
    }
}

/// Writes a key as a part of an RFC 6901 pointer.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
