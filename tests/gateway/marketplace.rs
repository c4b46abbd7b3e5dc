//! A spec from Bondy's world, unchanged but for its security: all its routes work.

use std::path::Path;
use std::sync::{Arc, Mutex};

use wampgate::value::{Map, Value};
use wampgate::wamp::error::ApplicationError;
use wampgate::wamp::message::Payload;

use crate::support::{TestGateway, json};

/// Returns the spec with `defaults.security` set to `{}`, or nothing where the folder is absent.
fn spec() -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/specs/marketplace.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        eprintln!("skipped: ../shared/specs/marketplace.json is not there");
        return None;
    };
    let mut spec = json(&text);
    let Value::Map(api) = &mut spec else {
        panic!("an object")
    };
    api["realm_uri"] = crate::support::REALM.into();
    let Value::Map(defaults) = &mut api["defaults"] else {
        panic!("an object")
    };
    defaults["security"] = Value::Map(Map::new());
    Some(spec.to_string())
}

#[tokio::test]
async fn every_route_of_bondys_marketplace_works() {
    let Some(spec) = spec() else { return };
    let mut gateway = TestGateway::start(&spec).await;
    let calls = Arc::new(Mutex::new(Vec::new()));
    for procedure in [
        "get",
        "item.sell",
        "item.get",
        "item.bid",
        "bidder.add",
        "bidder.gone",
    ] {
        let procedure = format!("com.market.{procedure}");
        let (calls, name) = (calls.clone(), procedure.clone());
        gateway
            .callee
            .register(&procedure, move |call| {
                let args = Value::from(call.payload.args().to_vec());
                calls.lock().unwrap().push(format!("{name} {args}"));
                std::future::ready(match call.payload.args().first() {
                    Some(Value::Text(item)) if item == "boat" => Err(ApplicationError::new(
                        "com.example.error.not_found",
                        vec![],
                        Map::from_iter([("message".to_owned(), Value::from("no boat"))]),
                    )),
                    _ => Ok(Payload::new(vec![Value::Bool(true)], Map::new())),
                })
            })
            .await;
    }
    let http = &gateway.http;
    for prefix in ["", "/v1.0"] {
        for (method, path, body, expected) in [
            ("GET", "/market", "", "200 true"),
            (
                "POST",
                "/market/item",
                r#"{"name":"a","price":1.5,"deadline":"x"}"#,
                "200 true",
            ),
            ("GET", "/market/item/a", "", "200 true"),
            (
                "PUT",
                "/market/item/a",
                r#"{"price":2,"bidder":"b"}"#,
                "200 true",
            ),
            ("POST", "/market/bidder", r#"{"name":"b"}"#, "200 true"),
            ("DELETE", "/market/bidder/b", "", "200 true"),
            (
                "GET",
                "/market/item/boat",
                "",
                r#"404 {"message":"no boat","code":"com.example.error.not_found"}"#,
            ),
        ] {
            let answer = http.json(method, &format!("{prefix}{path}"), body).await;
            assert_eq!(answer.show(), expected, "{method} {prefix}{path}");
            assert_eq!(answer.header("access-control-allow-origin"), "*");
        }
        let answer = http
            .send("OPTIONS", &format!("{prefix}/market/item"), &[], "")
            .await;
        assert_eq!(answer.show(), "204");
        assert_eq!(answer.header("allow"), "OPTIONS, POST");
        assert_eq!(answer.header("access-control-max-age"), "86400");
    }
    assert_eq!(
        calls.lock().unwrap()[..6],
        [
            "com.market.get []",
            r#"com.market.item.sell ["a",1.5,"x"]"#,
            r#"com.market.item.get ["a"]"#,
            r#"com.market.item.bid ["a",2,"b"]"#,
            r#"com.market.bidder.add ["b"]"#,
            r#"com.market.bidder.gone ["b"]"#,
        ]
    );
    gateway.stop().await;
}
