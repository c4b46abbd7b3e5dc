//! What is asked of each router and callee, and what each gives.

use wampgate::value::{Map, Value};

use super::{Ask, But, Case, but, bytes, kwargs};

pub(super) const CASES: &[Case] = &[
    Case {
        what: "integers of 64 bits",
        ask: Ask::Http(
            "POST",
            "/test/echo",
            "[9007199254740993, -9007199254740993, 9223372036854775807, 9223372036854775808]",
        ),
        gives: r#"200 {"args":[[9007199254740993,-9007199254740993,9223372036854775807,9223372036854775808],"second"],"kwargs":{"body":[9007199254740993,-9007199254740993,9223372036854775807,9223372036854775808],"length":79}}"#,
        but: &[
            but("fox/*", ROUNDED, "all numbers of this router are doubles"),
            but("*/autobahn_js", ROUNDED, "and so are JSON's in JavaScript"),
        ],
    },
    Case {
        what: "2^64 - 1",
        ask: Ask::Http("POST", "/test/wide", "18446744073709551615"),
        gives: "200 [18446744073709551615,1]",
        but: &[
            but(
                "crossbar/autobahn_js",
                "504 bondy.error.timeout",
                "JavaScript answers 18446744073709552000, which the router cannot write as MessagePack",
            ),
            but(
                "fox/*",
                r#"200 {"args":[1.8446744073709552e+19,1],"kwargs":{}}"#,
                "doubles",
            ),
            but("*/autobahn_js", "200 [1.8446744073709552e+19,1]", "doubles"),
        ],
    },
    Case {
        what: "integers from 2^32 to 2^53",
        ask: Ask::Http("POST", "/test/echo", "[4294967296, 9007199254740991]"),
        gives: r#"200 {"args":[[4294967296,9007199254740991],"second"],"kwargs":{"body":[4294967296,9007199254740991],"length":30}}"#,
        but: &[],
    },
    Case {
        what: "integers of the callee",
        ask: Ask::Http("GET", "/test/big", ""),
        gives: "200 [18446744073709551615,9223372036854775808,9223372036854775807,-9223372036854775808,9007199254740993]",
        but: &[
            but(
                "crossbar/autobahn_js",
                "504 bondy.error.timeout",
                "as with 2^64 - 1: never answered",
            ),
            but(
                "fox/*",
                r#"200 {"args":[1.8446744073709552e+19,9223372036854776000,9223372036854776000,-9.223372036854776e+18,9007199254740992],"kwargs":{}}"#,
                "doubles; and a list that is the only argument is taken for the list of arguments",
            ),
            but(
                "*/autobahn_js",
                "200 [1.8446744073709552e+19,9223372036854776000,9223372036854776000,-9.223372036854776e+18,9007199254740992]",
                "doubles",
            ),
        ],
    },
    Case {
        what: "values in values",
        ask: Ask::Http(
            "POST",
            "/test/echo",
            r#"["nested", [[]], {"a": {}}, null, true, 1.5, 1e300, "ü☃\u0000"]"#,
        ),
        gives: r#"200 {"args":[["nested",[[]],{"a":{}},null,true,1.5,1e+300,"ü☃\u0000"],"second"],"kwargs":{"body":["nested",[[]],{"a":{}},null,true,1.5,1e+300,"ü☃\u0000"],"length":66}}"#,
        but: &[],
    },
    Case {
        what: "null",
        ask: Ask::Http("POST", "/test/echo", "null"),
        gives: r#"200 {"args":[null,"second"],"kwargs":{"body":null,"length":4}}"#,
        but: &[],
    },
    Case {
        what: "a megabyte there and back",
        ask: Ask::Do(|cell| Box::pin(cell.megabyte())),
        gives: "200 the same",
        but: &[],
    },
    Case {
        what: "no arguments",
        ask: Ask::Do(|cell| Box::pin(cell.call("echo", vec![], Map::new()))),
        gives: "[] {}",
        but: &[],
    },
    Case {
        what: "named arguments only",
        ask: Ask::Do(|cell| Box::pin(cell.call("echo", vec![], kwargs()))),
        gives: r#"[] {"named":true}"#,
        but: &[],
    },
    Case {
        what: "one argument that is a list",
        ask: Ask::Do(|cell| {
            Box::pin(cell.call("echo", vec![Value::List(vec![Value::I64(1)])], Map::new()))
        }),
        gives: "[[1]] {}",
        but: &[but(
            "fox/*",
            "[1] {}",
            "it is taken for the list of arguments",
        )],
    },
    Case {
        what: "an empty result",
        ask: Ask::Http("GET", "/test/nothing", ""),
        gives: r#"200 {"args":[],"kwargs":{}}"#,
        but: &[],
    },
    Case {
        what: "a null result",
        ask: Ask::Http("GET", "/test/null", ""),
        gives: "200 null",
        but: &[but(
            "fox/*",
            r#"200 {"args":[],"kwargs":{}}"#,
            "null as the only argument is none",
        )],
    },
    Case {
        what: "bytes there and back",
        ask: Ask::Do(|cell| {
            Box::pin(cell.call("echo", vec![bytes(), "second".into()], Map::new()))
        }),
        gives: r#"["AID/","second"] {}"#,
        but: &[but(
            "xconn/autobahn_js",
            "wamp.error.canceled [] {}",
            NO_BYTES_IN_JSON,
        )
        .and_costs_session()],
    },
    Case {
        what: "bytes that the callee turns round",
        ask: Ask::Do(|cell| Box::pin(cell.call("binary", vec![bytes()], Map::new()))),
        gives: r#"["/4AA"] {}"#,
        but: &[
            but(
                "xconn/autobahn_js",
                "wamp.error.canceled [] {}",
                NO_BYTES_IN_JSON,
            )
            .and_costs_session(),
            but("fox/python", r#"["/4AA"] {}"#, "as it should"),
            but(
                "fox/*",
                r#"["string"] {}"#,
                "JavaScript's libraries have no bytes in JSON",
            ),
            but(
                "*/autobahn_js",
                r#"["string"] {}"#,
                "JavaScript's libraries have no bytes in JSON",
            ),
        ],
    },
    Case {
        what: "bytes of the callee",
        ask: Ask::Do(|cell| Box::pin(cell.bytes())),
        gives: "200 256 bytes",
        but: &[
            but("fox/python", "200 256 bytes", "as it should"),
            but(
                "fox/*",
                "200 a map of 256 members",
                "JavaScript's libraries have no bytes in JSON",
            ),
            but(
                "*/autobahn_js",
                "200 a map of 256 members",
                "JavaScript's libraries have no bytes in JSON",
            ),
        ],
    },
    Case {
        what: "an error with arguments",
        ask: Ask::Http("POST", "/test/fail", r#"{"big": 9007199254740993}"#),
        gives: r#"409 {"args":[1,"two"],"kwargs":{"body":{"big":9007199254740993}},"uri":"com.example.test.error.no"}"#,
        but: &[
            but(
                "fox/*",
                r#"409 {"args":["com.example.test.error.no"],"kwargs":{},"uri":"wamp.error.callee_failure"}"#,
                "it has but one error, with the callee's as its argument",
            ),
            but(
                "*/autobahn_js",
                r#"409 {"args":[1,"two"],"kwargs":{"body":{"big":9007199254740992}},"uri":"com.example.test.error.no"}"#,
                "doubles",
            ),
        ],
    },
    Case {
        what: "an error that the API does not know",
        ask: Ask::Http("POST", "/test/fail-plainly", "{}"),
        gives: "500 com.example.test.error.no",
        but: &[but(
            "fox/*",
            "500 wamp.error.callee_failure",
            "it has but one error",
        )],
    },
    Case {
        what: "nobody offers it",
        ask: Ask::Http("GET", "/test/any/nobody", ""),
        gives: "501 wamp.error.no_such_procedure",
        but: &[],
    },
    Case {
        what: "the error's arguments then",
        ask: Ask::Do(|cell| Box::pin(cell.call("nobody", vec![], Map::new()))),
        gives: r#"wamp.error.no_such_procedure ["no callee registered for procedure <com.example.test.nobody>"] {}"#,
        but: &[
            but(
                "embedded/*",
                r#"wamp.error.no_such_procedure ["nobody has registered `com.example.test.nobody`"] {}"#,
                "its own words",
            ),
            but(
                "xconn/*",
                "wamp.error.no_such_procedure [] {}",
                "it says nothing more",
            ),
        ],
    },
    Case {
        what: "we publish",
        ask: Ask::Do(|cell| Box::pin(cell.publish())),
        gives: r#"202 "published", heard: [{"what":1},"second"] {"length":11}"#,
        but: &[],
    },
    Case {
        what: "we subscribe",
        ask: Ask::Do(|cell| Box::pin(cell.hear())),
        gives: r#"[] {}, heard: [1] {"named":true}"#,
        but: &[],
    },
    Case {
        what: "progressive results",
        ask: Ask::Do(|cell| Box::pin(cell.progress())),
        gives: r#"part [1] {}, part [2] {}, part [3] {}, ["done"] {}"#,
        but: &[],
    },
    Case {
        what: "progressive results for who takes none",
        ask: Ask::Do(|cell| Box::pin(cell.call("progress", vec![Value::I64(3)], Map::new()))),
        gives: r#"["done"] {}"#,
        but: &[
            but("xconn/wampy", "wamp.error.canceled [] {}", SENDS_UNASKED).and_costs_session(),
            but(
                "embedded/wampy",
                r#"wamp.error.canceled ["the callee is gone"] {}"#,
                SENDS_UNASKED,
            )
            .and_costs_session(),
        ],
    },
    Case {
        what: "our progressive results",
        ask: Ask::Do(|cell| {
            Box::pin(cell.call(
                "gather",
                vec!["com.example.ours.progress".into()],
                Map::new(),
            ))
        }),
        gives: r#"[[[1,2,3],"done"]] {}"#,
        but: &[but(
            "fox/*",
            r#"[[1,2,3],"done"] {}"#,
            "a list as the only argument",
        )],
    },
    Case {
        what: "we are called",
        ask: Ask::Do(|cell| Box::pin(cell.relayed("com.example.ours.echo"))),
        gives: r#"[1,"two"] {"named":true}"#,
        but: &[],
    },
    Case {
        what: "we are called and fail",
        ask: Ask::Do(|cell| Box::pin(cell.relayed("com.example.ours.fail"))),
        gives: r#"com.example.error.no [1,"two"] {"named":true}"#,
        but: &[but(
            "fox/*",
            r#"wamp.error.callee_failure ["wamp.error.callee_failure"] {}"#,
            "it has but one error",
        )],
    },
    Case {
        what: "we are called and interrupted: kill",
        ask: Ask::Do(|cell| Box::pin(cell.given_up("kill"))),
        gives: r#"["wamp.error.canceled"] {}, interrupted"#,
        but: &[
            but(
                "fox/wampy",
                r#"["Feature not supported"] {}, not interrupted"#,
                NO_CANCEL,
            ),
            but(
                "fox/autobahn_js",
                "no answer within 2s, not interrupted",
                NO_CANCEL,
            ),
            but(
                "fox/python",
                r#"["Cancelled"] {}, not interrupted"#,
                NO_CANCEL,
            ),
            but(
                "*/python",
                r#"["Cancelled"] {}, interrupted"#,
                "the library does not wait",
            ),
        ],
    },
    Case {
        what: "we are called and interrupted: killnowait",
        ask: Ask::Do(|cell| Box::pin(cell.given_up("killnowait"))),
        gives: r#"["wamp.error.canceled"] {}, interrupted"#,
        but: &[
            but(
                "fox/wampy",
                r#"["Feature not supported"] {}, not interrupted"#,
                NO_CANCEL,
            ),
            but("fox/*", r#"["Cancelled"] {}, not interrupted"#, NO_CANCEL),
            but(
                "*/python",
                r#"["Cancelled"] {}, interrupted"#,
                "the library does not wait",
            ),
            but(
                "*/autobahn_js",
                r#"["Cancelled"] {}, interrupted"#,
                "nor does this, which takes the router's answer for a violation",
            )
            .and_costs_session(),
        ],
    },
    Case {
        what: "the deadline",
        ask: Ask::Do(|cell| Box::pin(cell.deadline())),
        gives: "504",
        but: &[
            but("xconn/python", "504", "as it should"),
            but("xconn/*", "504", INTERRUPTS_ALL).and_costs_session(),
        ],
    },
    Case {
        what: "the callee is interrupted then",
        ask: Ask::Do(|cell| Box::pin(cell.interrupts(1))),
        gives: "[1] {}",
        but: CANNOT_BE_INTERRUPTED,
    },
    Case {
        what: "the client leaves",
        ask: Ask::Do(|cell| Box::pin(cell.leave())),
        gives: "gone",
        but: &[
            but("xconn/python", "gone", "as it should"),
            but("xconn/*", "gone", INTERRUPTS_ALL).and_costs_session(),
        ],
    },
    Case {
        what: "the callee is interrupted again",
        ask: Ask::Do(|cell| Box::pin(cell.interrupts(2))),
        gives: "[2] {}",
        but: CANNOT_BE_INTERRUPTED,
    },
    Case {
        what: "calls that the router has not settled",
        ask: Ask::Do(|cell| Box::pin(cell.unsettled())),
        gives: "0",
        but: &[
            but("fox/*", "2", NO_CANCEL),
            but("crossbar/python", "0", "as it should"),
            but(
                "crossbar/*",
                "2",
                "no answer to CANCEL if the callee cannot be interrupted",
            ),
        ],
    },
    Case {
        what: "canceled by skip",
        ask: Ask::Do(|cell| Box::pin(cell.skip())),
        gives: "0 unsettled",
        but: &[
            but("fox/*", "1 unsettled", NO_CANCEL),
            but("crossbar/*", "1 unsettled", "no answer to CANCEL by skip"),
        ],
    },
    Case {
        what: "what arrives of attributes of our own",
        ask: Ask::Do(|cell| Box::pin(cell.custom())),
        gives: r#"[{}] {"named":true}, heard: [{}] {"named":true}"#,
        but: &[but(
            "embedded/*",
            CUSTOM,
            "ours passes them on; others drop them, and nobody takes offence",
        )],
    },
    Case {
        what: "we publish nothing",
        ask: Ask::Do(|cell| Box::pin(cell.publish_nothing())),
        gives: "[] {}",
        but: &[but(
            "fox/python",
            "no answer within 2s",
            "the event has null for its arguments, which the library takes for a violation",
        )
        .and_costs_session()],
    },
    Case {
        what: "the callee dies",
        ask: Ask::Do(|cell| Box::pin(cell.die())),
        gives: "400 wamp.error.canceled",
        but: &[but("fox/*", "504 bondy.error.timeout", "it never answers")],
    },
    Case {
        what: "nobody is left",
        ask: Ask::Http("POST", "/test/echo", "1"),
        gives: "501 wamp.error.no_such_procedure",
        but: &[],
    },
    Case {
        what: "another callee comes",
        ask: Ask::Do(|cell| Box::pin(cell.succeed())),
        gives: r#"200 {"args":[1,"second"],"kwargs":{"body":1,"length":1}}"#,
        but: &[],
    },
    Case {
        what: "the sessions are as they were",
        ask: Ask::Do(|cell| Box::pin(cell.state())),
        gives: "0 reconnects, 0 in flight, 0 malformed; 0 reconnects, 0 in flight, 0 malformed",
        but: &[],
    },
];

const CUSTOM: &str = r#"[{"_request_id":"r-1","_traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}] {"named":true}, heard: [{"_request_id":"r-1","_traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}] {"named":true}"#;
const ROUNDED: &str = r#"200 {"args":[[9007199254740992,-9007199254740992,9223372036854776000,9223372036854776000],"second"],"kwargs":{"body":[9007199254740992,-9007199254740992,9223372036854776000,9223372036854776000],"length":79}}"#;
const NO_BYTES_IN_JSON: &str = "the router has no bytes in JSON, and drops who should get them";
const SENDS_UNASKED: &str = "the library sends them unasked, and the router drops it for that";
const NO_CANCEL: &str = "the router cancels nothing, and does not announce it";
const INTERRUPTS_ALL: &str = "the router sends INTERRUPT also to who does not announce it, and these take it for a violation";
const CANNOT_BE_INTERRUPTED: &[But] = &[
    but("fox/*", "[0] {}", NO_CANCEL),
    but(
        "*/wampy",
        "[0] {}",
        "the library cannot be interrupted, and does not announce it",
    ),
    but(
        "*/autobahn_js",
        "[0] {}",
        "the library cannot be interrupted, and does not announce it",
    ),
];
