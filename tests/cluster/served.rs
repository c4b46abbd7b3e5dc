//! Three whole gateways on a cluster of three servers: what one's admin API accepts, all serve; and
//! they serve on whatever becomes of the servers.

use std::time::Duration;

use serde_json::json;
use tokio::join;

use crate::http::Answer;
use crate::servers::Servers;
use crate::whole::{Backend, Whole, api, json_of, until};

/// How long a change may take until all serve it: within a second, unless the machine is busy with
/// other things as well.
const CONVERGED: Duration = Duration::from_secs(5);

async fn all_serve(gateways: &[Whole], id: &str, text: Option<&str>) -> Duration {
    let mut longest = Duration::ZERO;
    for gateway in gateways {
        longest = longest.max(gateway.serves(id, text).await);
    }
    longest
}

fn done(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.show());
}

/// Changes until it is done: elections may take longer than a write waits.
async fn load_at_last(gateway: &Whole, id: &str, text: &str) {
    until("change at last", async || {
        let answer = gateway.load(id, text).await;
        match answer.status.as_u16() {
            200 | 201 => Some(()),
            503 => None,
            _ => panic!("{}", answer.show()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_gateway_accepts_all_serve() {
    let Some(servers) = Servers::three() else {
        return;
    };
    let backend = Backend::start().await;
    let url = servers.url("served");
    let gateways = backend.three(&url).await;
    let [one, two, three] = &gateways;

    // Loaded, replaced and deleted through different ones.
    done(&one.load("a", "1").await, 201);
    let mut times = vec![all_serve(&gateways, "a", Some("1")).await];
    for (gateway, text) in gateways.iter().cycle().zip(["2", "3", "4", "5", "6"]) {
        done(&gateway.load("a", text).await, 200);
        times.push(all_serve(&gateways, "a", Some(text)).await);
    }
    done(&three.ask("DELETE", "/api_specs/a").await, 204);
    times.push(all_serve(&gateways, "a", None).await);
    times.sort();
    eprintln!("accepted by one, served by three after {times:?}");
    assert!(times[times.len() / 2] < CONVERGED, "{times:?}");

    // Of two who have seen the same one wins, and the other hears of it; also one after the other.
    done(&one.load("b", "0").await, 201);
    all_serve(&gateways, "b", Some("0")).await;
    let seen = two.ask("GET", "/api_specs/b").await;
    let tag = [("if-match", seen.header("etag"))];
    let path = "/api_specs/b";
    let (from_one, from_two) = (api("b", "one"), api("b", "two"));
    let (first, second) = join!(
        one.change_if("PUT", path, &tag, &from_one),
        two.change_if("PUT", path, &tag, &from_two),
    );
    let (winner, loser) = if first.status == 200 {
        ("one", second)
    } else {
        done(&second, 200);
        ("two", first)
    };
    done(&loser, 412);
    all_serve(&gateways, "b", Some(winner)).await;
    done(
        &three.change_if("PUT", path, &tag, &api("b", "x")).await,
        412,
    );
    done(
        &three
            .change_if("DELETE", path, &tag, &serde_json::Value::Null)
            .await,
        412,
    );

    // At once through all: each has its own, all of it is there, and of what they share one counts.
    let own = async |gateway: &Whole, name: &str| {
        for number in 0..4 {
            done(&gateway.load(&format!("{name}{number}"), name).await, 201);
            let shared = gateway.load("shared", name).await;
            // Who finds somebody else faster again and again is told.
            assert!(
                [200, 201, 409].contains(&shared.status.as_u16()),
                "{}",
                shared.show()
            );
        }
    };
    join!(own(one, "x"), own(two, "y"), own(three, "z"));
    for name in ["x", "y", "z"] {
        for number in 0..4 {
            all_serve(&gateways, &format!("{name}{number}"), Some(name)).await;
        }
    }
    let etag = async |gateway: &Whole| {
        let answer = gateway.ask("GET", "/api_specs/shared").await;
        answer.header("etag").to_owned()
    };
    let shared = until("one that counts", async || {
        let (a, b, c) = join!(etag(one), etag(two), etag(three));
        (a == b && b == c).then_some(())
    });
    shared.await;
    let shared = one.get("shared").await;
    all_serve(&gateways, "shared", shared.as_deref()).await;

    // They know of each other, and of one that ends.
    let known = one.lists(3).await;
    assert_eq!(two.lists(3).await, known);
    let [one, two, three] = gateways;
    three.stop().await;
    let left = one.lists(2).await;
    assert!(left.is_subset(&known), "{left:?} of {known:?}");
    assert_eq!(two.lists(2).await, left);
    for gateway in [one, two] {
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_serve_on_whatever_becomes_of_the_servers() {
    let Some(mut servers) = Servers::three() else {
        return;
    };
    let backend = Backend::start().await;
    let url = servers.url("on");
    let gateways = backend.three(&url).await;
    done(&gateways[0].load("a", "1").await, 201);
    all_serve(&gateways, "a", Some("1")).await;

    // One dies: nothing is noticed, neither by requests nor by changes.
    let other = (servers.leader("on").await + 1) % 3;
    servers.kill(other);
    for (gateway, text) in gateways.iter().zip(["x", "y", "z"]) {
        done(&gateway.load("a", text).await, 200);
        all_serve(&gateways, "a", Some(text)).await;
    }
    servers.start(other);

    // All stop in the middle of what they do: a change that is open then is told to be so.
    (0..3).for_each(|number| servers.freeze(number));
    let open = gateways[0].load("open", "1").await;
    done(&open, 503);
    let problem = json_of(&open);
    assert_eq!(
        problem["type"], "urn:wampgate:problem:outcome-unknown",
        "{problem}"
    );
    for gateway in &gateways {
        gateway.is_store("degraded").await;
        gateway.refuses().await;
        gateway.is_ready_though_store_is("degraded").await;
        assert_eq!(gateway.get("a").await.as_deref(), Some("z"));
    }
    (0..3).for_each(|number| servers.thaw(number));
    for gateway in &gateways {
        gateway.is_store("ready").await;
    }
    // What comes later counts, whether the open one was done or not.
    load_at_last(&gateways[1], "open", "2").await;
    all_serve(&gateways, "open", Some("2")).await;

    // All die: everything serves, also through a gateway that is started then.
    servers.kill_all();
    let [one, two, three] = gateways;
    let folder = three.stop().await;
    let gateways = [one, two, backend.gateway_in(&url, folder).await];
    for gateway in &gateways {
        gateway.is_store("degraded").await;
        let problem = gateway.refuses().await;
        assert_eq!(problem["code"], "wampgate.error.store_unavailable");
        gateway.serves("a", Some("z")).await;
        gateway.serves("open", Some("2")).await;
        gateway.is_ready_though_store_is("degraded").await;
    }
    servers.start_rest();
    for gateway in &gateways {
        gateway.is_store("ready").await;
    }
    load_at_last(&gateways[2], "back", "1").await;
    all_serve(&gateways, "back", Some("1")).await;

    // They come back empty: nothing changes until one is told whose contents count.
    for choice in ["gateway", "store"] {
        servers.wipe();
        servers.start_rest();
        for gateway in &gateways {
            gateway.is_store("held").await;
            let problem = gateway.refuses().await;
            assert_eq!(problem["code"], "wampgate.error.store_held");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("`POST /store/confirm`"), "{detail}");
            gateway.is_ready_though_store_is("held").await;
            assert_eq!(gateway.get("a").await.as_deref(), Some("z"));
        }
        until("confirmation", async || {
            let choice = json!({ "use": choice });
            let answer = gateways[1].change("POST", "/store/confirm", &choice).await;
            match answer.status.as_u16() {
                204 => Some(()),
                // The servers are electing.
                503 => None,
                _ => panic!("{}", answer.show()),
            }
        })
        .await;
        let serves = (choice == "gateway").then_some("z");
        for gateway in &gateways {
            gateway.is_store("ready").await;
        }
        all_serve(&gateways, "a", serves).await;
    }
    for gateway in gateways {
        gateway.stop().await;
    }
}
