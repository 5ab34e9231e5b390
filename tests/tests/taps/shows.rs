//! What a tap shows, of which stages, and how soon.

use std::time::Duration;

use serde_json::json;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, Plan, Steady};
use sluicebox_tests::command::guest;
use sluicebox_tests::config::Config;
use sluicebox_tests::generate::{Shape, Workload};
use sluicebox_tests::sink::{Behaviour, Sink};

use crate::support::{BOUND, FILTER, Tap, all_of, check_counts, filter_and_editor, keeping, send, spans, start, with};

const NONE: &[(&str, &str)] = &[];

/// One request after the other, each only once the last was shown: so each is shown before anything else comes. And one record among a
/// hundred thousand, while they keep coming.
#[tokio::test(flavor = "multi_thread")]
async fn tap_shows_first_event_at_once() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = start(&filter_and_editor(sink.address), "full").await;
    let (mut tap, _) = Tap::open(&engine, json!({ "stage": FILTER, "rate_per_second": 1, "seconds": 600 })).await;
    for name in ["first", "second", "third"] {
        // One a second is the rate, so the others have to wait for their turn.
        send(&engine, spans([(name, NONE)])).await;
        if name == "first" {
            let shown = tap.found().await.unwrap();
            assert_eq!((&shown["before"]["span.name"], &shown["number"]), (&json!("first"), &json!(1)));
        }
    }
    drop(tap);

    let workload = Workload::new(Shape { items_per_request: 500, ..Shape::new(Signal::Traces) });
    let load = Steady::start(engine.addresses.grpc, &workload, 1, Plan { time: BOUND, ..Plan::grpc(u64::MAX) });
    let needle = json!({ "where": "span.name == \"needle\"", "limit": 1, "seconds": 600 });
    let (mut tap, _) = Tap::open(&engine, with(json!({ "stage": FILTER, "point": "before" }), &needle)).await;
    let mut looked_at = 0;
    while looked_at < 100_000 {
        let line = tap.next().await.unwrap();
        looked_at = line["progress"]["seen"].as_u64().unwrap_or(looked_at);
        assert!(line.get("match").is_none(), "{line}");
    }
    // A needle may be in a batch that comes by while the queue is full: that is told, and another one is sent.
    let found = async {
        while let Some(line) = tap.next().await {
            if line.get("match").is_some() {
                return line;
            }
        }
        panic!("it ended");
    };
    let keeps_sending = async {
        loop {
            send(&engine, spans([("needle", NONE)])).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let line = tokio::select! {
        line = tokio::time::timeout(BOUND, found) => line.unwrap(),
        () = keeps_sending => unreachable!("it never ends"),
    };
    assert_eq!(line["match"]["before"]["span.name"], "needle");
    load.stop().await.unwrap();
}

/// Each processor that judges is tapped by the same hook; `batch` and `memory_limiter` say whom to ask.
#[tokio::test(flavor = "multi_thread")]
async fn every_stage_is_tappable() {
    let sink = keeping().await;
    let owners = std::env::temp_dir().join(format!("owners-{}.csv", std::process::id()));
    std::fs::write(&owners, "name,team\nhello,greeters\n").unwrap();
    let lookup = format!(
        "tables: {{ owners: {{ file: \"{}\", key: name }} }}, table: owners, key: span.name, set: {{ team: team }}",
        owners.display()
    );
    let wasm = format!("component: {}, grants: [state], config: {{ behaviour: noop }}", guest("misbehaving").unwrap());
    let policy =
        format!("{{ name: mine, component: {}, config: {{ behaviour: keep }} }}", guest("misbehaving-policy").unwrap());
    let sampler = format!("decision_wait: 20ms, policies: [{policy}, {{ name: all, type: always_sample }}]");
    let stages = [
        ("memory_limiter", "check_interval: 1s, limit_mib: 1000"),
        ("attributes", "actions: [{ key: a, value: b, action: insert }]"),
        ("filter", "error_mode: ignore, traces: { span: ['name == \"no\"'] }"),
        ("lookup", lookup.as_str()),
        ("probabilistic_sampler", "sampling_percentage: 100"),
        ("rate_limiting", "items_per_second: 100000"),
        ("redaction", "allow_all_keys: true"),
        ("resource", "attributes: [{ key: c, value: d, action: insert }]"),
        ("wasm/mine", wasm.as_str()),
        ("tail_sampling", sampler.as_str()),
        ("batch", "timeout: 10ms"),
    ];
    let mut config = Config::new();
    for (name, keys) in stages {
        config = config.processor_of(Signal::Traces, name, keys);
    }
    let engine = start(&config.sink(sink.address, ""), "full").await;
    let tapped = stages.iter().map(|(name, _)| *name).chain(["tail_sampling:mine"]);
    let tapped: Vec<_> = tapped.filter(|name| !matches!(*name, "batch" | "memory_limiter")).collect();
    for (number, stage) in tapped.into_iter().enumerate() {
        let (mut tap, begun) = Tap::open(&engine, json!({ "stage": stage, "seconds": 600, "limit": 1 })).await;
        // Each time another trace: a sampler decides each once.
        let name = format!("hello {number}");
        let mut body = vec![(name.as_str(), NONE); number + 1];
        body.reverse();
        assert_eq!(send(&engine, spans(body)).await, Answer::Accepted { warning: None });
        let shown = tap.found().await.unwrap_or_else(|| panic!("{stage} shows nothing"));
        match begun["kind"].as_str().unwrap() {
            "processor" => assert_eq!(shown["before"]["span.name"], name.as_str(), "{stage}: {shown}"),
            kind => {
                assert_eq!(kind, if stage == "tail_sampling" { "sampler" } else { "policy" });
                assert_eq!((&shown["fate"], shown["spans"].as_u64().unwrap()), (&json!("kept"), 1), "{shown}");
                assert!(shown["records"][0]["span.name"].as_str().unwrap().starts_with("hello"), "{shown}");
                assert!(shown["trigger"].is_string() && shown["trace_id"].as_str().unwrap().len() == 32, "{shown}");
            }
        }
        let (more, end) = tap.rest().await;
        assert_eq!((more.len(), &end["end"]), (0, &json!("limit")), "{stage}: {end}");
        check_counts(1, &end);
    }
    for (stage, _) in [stages[0], stages[10]] {
        let (status, refusal) = Tap::try_open(&engine, all_of(stage, 1)).await.err().unwrap();
        assert_eq!((status, &refusal["code"]), (404, &json!("E0536")));
        assert!(refusal["help"].as_str().unwrap().contains("before or behind"), "{refusal}");
    }
    std::fs::remove_file(owners).unwrap();
}

/// Conditions are asked of the side that is shown; with a difference, of both.
#[tokio::test(flavor = "multi_thread")]
async fn where_is_asked_of_what_is_shown() {
    let sink = keeping().await;
    let engine = start(&filter_and_editor(sink.address), "full").await;
    let edited = "span.attributes[\"edit\"] == \"edited\"";
    let came = "span.attributes[\"edit\"] == \"raw\"";
    for (point, condition, shows) in [
        ("before", came, true),
        ("before", edited, false),
        ("after", came, false),
        ("after", edited, true),
        ("diff", came, true),
        ("diff", edited, true),
    ] {
        let asked = json!({ "stage": "attributes/edits", "point": point, "where": condition, "seconds": 2 });
        let (tap, _) = Tap::open(&engine, asked).await;
        send(&engine, spans([("changes", &[("edit", "raw")][..]), ("stays", NONE)])).await;
        let (found, end) = tap.rest().await;
        assert_eq!(found.len(), usize::from(shows), "{point} {condition}: {end}");
        assert_eq!((&end["seen"], &end["lost"], &end["end"]), (&json!(2), &json!(0), &json!("time")));
        check_counts(found.len(), &end);
        for one in found {
            assert_eq!(
                (one.get("before").is_some(), one.get("after").is_some()),
                (point != "after", point != "before")
            );
            let change = json!([{ "path": "span.attributes[\"edit\"]", "before": "raw", "after": "edited" }]);
            assert_eq!(one["changes"], if point == "diff" { change } else { json!(null) }, "{one}");
        }
    }
}
