//! Three gateways on a cluster of three servers that die, stop and come back.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use wampgate::store::{Expect, Store, WriteError};

use crate::gateways::{Gateway, PATIENCE, write};
use crate::servers::Servers;

async fn all_serve(gateways: &[Gateway], expected: &[(&str, &str)]) {
    for gateway in gateways {
        gateway.serves(expected).await;
    }
}

/// Writes until it is done: elections may take longer than a write waits.
async fn put_at_last(gateway: &Gateway, id: &str, text: &str) {
    let done = timeout(PATIENCE, async {
        loop {
            match gateway.put(id, text).await {
                Ok(_) => return,
                Err(WriteError::Unavailable(_) | WriteError::Unknown(_)) => {
                    let mut state = gateway.store.state();
                    let change = state.changed();
                    timeout(Duration::from_millis(100), change).await.ok();
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
    done.await.expect("it can be written at last");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_converge_and_survive_servers_that_die() {
    let Some(mut servers) = Servers::three() else {
        return;
    };
    let url = servers.url("dying");
    let gateways = Gateway::three(&url).await;
    let [one, two, three] = &gateways;

    // Loaded, replaced and deleted on different gateways, it is so on all.
    one.put("a", "1").await.unwrap();
    two.put("b", "1").await.unwrap();
    all_serve(&gateways, &[("a", "1"), ("b", "1")]).await;
    three.put("a", "2").await.unwrap();
    one.delete("b").await.unwrap();
    all_serve(&gateways, &[("a", "2")]).await;
    let mut times = Vec::new();
    for number in 0..10 {
        let text = number.to_string();
        one.put("a", &text).await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "real servers keep real time")]
        let begin = Instant::now();
        all_serve(&gateways, &[("a", &text)]).await;
        times.push(begin.elapsed());
    }
    times.sort();
    assert!(times[5] < Duration::from_secs(1), "{times:?}");

    // One dies that does not lead: nothing is noticed.
    let leader = servers.leader("dying").await;
    let other = (leader + 1) % 3;
    servers.kill(other);
    for (gateway, text) in gateways.iter().zip(["u", "v", "w"]) {
        gateway.put("a", text).await.unwrap();
    }
    all_serve(&gateways, &[("a", "w")]).await;
    servers.start(other);
    // The leader dies: what is served stays, and when the others have elected writes go on.
    servers.kill(leader);
    for (gateway, text) in gateways.iter().zip(["x", "y", "z"]) {
        put_at_last(gateway, "a", text).await;
    }
    all_serve(&gateways, &[("a", "z")]).await;
    servers.start(leader);

    // All die: all is served, and a write says at once that it was not done.
    servers.kill_all();
    for gateway in &gateways {
        gateway.state("degraded").await;
        gateway.refuses("NATS").await;
        gateway.serves(&[("a", "z")]).await;
    }
    let [one, two, three] = gateways;
    let gateways = [one, two, three.restart().await];
    gateways[2].serves(&[("a", "z")]).await;
    gateways[2].refuses("NATS").await;

    servers.start_rest();
    for gateway in &gateways {
        gateway.ready().await;
    }
    gateways[2].put("b", "back").await.unwrap();
    all_serve(&gateways, &[("a", "z"), ("b", "back")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_an_outage_and_an_open_write_is_unknown() {
    let Some(mut servers) = Servers::three() else {
        return;
    };
    let gateways = Gateway::three(&servers.url("frozen")).await;
    gateways[0].put("a", "1").await.unwrap();
    all_serve(&gateways, &[("a", "1")]).await;

    // The leader stops in the middle of what it does: the others elect.
    let leader = servers.leader("frozen").await;
    servers.freeze(leader);
    for (gateway, text) in gateways.iter().zip(["x", "y", "z"]) {
        put_at_last(gateway, "a", text).await;
    }
    all_serve(&gateways, &[("a", "z")]).await;
    servers.thaw(leader);
    // It still takes itself for the leader, and may tell old things for a moment: nobody believes it.
    for gateway in &gateways {
        gateway.ready().await;
        put_at_last(gateway, "a", "z").await;
    }
    all_serve(&gateways, &[("a", "z")]).await;

    // All stop: nothing says whether an open write is done.
    (0..3).for_each(|number| servers.freeze(number));
    let result = gateways[0].put("open", "1").await;
    assert!(matches!(result, Err(WriteError::Unknown(_))), "{result:?}");
    for gateway in &gateways {
        gateway.state("degraded").await;
        gateway.refuses("").await;
        gateway.serves(&[("a", "z")]).await;
    }
    (0..3).for_each(|number| servers.thaw(number));
    for gateway in &gateways {
        gateway.ready().await;
    }
    // Done or not, it is the same on all, and what was written with it in view comes after it.
    put_at_last(&gateways[1], "open", "2").await;
    all_serve(&gateways, &[("a", "z"), ("open", "2")]).await;

    // Wiped: held.
    servers.wipe();
    servers.start_rest();
    for gateway in &gateways {
        gateway.state("held").await;
        gateway.serves(&[("a", "z"), ("open", "2")]).await;
    }
    let confirm = gateways[2]
        .store
        .confirm(wampgate::store::Confirm::Gateway, "ann".to_owned());
    confirm.await.unwrap();
    for gateway in &gateways {
        gateway.ready().await;
    }
    all_serve(&gateways, &[("a", "z"), ("open", "2")]).await;
}

/// Clusters before nats-server 2.9.21 do not keep two writes apart that name the same entry of a key.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_writes_over_the_same_revision_one_is_refused() {
    let Some(servers) = Servers::three() else {
        return;
    };
    let gateways = Gateway::three(&servers.url("raced")).await;
    let [one, two, _] = &gateways;
    let mut last = one.put("a", "0").await.unwrap().revision;
    for _ in 0..50 {
        for gateway in [one, two] {
            let shows = |contents: &wampgate::store::Contents| contents.revision >= last;
            gateway.shows("the last", shows).await;
        }
        let over = |text| write("a", Some(text), Expect::Revision(last));
        let results = tokio::join!(one.store.write(over("x")), two.store.write(over("y")));
        last = match results {
            (Ok(record), Err(WriteError::Conflict { .. }))
            | (Err(WriteError::Conflict { .. }), Ok(record)) => record.revision,
            results => panic!("{results:?}"),
        };
    }
}
