//! The sample marketplace that the demo offers: the procedures that `specs/market.json` calls.
//!
//! Only the rules of the market are here, so that they can be read as what they are: an example of
//! a service that knows nothing of HTTP. `demo.rs` registers them on the router.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;

use crate::value::{Map, Value};

/// The procedures, as they are registered.
pub const PROCEDURES: [&str; 6] = [
    "com.example.market.list",
    "com.example.market.get",
    "com.example.market.sell",
    "com.example.market.bid",
    "com.example.market.bidder.add",
    "com.example.market.bidder.remove",
];

/// A market's refusal, as the WAMP error that the caller sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The error URI.
    pub uri: &'static str,
    /// The positional arguments: the message.
    pub args: Vec<Value>,
    /// The named arguments: `message` and `name`.
    pub kwargs: Map,
}

impl Refusal {
    fn new(uri: &'static str, name: &str, message: String) -> Self {
        Self {
            uri,
            args: vec![message.as_str().into()],
            kwargs: Map::from_iter([
                ("message".to_owned(), message.into()),
                ("name".to_owned(), name.into()),
            ]),
        }
    }

    fn argument(name: &str, message: &str) -> Self {
        Self::new(
            "wamp.error.invalid_argument",
            name,
            format!("`{name}` {message}"),
        )
    }
}

/// Items for sale and the bidders that may bid for them.
#[derive(Debug, Default)]
pub struct Market {
    // A std mutex: no call holds it across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    items: IndexMap<String, Item>,
    bidders: BTreeSet<String>,
}

#[derive(Debug)]
struct Item {
    price: f64,
    deadline: String,
    bids: Vec<(String, f64)>,
}

/// The most items and the most bidders that the sample keeps: it lives in memory.
const MOST: usize = 10_000;

impl Market {
    /// Returns a market with two items and one bidder, so that a first look shows something.
    pub fn with_samples() -> Self {
        let market = Self::default();
        {
            let mut state = market.state.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, price) in [("lamp", 12.5), ("chair", 40.0)] {
                let item = Item {
                    price,
                    deadline: "2030-01-01".to_owned(),
                    bids: Vec::new(),
                };
                state.items.insert(name.to_owned(), item);
            }
            state.bidders.insert("ada".to_owned());
        }
        market
    }

    /// Runs one of [`PROCEDURES`] and returns its only positional result, if it has one.
    ///
    /// # Errors
    ///
    /// [`Refusal`], as the caller of the procedure sees it.
    pub fn call(
        &self,
        procedure: &str,
        args: &[Value],
        kwargs: &Map,
    ) -> Result<Option<Value>, Refusal> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match procedure
            .strip_prefix("com.example.market.")
            .unwrap_or(procedure)
        {
            "list" => Ok(Some(
                state.list(kwargs.get("limit").and_then(Value::as_u64)),
            )),
            "get" => state.get(text(args, 0, "name")?).map(Some),
            "sell" => {
                let deadline = kwargs
                    .get("deadline")
                    .and_then(Value::as_text)
                    .unwrap_or_default();
                state
                    .sell(text(args, 0, "name")?, price(args, 1)?, deadline)
                    .map(Some)
            }
            "bid" => state
                .bid(
                    text(args, 0, "name")?,
                    price(args, 1)?,
                    text(args, 2, "bidder")?,
                )
                .map(Some),
            "bidder.add" => state.add_bidder(text(args, 0, "name")?).map(Some),
            "bidder.remove" => state.remove_bidder(text(args, 0, "name")?).map(|()| None),
            other => Err(Refusal::argument(
                "procedure",
                &format!("`{other}` is not the market's"),
            )),
        }
    }
}

impl State {
    fn list(&self, limit: Option<u64>) -> Value {
        let mut items: Vec<_> = self.items.iter().collect();
        items.sort_by(|(_, a), (_, b)| a.price.total_cmp(&b.price));
        let limit = usize::try_from(limit.unwrap_or(100)).unwrap_or(usize::MAX);
        items
            .into_iter()
            .take(limit)
            .map(|(name, item)| item.show(name))
            .collect::<Vec<_>>()
            .into()
    }

    fn get(&self, name: &str) -> Result<Value, Refusal> {
        self.items
            .get(name)
            .map(|item| item.show(name))
            .ok_or_else(|| no_such_item(name))
    }

    fn sell(&mut self, name: &str, price: f64, deadline: &str) -> Result<Value, Refusal> {
        if self.items.contains_key(name) {
            return Err(Refusal::new(
                "com.example.market.error.item_exists",
                name,
                format!("{name} is for sale already"),
            ));
        }
        if self.items.len() >= MOST {
            return Err(Refusal::argument(
                "name",
                "does not fit: the market is full",
            ));
        }
        let item = Item {
            price,
            deadline: deadline.to_owned(),
            bids: Vec::new(),
        };
        let shown = item.show(name);
        self.items.insert(name.to_owned(), item);
        Ok(shown)
    }

    fn bid(&mut self, name: &str, price: f64, bidder: &str) -> Result<Value, Refusal> {
        if !self.bidders.contains(bidder) {
            return Err(no_such_bidder(bidder));
        }
        let item = self.items.get_mut(name).ok_or_else(|| no_such_item(name))?;
        if price <= item.price {
            return Err(Refusal::new(
                "com.example.market.error.bid_too_low",
                name,
                format!("{name} stands at {:?}: bid more", item.price),
            ));
        }
        item.price = price;
        item.bids.push((bidder.to_owned(), price));
        Ok(item.show(name))
    }

    fn add_bidder(&mut self, name: &str) -> Result<Value, Refusal> {
        if self.bidders.len() >= MOST {
            return Err(Refusal::argument(
                "name",
                "does not fit: the market is full",
            ));
        }
        if !self.bidders.insert(name.to_owned()) {
            return Err(Refusal::new(
                "com.example.market.error.bidder_exists",
                name,
                format!("{name} is a bidder already"),
            ));
        }
        Ok(Map::from_iter([("name".to_owned(), name.into())]).into())
    }

    fn remove_bidder(&mut self, name: &str) -> Result<(), Refusal> {
        if self.bidders.remove(name) {
            Ok(())
        } else {
            Err(no_such_bidder(name))
        }
    }
}

impl Item {
    fn show(&self, name: &str) -> Value {
        let bid = |(bidder, price): &(String, f64)| {
            Value::from(Map::from_iter([
                ("bidder".to_owned(), bidder.as_str().into()),
                ("price".to_owned(), (*price).into()),
            ]))
        };
        Value::from(Map::from_iter([
            ("name".to_owned(), name.into()),
            ("price".to_owned(), self.price.into()),
            ("deadline".to_owned(), self.deadline.as_str().into()),
            (
                "bids".to_owned(),
                self.bids.iter().map(bid).collect::<Vec<_>>().into(),
            ),
        ]))
    }
}

fn no_such_item(name: &str) -> Refusal {
    let message = format!("{name} is not for sale");
    Refusal::new("com.example.market.error.no_such_item", name, message)
}

fn no_such_bidder(name: &str) -> Refusal {
    let message = format!("{name} is no bidder");
    Refusal::new("com.example.market.error.no_such_bidder", name, message)
}

fn text<'a>(args: &'a [Value], index: usize, name: &str) -> Result<&'a str, Refusal> {
    match args.get(index).and_then(Value::as_text) {
        Some(text) if !text.is_empty() && text.len() <= 200 => Ok(text),
        Some(_) => Err(Refusal::argument(name, "must have 1 to 200 bytes")),
        None => Err(Refusal::argument(name, "must be text")),
    }
}

fn price(args: &[Value], index: usize) -> Result<f64, Refusal> {
    let number = match args.get(index) {
        // A price has a few digits; what a double rounds is no price.
        #[expect(clippy::cast_precision_loss, reason = "prices are far below 2^53")]
        Some(Value::I64(number)) => Some(*number as f64),
        Some(Value::F64(number)) => Some(*number),
        _ => None,
    };
    match number {
        Some(number) if number.is_finite() && number > 0.0 && number < 1e12 => Ok(number),
        _ => Err(Refusal::argument("price", "must be a number above zero")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(market: &Market, procedure: &str, args: &str) -> String {
        let args: Value = serde_json::from_str(args).unwrap();
        let procedure = format!("com.example.market.{procedure}");
        match market.call(&procedure, args.as_list().unwrap(), &Map::new()) {
            Ok(Some(value)) => value.to_string(),
            Ok(None) => "nothing".to_owned(),
            Err(refusal) => format!("{} {}", refusal.uri, refusal.args[0]),
        }
    }

    #[test]
    fn an_item_is_sold_to_a_known_bidder_who_bids_more() {
        let market = Market::default();
        assert_eq!(
            call(&market, "sell", r#"["lamp", 10]"#),
            r#"{"name":"lamp","price":10.0,"deadline":"","bids":[]}"#
        );
        assert_eq!(
            call(&market, "bid", r#"["lamp", 11, "ada"]"#),
            r#"com.example.market.error.no_such_bidder "ada is no bidder""#
        );
        assert_eq!(
            call(&market, "bidder.add", r#"["ada"]"#),
            r#"{"name":"ada"}"#
        );
        assert_eq!(
            call(&market, "bid", r#"["lamp", 10, "ada"]"#),
            r#"com.example.market.error.bid_too_low "lamp stands at 10.0: bid more""#
        );
        assert_eq!(
            call(&market, "bid", r#"["lamp", 11.5, "ada"]"#),
            r#"{"name":"lamp","price":11.5,"deadline":"","bids":[{"bidder":"ada","price":11.5}]}"#
        );
        assert_eq!(call(&market, "bidder.remove", r#"["ada"]"#), "nothing");
    }

    #[test]
    fn what_is_wrong_is_refused_by_name() {
        let market = Market::with_samples();
        for (procedure, args, expected) in [
            (
                "sell",
                r#"["lamp", 1]"#,
                "com.example.market.error.item_exists",
            ),
            (
                "get",
                r#"["boat"]"#,
                "com.example.market.error.no_such_item",
            ),
            (
                "bidder.add",
                r#"["ada"]"#,
                "com.example.market.error.bidder_exists",
            ),
            (
                "bidder.remove",
                r#"["bob"]"#,
                "com.example.market.error.no_such_bidder",
            ),
            ("sell", r#"["boat", "1"]"#, "wamp.error.invalid_argument"),
            ("sell", r#"["boat", -1]"#, "wamp.error.invalid_argument"),
            ("get", r#"[7]"#, "wamp.error.invalid_argument"),
            ("get", r#"[""]"#, "wamp.error.invalid_argument"),
        ] {
            assert!(
                call(&market, procedure, args).starts_with(expected),
                "{procedure} {args}"
            );
        }
    }
}
