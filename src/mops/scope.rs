//! What is known at load, and the memory of what was evaluated with it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::DEFAULT_TEXT_LIMIT;
use super::ast::{Template, TemplateMap};
use super::navigate::{Aliases, Node};
use crate::value::Value;

/// What the host knows at load: roots whose values are templates, and the names of roots whose data
/// comes with a request.
///
/// It remembers what it has evaluated, so one scope should serve all templates that share its roots.
pub struct Scope<'a> {
    pub(super) roots: Vec<(&'a str, Root<'a>)>,
    pub(super) aliases: Option<&'a Aliases>,
    pub(super) text_limit: usize,
    /// By the address of a template among the roots, which are borrowed as long as the scope lives.
    pub(super) evaluated: RefCell<HashMap<usize, Memo>>,
    /// Values inside literals among the roots, likewise.
    pub(super) constants: RefCell<HashMap<usize, Arc<Value>>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Root<'a> {
    Later,
    Templates(Node<'a>),
}

/// What a variable evaluated to, and what it took: the same limits hold whoever asks first.
#[derive(Debug, Clone)]
pub(super) struct Memo {
    pub(super) template: Template,
    pub(super) chain: usize,
    pub(super) depth: usize,
    pub(super) parts: usize,
}

impl<'a> Scope<'a> {
    /// Returns a scope without roots; texts may be up to [`DEFAULT_TEXT_LIMIT`] long.
    pub fn new() -> Self {
        Scope {
            roots: Vec::new(),
            aliases: None,
            text_limit: DEFAULT_TEXT_LIMIT,
            evaluated: RefCell::default(),
            constants: RefCell::default(),
        }
    }

    /// Adds a root whose values are templates.
    #[must_use]
    pub fn templates(mut self, root: &'a str, templates: &'a TemplateMap) -> Self {
        self.roots
            .push((root, Root::Templates(Node::Root(templates))));
        self
    }

    /// Adds a root that is one template: a literal map is shared by all that refer to the whole.
    #[must_use]
    pub fn template(mut self, root: &'a str, template: &'a Template) -> Self {
        self.roots
            .push((root, Root::Templates(Node::Template(template))));
        self
    }

    /// Adds a root that is data, known only when templates are evaluated.
    #[must_use]
    pub fn later(mut self, root: &'a str) -> Self {
        self.roots.push((root, Root::Later));
        self
    }

    /// Sets other names of keys of data.
    #[must_use]
    pub fn aliases(mut self, aliases: &'a Aliases) -> Self {
        self.aliases = Some(aliases);
        self
    }

    /// Sets the longest text that may be made, in bytes.
    #[must_use]
    pub fn text_limit(mut self, bytes: usize) -> Self {
        self.text_limit = bytes;
        self
    }
}

impl Default for Scope<'_> {
    fn default() -> Self {
        Scope::new()
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.roots.iter().map(|(root, _)| root))
            .finish()
    }
}
