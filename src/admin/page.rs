//! Lists in pages: `limit`, `cursor`, and the next page as a `Link`.
//!
//! A cursor names the last item that was sent, so that a page is right also after items before it
//! came or went. Pages end early where their items are large.
//!
//! Reference: RFC 8288; RFC 5005 for `next`.

use std::collections::BTreeMap;

use axum::response::Response;
use data_encoding::BASE64URL_NOPAD;
use http::StatusCode;
use http::header::LINK;
use serde::Serialize;

use super::exchange::{Exchange, add_header, bad_request};
use super::table::Answer;
use crate::problem::Problem;

/// Items of a page when nobody says how many.
const DEFAULT_LIMIT: usize = 100;

/// Most items of a page.
const MAX_LIMIT: usize = 1000;

/// Texts on a page, in bytes: beyond it no item is added.
const MAX_BYTES: usize = 8 << 20;

/// What part of a list is asked for.
#[derive(Debug)]
pub(super) struct Page {
    limit: usize,
    after: Option<String>,
}

impl Page {
    /// The parameters of a list's query.
    pub(super) const QUERY: &'static [&'static str] = &["limit", "cursor"];

    /// Reads the query.
    ///
    /// # Errors
    ///
    /// 400 for a limit beyond 1 to 1000, and for what is no cursor.
    pub(super) fn of(exchange: &Exchange) -> Result<Self, Problem> {
        let limit = match exchange.query("limit") {
            None => DEFAULT_LIMIT,
            Some(text) => match text.parse() {
                Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => limit,
                _ => {
                    let detail = format!("`limit` is a number from 1 to {MAX_LIMIT}.");
                    return Err(bad_request(detail));
                }
            },
        };
        let decode = |text: &str| {
            let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
            String::from_utf8(bytes).ok()
        };
        let after = match exchange.query("cursor") {
            None => None,
            Some(text) => Some(decode(text).ok_or_else(|| {
                bad_request("`cursor` is none that this API has made; begin without one.")
            })?),
        };
        Ok(Self { limit, after })
    }

    /// Takes what belongs on this page of all items, which go by their keys; `size` is what an item
    /// takes. Returns also the key of the last one, where there are more.
    pub(super) fn cut<T>(
        &self,
        items: BTreeMap<String, T>,
        size: impl Fn(&T) -> usize,
    ) -> (Vec<T>, Option<String>) {
        let mut bytes = 0;
        let mut page = Vec::new();
        let mut last = None;
        let after = |key: &String| self.after.as_ref().is_none_or(|after| key > after);
        for (key, item) in items.into_iter().filter(|(key, _)| after(key)) {
            bytes += size(&item);
            if page.len() == self.limit || (bytes > MAX_BYTES && !page.is_empty()) {
                return (page, last);
            }
            page.push(item);
            last = Some(key);
        }
        (page, None)
    }

    /// Answers with a page.
    pub(super) fn reply<T: Serialize>(
        &self,
        exchange: &Exchange,
        page: &[T],
        last: Option<&str>,
    ) -> Answer {
        let mut response: Response = exchange.reply(StatusCode::OK, &page)?;
        if let Some(last) = last {
            let cursor = BASE64URL_NOPAD.encode(last.as_bytes());
            let next = exchange.link(&format!("limit={}&cursor={cursor}", self.limit));
            add_header(&mut response, LINK, &format!("<{next}>; rel=\"next\""));
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(limit: usize, after: Option<&str>) -> (Vec<usize>, Option<String>) {
        let page = Page {
            limit,
            after: after.map(str::to_owned),
        };
        let sizes = [
            ("a", 1),
            ("b", MAX_BYTES),
            ("c", MAX_BYTES * 2),
            ("d", 2),
            ("e", 3),
        ];
        let items = sizes.map(|(key, size)| (key.to_owned(), size));
        page.cut(BTreeMap::from(items), |size| *size)
    }

    #[test]
    fn a_page_ends_at_its_limit_or_when_it_is_large_but_has_one_item_at_least() {
        let last = |key: &str| Some(key.to_owned());
        assert_eq!(cut(1, None), (vec![1], last("a")));
        assert_eq!(cut(9, None), (vec![1], last("a")));
        assert_eq!(cut(9, Some("a")), (vec![MAX_BYTES], last("b")));
        assert_eq!(cut(9, Some("b")), (vec![MAX_BYTES * 2], last("c")));
        assert_eq!(cut(9, Some("c")), (vec![2, 3], None));
        assert_eq!(cut(1, Some("c0")), (vec![2], last("d")));
        assert_eq!(cut(1, Some("d")), (vec![3], None));
        assert_eq!(cut(1, Some("e")), (vec![], None));
    }
}
