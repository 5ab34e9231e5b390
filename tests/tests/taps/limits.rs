//! What taps are bounded by, and what is refused.

use std::time::Instant;

use serde_json::{Value, json};
use sluicebox_tests::client::Answer;
use sluicebox_tests::engine::{Engine, ask};

use crate::support::{
    BOUND, EDITOR, FILTER, Tap, all_of, check_counts, filter_and_editor, keeping, send, spans, start, with,
};

async fn engine() -> (sluicebox_tests::sink::Sink, Engine) {
    let sink = keeping().await;
    let engine = start(&filter_and_editor(sink.address), "full").await;
    (sink, engine)
}

async fn refused(engine: &Engine, request: Value) -> (u16, Value) {
    Tap::try_open(engine, request).await.err().expect("it is refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_eight_and_hanging_up_frees_one() {
    let (_sink, engine) = engine().await;
    let mut taps = Vec::new();
    for _ in 0..8 {
        taps.push(Tap::open(&engine, all_of(FILTER, 600)).await);
    }
    let (status, refusal) = refused(&engine, all_of(FILTER, 1)).await;
    assert_eq!((status, &refusal["code"]), (429, &json!("E0537")), "{refusal}");
    // All of them are shown the same.
    send(&engine, spans([("one", &[][..])])).await;
    for (tap, _) in &mut taps {
        assert_eq!(tap.found().await.unwrap()["before"]["span.name"], "one");
    }
    drop(taps.pop());
    let end = Instant::now() + BOUND;
    while let Err((status, _)) = Tap::try_open(&engine, all_of(FILTER, 600)).await {
        assert!(status == 429 && Instant::now() < end);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_say_what_is_wrong() {
    let (_sink, engine) = engine().await;
    let of = |more: Value| with(json!({ "stage": FILTER }), &more);
    for (request, status, code, says) in [
        (of(json!({ "limit": 0 })), 422, "E0539", "1 to 10000"),
        (of(json!({ "limit": 10_001 })), 422, "E0539", "limit"),
        (of(json!({ "rate_per_second": 1_001 })), 422, "E0539", "1 to 1000"),
        (of(json!({ "seconds": 601 })), 422, "E0539", "1 to 600"),
        (of(json!({ "signal": "spans" })), 422, "E0539", "traces, metrics or logs"),
        (of(json!({ "point": "after", "only": "dropped" })), 422, "E0539", "before or diff"),
        (of(json!({ "where": "span.nonsense == 1" })), 422, "E0538", "where"),
        (of(json!({ "where": "x".repeat(20_000) })), 422, "E0539", "at most"),
        (json!({ "stage": "filter/none" }), 404, "E0536", EDITOR),
        (of(json!({ "pipeline": "traces/none" })), 404, "E0536", "traces/none"),
        (of(json!({ "signal": "logs" })), 404, "E0536", "logs"),
        (of(json!({ "only": "lost" })), 422, "E0524", "lost"),
        (of(json!({ "unknown": 1 })), 422, "E0524", "unknown"),
    ] {
        let (found, refusal) = refused(&engine, request.clone()).await;
        assert_eq!((found, refusal["code"].as_str().unwrap()), (status, code), "{request}: {refusal}");
        assert!(refusal.to_string().contains(says), "{request}: {refusal}");
    }
    // What the component says of a wrong condition is told.
    let (_, refusal) = refused(&engine, of(json!({ "where": "span.nonsense == 1" }))).await;
    assert!(refusal["causes"].to_string().contains("nonsense"), "{refusal}");
    let (status, _) = ask(engine.addresses.admin, "/v1/taps", "application/json").await.unwrap();
    assert_eq!(status, 405, "reading changes nothing and shows nothing");
}

/// Of many at once a sample is shown, spread over them, and the numbers say so.
#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_rate_is_sampled_and_counted() {
    const ITEMS: usize = 400;
    let (_sink, engine) = engine().await;
    let (tap, _) = Tap::open(&engine, json!({ "stage": FILTER, "rate_per_second": 5, "seconds": 2 })).await;
    let names: Vec<_> = (0..ITEMS).map(|n| n.to_string()).collect();
    let answer = send(&engine, spans(names.iter().map(|name| (name.as_str(), &[][..])))).await;
    assert_eq!(answer, Answer::Accepted { warning: None });
    let (found, end) = tap.rest().await;
    let shown: Vec<usize> =
        found.iter().map(|one| one["before"]["span.name"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(shown, [0, 80, 160, 240, 320], "the first, and the rest evenly");
    assert_eq!((&end["seen"], &end["matched"], &end["sent"]), (&json!(ITEMS), &json!(ITEMS), &json!(5)));
    check_counts(found.len(), &end);
}

/// Who does not read costs nobody anything: what comes by meanwhile is counted, in the stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_counted_in_the_stream() {
    const REQUESTS: usize = 60;
    let (_sink, engine) = engine().await;
    let (mut tap, _) = Tap::open(&engine, all_of(FILTER, 20)).await;
    let text = "x".repeat(400_000);
    for request in 0..REQUESTS {
        let (request, attributes) = (request.to_string(), [("text", text.as_str())]);
        let answer = send(&engine, spans([(request.as_str(), &attributes[..]), ("two", &[][..])])).await;
        assert_eq!(answer, Answer::Accepted { warning: None });
    }
    let (mut found, mut lost) = (0, 0);
    let end = loop {
        let line = tap.next().await.unwrap();
        if line.get("end").is_some() {
            break line;
        }
        found += usize::from(line.get("match").is_some());
        lost += line["lost"].as_u64().unwrap_or(0);
    };
    let of = |key: &str| end[key].as_u64().unwrap();
    assert_eq!(of("seen") + of("lost"), 2 * REQUESTS as u64, "{end}");
    assert!(of("lost") > 0 && lost <= of("lost"), "{lost}: {end}");
    check_counts(found, &end);
}
