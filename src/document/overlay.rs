//! One document over another: what the environment and flags say over what a file says.

use super::{Document, Node, NodeKind};
use crate::diagnostic::SourceId;

impl Document {
    /// Lays `over` on this document: its members win, key by key through nested maps. Whatever
    /// came from it keeps its own file name and places.
    pub fn overlay(&mut self, mut over: Document) {
        let first = self.ids();
        let null = Node {
            id: SourceId(0),
            kind: NodeKind::Null,
        };
        let mut root = std::mem::replace(&mut over.root, null);
        shift(&mut root, first);
        merge(&mut self.root, root);
        self.notes.append(&mut over.notes);
        self.layers.push((first, over));
    }

    /// Returns the layer that a value came from and its id there; none for this document's own.
    pub(super) fn layer(&self, id: SourceId) -> Option<(&Document, SourceId)> {
        let (first, layer) = self.layers.iter().rev().find(|(first, _)| *first <= id.0)?;
        Some((layer, SourceId(id.0 - first)))
    }

    /// How many ids are taken, those of all layers included.
    fn ids(&self) -> u32 {
        match self.layers.last() {
            Some((first, layer)) => first + layer.ids(),
            None => super::narrow(self.places.len()),
        }
    }
}

fn merge(below: &mut Node, over: Node) {
    match (&mut below.kind, over.kind) {
        (NodeKind::Map(below), NodeKind::Map(over)) => {
            for (key, node) in over {
                match below.get_mut(&key) {
                    Some(below) => merge(below, node),
                    None => {
                        below.insert(key, node);
                    }
                }
            }
        }
        (_, kind) => *below = Node { id: over.id, kind },
    }
}

fn shift(node: &mut Node, by: u32) {
    node.id.0 += by;
    match &mut node.kind {
        NodeKind::List(items) => items.iter_mut().for_each(|item| shift(item, by)),
        NodeKind::Map(members) => members.values_mut().for_each(|member| shift(member, by)),
        NodeKind::Null | NodeKind::Bool(_) | NodeKind::Number(_) | NodeKind::Text(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_layer_wins_and_keeps_its_places() {
        let parse = |file, text| Document::parse_toml(Some(file), text).unwrap();
        let mut document = parse("a", "[t]\nx = 1\ny = [1, 2]\n[u]\nz = 'low'");
        document.overlay(parse("b", "t.y = [3]"));
        document.overlay(parse("c", "u.z = 'high'\nv.new = true"));
        assert_eq!(
            document.root().to_value().to_string(),
            r#"{"t":{"x":1,"y":[3]},"u":{"z":"high"},"v":{"new":true}}"#
        );
        let root = document.root().as_map().unwrap();
        let place = |table: &str, key: &str| {
            let node = &root[table].as_map().unwrap()[key];
            assert_eq!(document.key(node.id), Some(key));
            let location = document.location(node.id);
            format!("{location} {}", location.pointer)
        };
        assert_eq!(place("t", "x"), "a:2:5 /t/x");
        assert_eq!(place("t", "y"), "b:1:7 /t/y");
        assert_eq!(place("u", "z"), "c:1:7 /u/z");
        assert_eq!(place("v", "new"), "c:2:9 /v/new");
    }
}
