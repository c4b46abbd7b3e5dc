//! TOML to the same tree, by the `toml` crate, which bounds nesting itself.

use indexmap::IndexMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Builder, Document, Node, NodeKind, Step, narrow};
use crate::diagnostic::{Code, Diagnostic, SourceId};
use crate::value::Value;

pub(super) fn parse(mut builder: Builder<'_>) -> Result<Document, Vec<Diagnostic>> {
    let table = match DeTable::parse(builder.text) {
        Ok(table) => table,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            let location = builder.location(span.start, span.end);
            // The crate words some errors over several lines; ours are one.
            let message = error.message().replace('\n', ", ");
            return Err(vec![Diagnostic::error(Code::Syntax, location, message)]);
        }
    };
    let mut errors = Vec::new();
    let id = builder.open(None, Step::Root, 0);
    builder.close(id, 0);
    let members = read_table(&mut builder, id, table.get_ref(), &mut errors);
    if errors.is_empty() {
        Ok(builder.finish(Node {
            id: SourceId(id),
            kind: NodeKind::Map(members),
        }))
    } else {
        Err(errors)
    }
}

/// Writes a map as TOML; nulls, which TOML has none of, must not be in it.
///
/// # Panics
///
/// If `value` is no map or holds null or an integer beyond 63 bits.
pub fn to_toml(value: &Value) -> String {
    toml::to_string(value).expect("maps of texts, numbers and lists are TOML")
}

fn read_table(
    builder: &mut Builder<'_>,
    parent: u32,
    table: &DeTable<'_>,
    errors: &mut Vec<Diagnostic>,
) -> IndexMap<String, Node> {
    let mut members = IndexMap::new();
    for (key, value) in table.iter() {
        let span = key.span();
        let name = key.get_ref().to_string();
        let step = Step::Member(name.clone(), narrow(span.start)..narrow(span.end));
        let node = read_value(builder, parent, step, value, errors);
        members.insert(name, node);
    }
    members
}

fn read_value(
    builder: &mut Builder<'_>,
    parent: u32,
    step: Step,
    value: &Spanned<DeValue<'_>>,
    errors: &mut Vec<Diagnostic>,
) -> Node {
    let span = value.span();
    let id = builder.open(Some(parent), step, span.start);
    builder.close(id, span.end);
    let mut out_of_range = |builder: &Builder<'_>, message: &str| {
        let location = builder.location(span.start, span.end);
        errors.push(Diagnostic::error(Code::NumberRange, location, message));
        NodeKind::Null
    };
    let kind = match value.get_ref() {
        DeValue::String(text) => NodeKind::Text(text.to_string()),
        DeValue::Boolean(flag) => NodeKind::Bool(*flag),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => NodeKind::Number(Value::I64(number)),
            Err(_) => out_of_range(builder, "an integer beyond 64 bits"),
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => NodeKind::Number(Value::F64(number)),
            _ => out_of_range(builder, "a number beyond the range of a double"),
        },
        DeValue::Datetime(time) => NodeKind::Text(time.to_string()),
        DeValue::Array(items) => {
            let mut list = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                list.push(read_value(builder, id, Step::Item(index), item, errors));
            }
            NodeKind::List(list)
        }
        DeValue::Table(table) => NodeKind::Map(read_table(builder, id, table, errors)),
    };
    Node {
        id: SourceId(id),
        kind,
    }
}
