//! `static`: the spec answers by itself.

use super::ActionError;
use crate::mops::{self, Context, Template};
use crate::value::Map;

/// Yields `body` and `headers`, as a forward would.
pub(super) fn run(
    body: &Template,
    headers: &Template,
    context: &Context<'_>,
) -> Result<Map, ActionError> {
    let mut result = Map::with_capacity(2);
    result.insert(
        "headers".to_owned(),
        mops::eval(headers, context)?.into_owned(),
    );
    result.insert("body".to_owned(), mops::eval(body, context)?.into_owned());
    Ok(result)
}
