//! The `request` that templates see, holding only the fields that the route's templates name.
//!
//! A request that needs nothing but a path variable costs no map of headers and no decoded body.
//! What to gather is known when the table is built ([`RequestFields::of`]); gathering is per
//! request.
//!
//! Reference: `api-spec.md`, "Context".

use http::HeaderMap;
use http::request::Parts;

use crate::mops::Template;
use crate::negotiate;
use crate::value::{Map, Value};

macro_rules! request_fields {
    ($($(#[$doc:meta])* $field:ident = $bit:literal, $name:literal;)*) => {
        /// A set of fields of `request`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct RequestFields(u32);

        impl RequestFields {
            $($(#[$doc])* pub const $field: Self = Self(1 << $bit);)*
            /// Every field, for a template that takes `{{request}}` whole.
            pub const ALL: Self = Self($(1 << $bit |)* 0);

            fn named(name: &str) -> Self {
                match name {
                    $($name => Self::$field,)*
                    // Not a field: the template will say so when it looks for it.
                    _ => Self(0),
                }
            }
        }
    };
}

request_fields! {
    /// `request.id`
    ID = 0, "id";
    /// `request.method`
    METHOD = 1, "method";
    /// `request.scheme`
    SCHEME = 2, "scheme";
    /// `request.host`
    HOST = 3, "host";
    /// `request.port`
    PORT = 4, "port";
    /// `request.path`
    PATH = 5, "path";
    /// `request.peername`
    PEERNAME = 6, "peername";
    /// `request.headers`
    HEADERS = 7, "headers";
    /// `request.language`
    LANGUAGE = 8, "language";
    /// `request.query_string`
    QUERY_STRING = 9, "query_string";
    /// `request.query_params`
    QUERY_PARAMS = 10, "query_params";
    /// `request.query_lists`
    QUERY_LISTS = 11, "query_lists";
    /// `request.bindings`
    BINDINGS = 12, "bindings";
    /// `request.path_info`
    PATH_INFO = 13, "path_info";
    /// `request.body`
    BODY = 14, "body";
    /// `request.body_length`
    BODY_LENGTH = 15, "body_length";
}

impl RequestFields {
    /// Returns what `template` names under `request`.
    pub fn of(template: &Template) -> Self {
        template
            .key_paths()
            .into_iter()
            .filter(|path| &*path.root == "request")
            .map(|path| {
                path.segments
                    .first()
                    .map_or(Self::ALL, |field| Self::named(&field.key))
            })
            .fold(Self::default(), Self::and)
    }

    /// Returns the fields of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns these without the query's parameters, which alone can be malformed.
    #[must_use]
    pub fn without_query_params(self) -> Self {
        Self(self.0 & !Self::QUERY_PARAMS.and(Self::QUERY_LISTS).0)
    }

    /// Returns whether any field of `other` is among these.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What is known of a request before its body is read, as far as templates may ask for it.
#[derive(Debug)]
pub struct RequestSource<'r> {
    /// Method, target, headers.
    pub parts: &'r Parts,
    /// The request id, also in the answer's `x-request-id`.
    pub id: &'r str,
    /// `http` or `https`, as the client used it.
    pub scheme: &'r str,
    /// Host without port.
    pub host: &'r str,
    /// Port that the client asked for.
    pub port: u16,
    /// `ip:port` of the client.
    pub peername: &'r str,
    /// The API version's languages, the first being the default.
    pub languages: &'r [String],
}

/// A query string that is not text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("query parameter {0} is not UTF-8 after decoding")]
pub struct BadQuery(usize);

impl RequestSource<'_> {
    /// Gathers `fields`, except body and path variables, which the exchange adds.
    ///
    /// # Errors
    ///
    /// [`BadQuery`] where query parameters are asked for and one of them is not UTF-8.
    pub fn gather(&self, fields: RequestFields) -> Result<Map, BadQuery> {
        use RequestFields as F;
        let mut map = Map::with_capacity(fields.0.count_ones() as usize);
        let mut set = |field: F, name: &str, value: &dyn Fn() -> Value| {
            if fields.has(field) {
                map.insert(name.to_owned(), value());
            }
        };
        let uri = &self.parts.uri;
        set(F::ID, "id", &|| self.id.into());
        set(F::METHOD, "method", &|| {
            self.parts.method.as_str().to_ascii_lowercase().into()
        });
        set(F::SCHEME, "scheme", &|| self.scheme.into());
        set(F::HOST, "host", &|| self.host.into());
        set(F::PORT, "port", &|| i64::from(self.port).into());
        set(F::PATH, "path", &|| {
            without_trailing_slash(uri.path()).into()
        });
        set(F::PEERNAME, "peername", &|| self.peername.into());
        set(F::HEADERS, "headers", &|| {
            headers(&self.parts.headers).into()
        });
        set(F::LANGUAGE, "language", &|| {
            let lines = self.parts.headers.get_all(http::header::ACCEPT_LANGUAGE);
            let lines = lines.iter().filter_map(|line| line.to_str().ok());
            let accepted = lines.collect::<Vec<_>>().join(",");
            negotiate::language(&accepted, self.languages).into()
        });
        set(F::QUERY_STRING, "query_string", &|| {
            uri.query().unwrap_or_default().into()
        });
        if fields.has(F::QUERY_PARAMS.and(F::QUERY_LISTS)) {
            let pairs = query_pairs(uri.query().unwrap_or_default())?;
            if fields.has(F::QUERY_LISTS) {
                let mut lists = Map::new();
                for (key, value) in &pairs {
                    let list = lists
                        .entry(key.clone())
                        .or_insert_with(|| Value::List(Vec::new()));
                    if let Value::List(items) = list {
                        items.push(value.clone());
                    }
                }
                map.insert("query_lists".to_owned(), lists.into());
            }
            if fields.has(F::QUERY_PARAMS) {
                map.insert(
                    "query_params".to_owned(),
                    pairs.into_iter().collect::<Map>().into(),
                );
            }
        }
        Ok(map)
    }
}

fn without_trailing_slash(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some("") | None => path,
        Some(shorter) => shorter,
    }
}

/// Lower-case names; a repeated header's values joined with `, `. Bytes beyond ASCII are read as
/// UTF-8 where they are, and otherwise replaced: a header must not fail a request that never
/// looks at it.
fn headers(headers: &HeaderMap) -> Map {
    let mut map = Map::with_capacity(headers.keys_len());
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        match map.get_mut(name.as_str()) {
            Some(Value::Text(joined)) => {
                joined.push_str(", ");
                joined.push_str(&text);
            }
            _ => {
                map.insert(name.as_str().to_owned(), text.into());
            }
        }
    }
    map
}

/// Splits a query string into decoded pairs; a key without `=` is `true`.
fn query_pairs(query: &str) -> Result<Vec<(String, Value)>, BadQuery> {
    let decode = |text: &str, place: usize| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| BadQuery(place))
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .enumerate()
        .map(|(index, pair)| match pair.split_once('=') {
            Some((key, value)) => Ok((
                decode(key, index + 1)?,
                Value::from(decode(value, index + 1)?),
            )),
            None => Ok((decode(pair, index + 1)?, Value::Bool(true))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(uri: &str, fields: RequestFields) -> String {
        let (parts, ()) = http::Request::get(uri)
            .header("X-One", "1")
            .header("x-one", "2")
            .body(())
            .unwrap()
            .into_parts();
        let source = RequestSource {
            parts: &parts,
            id: "r1",
            scheme: "http",
            host: "example.org",
            port: 8080,
            peername: "127.0.0.1:5000",
            languages: &["en".to_owned()],
        };
        Value::from(source.gather(fields).unwrap()).to_string()
    }

    #[test]
    fn only_the_fields_asked_for_are_gathered() {
        assert_eq!(gather("/a/?x=1", RequestFields::default()), "{}");
        assert_eq!(
            gather(
                "/a/?x=1",
                RequestFields::PATH.and(RequestFields::QUERY_STRING)
            ),
            r#"{"path":"/a","query_string":"x=1"}"#
        );
    }

    #[test]
    fn repeated_headers_are_joined_under_their_lower_case_name() {
        assert_eq!(
            gather("/", RequestFields::HEADERS),
            r#"{"headers":{"x-one":"1, 2"}}"#
        );
    }

    #[test]
    fn the_language_is_looked_for_in_every_line() {
        let (parts, ()) = http::Request::get("/")
            .header("accept-language", "fr")
            .header("accept-language", "de;q=0.5, es;q=0.6")
            .body(())
            .unwrap()
            .into_parts();
        let source = RequestSource {
            parts: &parts,
            id: "r1",
            scheme: "http",
            host: "example.org",
            port: 8080,
            peername: "127.0.0.1:5000",
            languages: &["en".to_owned(), "de".to_owned()],
        };
        let request = Value::from(source.gather(RequestFields::LANGUAGE).unwrap());
        assert_eq!(request.to_string(), r#"{"language":"de"}"#);
    }

    #[test]
    fn of_a_repeated_query_key_the_last_counts_and_the_list_has_all() {
        assert_eq!(
            gather(
                "/?a=1&b&a=2+%26&c=",
                RequestFields::QUERY_PARAMS.and(RequestFields::QUERY_LISTS)
            ),
            r#"{"query_lists":{"a":["1","2 &"],"b":[true],"c":[""]},"query_params":{"a":"2 &","b":true,"c":""}}"#
        );
    }

    #[test]
    fn a_query_that_is_not_utf8_is_refused_where_it_is_used() {
        assert_eq!(query_pairs("a=1&b=%ff"), Err(BadQuery(2)));
    }
}
