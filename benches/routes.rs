//! Does a large route table match as fast as a small one? How long does it take to load, and how long
//! when one spec of a thousand changes?
//!
//! Rounds of both tables are interleaved, so that whatever else the machine does hits both; the
//! median of the rounds counts, and the ratio more than the figures.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use wampgate::catalog::installed::{Installed, Sources};
use wampgate::catalog::{Catalog, SourceText};
use wampgate::gateway::table::{RouteTable, Target};
use wampgate::gateway::target;

const SMALL: usize = 10;
const LARGE: usize = 10_000;
const ROUNDS: usize = 15;
const MATCHES: usize = 200_000;

fn main() {
    let (small, _) = load(SMALL);
    let (large, took) = load(LARGE);
    println!("loading {LARGE} routes: {:.2} s", took.as_secs_f64());
    let (small_paths, large_paths) = (paths(SMALL), paths(LARGE));
    // Once for the caches.
    round(&small, &small_paths);
    round(&large, &large_paths);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        times[0].push(round(&small, &small_paths));
        times[1].push(round(&large, &large_paths));
    }
    let [small, large] = times.map(median);
    println!("matching among {SMALL} routes:    {small:6.0} ns");
    println!("matching among {LARGE} routes: {large:6.0} ns");
    println!("ratio: {:.2}", large / small);
    change_one_of(1_000);
}

/// Loads specs with ten routes each, and then changes one of them again and again.
fn change_one_of(count: usize) {
    let text = |index: usize, version: usize| {
        let path = |path: usize| {
            format!(
                r#""{}": {{"get": {{"action": {{"type": "wamp_call", "procedure": "com.p{version}",
                "args": ["{{{{request.path}}}}"]}}}}}}"#,
                pattern(path)
            )
        };
        let paths: Vec<String> = (0..SMALL).map(path).collect();
        format!(
            r#"{{"id": "api{index}", "host": "_", "realm_uri": "com.example", "versions": {{"1": {{
            "base_path": "/api{index}", "paths": {{{}}}}}}}}}"#,
            paths.join(", ")
        )
    };
    let file = |name: String, text: String| SourceText { name, text };
    let mut sources = Sources {
        spec_files: (0..count)
            .map(|index| file(format!("{index}.json"), text(index, 0)))
            .collect(),
        realm_files: vec![file(
            "r.json".to_owned(),
            r#"{"uri": "com.example"}"#.to_owned(),
        )],
        ..Sources::default()
    };
    let swap = |sources: &Sources, previous: Option<&Installed>, before: &RouteTable| {
        let start = Instant::now();
        let installed = Installed::compile(sources.clone(), previous, &|_| None);
        let table = RouteTable::build_after(installed.catalog.routes(), before);
        assert_eq!(installed.rejected(), (0, 0));
        (installed, table, start.elapsed().as_secs_f64() * 1e3)
    };
    let (mut installed, mut table, first) = swap(&sources, None, &RouteTable::default());
    let mut times = Vec::new();
    for round in 1..=ROUNDS {
        sources.spec_files[count / 2].text = text(count / 2, round);
        let (next, after, took) = swap(&sources, Some(&installed), &table);
        (installed, table) = (next, after);
        times.push(took);
    }
    println!(
        "loading {count} specs of {SMALL} routes: {first:.0} ms; when one changes: {:.0} ms",
        median(times)
    );
}

/// A spec with `count` routes: literals, variables and a rest, as real ones have.
fn load(count: usize) -> (RouteTable, Duration) {
    let mut paths = String::new();
    for index in 0..count {
        let comma = if index == 0 { "" } else { "," };
        let path = pattern(index);
        write!(
            paths,
            r#"{comma}"{path}": {{"get": {{"action": {{"type": "wamp_call", "procedure":
            "com.example.procedure{index}", "args": ["{{{{request.path}}}}"]}}}}}}"#
        )
        .expect("a String takes all");
    }
    let text = format!(
        r#"{{"id": "bench", "host": "_", "realm_uri": "com.example",
        "versions": {{"1": {{"base_path": "/v1", "paths": {{{paths}}}}}}}}}"#
    );
    let source = SourceText {
        name: "bench.json".to_owned(),
        text,
    };
    let start = Instant::now();
    let catalog = Catalog::load(&[source], &|_| None);
    let table = RouteTable::build(catalog.routes());
    let took = start.elapsed();
    assert_eq!(
        catalog.findings(),
        Vec::<&wampgate::diagnostic::Diagnostic>::new()
    );
    (table, took)
}

fn pattern(index: usize) -> String {
    match index % 3 {
        0 => format!("/resource{index}"),
        1 => format!("/resource{index}/:id"),
        _ => format!("/resource{index}/:id/items/:item"),
    }
}

/// Requests that hit every route in turn. The same count for every table: more of them would
/// measure how the paths themselves fit into the processor's caches.
fn paths(count: usize) -> Vec<String> {
    let step = (count / SMALL).max(1);
    let hit = |index: usize| format!("/v1{}", pattern(index * step).replace(':', "x"));
    (0..SMALL).map(hit).collect()
}

/// Nanoseconds for each match.
fn round(table: &RouteTable, paths: &[String]) -> f64 {
    let start = Instant::now();
    for path in paths.iter().cycle().take(MATCHES) {
        let segments = target::segments(black_box(path)).expect("a good path");
        let target = Target {
            host: "api.example.org",
            segments: &segments,
        };
        assert!(black_box(table.find(&target)).is_some(), "{path}");
    }
    start.elapsed().as_secs_f64() * 1e9 / MATCHES as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
