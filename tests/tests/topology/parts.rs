//! Stages, exporters, pipelines and receivers that come, go and move while requests pass: none is refused, each is judged by one file.

use sluicebox::signal::Signal;
use sluicebox_tests::client::Protocol;
use sluicebox_tests::command::guest;
use sluicebox_tests::config::otlp;
use sluicebox_tests::engine::get;

use crate::lab::*;

const RATE: f64 = 150.0;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Each file drops other rings, by a stage that was added, renamed, moved or removed.
#[tokio::test(flavor = "multi_thread")]
async fn stages_come_go_and_move_under_load() {
    let sink = sink().await;
    let a = File::new(&sink, &[("filter/a", &drop_ring("blue"))]);
    let mut engine = start(&a).await;
    let traffic = Traffic::new(1);
    let load = Load::start(&lanes(&engine), &traffic, RATE, Bears::Nothing).await;
    let two = a.with(|file| {
        file.processors.push(("filter/b".into(), drop_ring("green")));
        file.pipelines[0].processors = names(&["filter/a", "filter/b"]);
    });
    let reordered = two.with(|file| file.pipelines[0].processors = names(&["filter/b", "filter/a"]));
    let merged = two.with(|file| {
        file.processors.push(("batch".into(), "timeout: 5ms".into()));
        file.pipelines[0].processors = names(&["filter/a", "batch", "filter/b"]);
    });
    let renamed = two.with(|file| {
        file.processors[1].0 = "filter/c".into();
        file.pipelines[0].processors = names(&["filter/a", "filter/c"]);
    });
    let none = a.with(|file| {
        file.processors.clear();
        file.pipelines[0].processors.clear();
    });
    let mut files = vec![&two, &reordered, &merged, &renamed, &none, &a];
    files.extend(files.clone());
    for file in files {
        load.pass(20).await;
        change(&mut engine, file).await.unwrap();
    }
    let requests = load.finish().await;
    let metrics = engine.settled_account(BOUND).await.unwrap();
    let counts = judged_by_one(&traffic, &sink, requests, &["blue", "blue green", ""]);
    assert_eq!(counts.len(), 3, "each kind of file judged some: {counts:?}");
    assert_eq!(metrics.sum("receiver_refused_items", &[]), 0);
    assert_eq!(metrics.sum("stage_generation", &[("stage", "filter/b")]), 0, "it is gone");
    assert_eq!(metrics.sum("stage_generation", &[("stage", "filter/a")]), 3, "it was gone twice, and came again");
}

/// Two stages on both sides of a `batch` that swap their rules: whatever waits in between, no request goes by neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_moves_to_another_stage_never_lets_a_request_through() {
    let sink = sink().await;
    let file = |first: &str, second: &str| {
        File::new(
            &sink,
            &[("filter/a", first), ("batch", "timeout: 20ms, send_batch_size: 100000"), ("filter/b", second)],
        )
    };
    let (blue, none) = (drop_ring("blue"), drop_ring("no ring has this name"));
    let files = [file(&blue, &none), file(&none, &blue)];
    let mut engine = start(&files[0]).await;
    let traffic = Traffic::new(2);
    // Many connections, as fast as they are answered: so requests wait for each other in the batch.
    let lanes: Vec<_> = (0..8).map(|_| (engine.addresses.grpc, Protocol::Grpc)).collect();
    let load = Load::start(&lanes, &traffic, 2_000.0, Bears::Nothing).await;
    for turn in 1..=12 {
        load.pass(15).await;
        change(&mut engine, &files[turn % 2]).await.unwrap();
    }
    let requests = load.finish().await;
    engine.settled_account(BOUND).await.unwrap();
    judged_by_one(&traffic, &sink, requests, &["blue"]);
}

/// Exporters and pipelines come and go; each request arrives wherever its file says, and nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn exporters_and_pipelines_come_and_go_under_load() {
    let [first, second] = [sink().await, sink().await];
    let one = File::new(&first, &[("filter/a", &drop_ring("blue"))]);
    let mut engine = start(&one).await;
    let traffic = Traffic::new(3);
    let load = Load::start(&lanes(&engine), &traffic, RATE, Bears::Nothing).await;
    let both = one.with(|file| {
        file.exporters.push(("otlp/second".into(), otlp(second.address, "")));
        file.pipelines[0].exporters.push("otlp/second".into());
    });
    let split = both.with(|file| {
        file.processors.push(("filter/b".into(), drop_ring("green")));
        file.pipelines[0].exporters.pop();
        file.pipelines.push(pipeline("traces/b", "otlp", &["filter/b"], "otlp/second"));
    });
    let renamed = split.with(|file| {
        file.exporters[1].0 = "otlp/other".into();
        file.pipelines[1].exporters = names(&["otlp/other"]);
        file.pipelines[1].name = "traces/c".into();
    });
    let changed = one.with(|file| *file.keys("otlp/sink") += ", sending_queue: { num_consumers: 3 }");
    for file in [&both, &split, &renamed, &split, &both, &one, &changed, &split, &one] {
        load.pass(20).await;
        change(&mut engine, file).await.unwrap();
    }
    let requests = load.finish().await;
    engine.settled_account(BOUND).await.unwrap();
    let seen = second.take_seen(Signal::Traces, traffic.run);
    assert_eq!(seen.duplicates, 0);
    let at_second = (0..requests).map(|number| traffic.dropped(number, &seen)).collect::<Vec<_>>();
    let all = "blue green stable canary";
    assert!(at_second.iter().all(|dropped| [all, "blue", "green"].contains(&dropped.as_str())), "{at_second:?}");
    assert!([all, "blue", "green"].iter().all(|kind| at_second.iter().any(|dropped| dropped == kind)));
    judged_by_one(&traffic, &first, requests, &["blue"]);
}

/// Another component under the same name, and then another exporter: what comes after is still fed (vector PR#25725).
#[tokio::test(flavor = "multi_thread")]
async fn edges_survive_kind_change() {
    let sink = sink().await;
    let component = |name: &str, config: &str| format!("component: {:?}, config: {{ {config} }}", guest(name).unwrap());
    let filter = component("filter", &drop_ring("blue"));
    let attributes = component("attributes", "actions: [{ key: deployment.ring, value: green, action: update }]");
    let file = |mine: &str| File::new(&sink, &[("wasm/mine", mine), ("filter/after", &drop_ring("green"))]);
    let mut engine = start(&file(&filter)).await;
    let (traffic, grpc) = (Traffic::new(4), engine.addresses.grpc);
    assert_eq!(traffic.one(&engine, grpc, &sink, 0).await, "blue green");
    change(&mut engine, &file(&attributes)).await.unwrap();
    assert_eq!(traffic.one(&engine, grpc, &sink, 1).await, "blue green stable canary", "all are green now");
    change(&mut engine, &file(&filter)).await.unwrap();
    assert_eq!(traffic.one(&engine, grpc, &sink, 2).await, "blue green");
    // The same for an exporter: HTTP in the place of gRPC needs another type, so the pipeline names another one.
    let over_http = file(&filter).with(|file| {
        let keys = format!("endpoint: \"http://{}\", compression: none", sink.address);
        file.exporters = vec![("otlphttp/sink".into(), keys)];
        file.pipelines[0].exporters = names(&["otlphttp/sink"]);
    });
    change(&mut engine, &over_http).await.unwrap();
    assert_eq!(traffic.one(&engine, grpc, &sink, 3).await, "blue green");
}

/// What the difference does not name goes on: generations, counters, connections on both sides (vector PR#25911).
#[tokio::test(flavor = "multi_thread")]
async fn swap_touches_only_its_stage() {
    let sink = sink().await;
    let nothing = drop_ring("no ring has this name");
    let base = File::new(&sink, &[("filter/a", &drop_ring("blue")), ("filter/b", &nothing), ("filter/c", &nothing)]);
    let mut engine = start(&base).await;
    let traffic = Traffic::new(5);
    // One request at a time, so that one connection to the sink is enough.
    let load = Load::start(&[(engine.addresses.grpc, Protocol::Grpc)], &traffic, RATE, Bears::Nothing).await;
    load.pass(10).await;
    let connections = sink.connections();
    let calls = |metrics: &sluicebox_tests::account::Metrics| metrics.sum("stage_calls", &[("stage", "filter/a")]);
    let mut before = calls(&engine.metrics().await.unwrap());
    let swapped = base.with(|file| *file.keys("filter/b") = drop_ring("green"));
    let added = swapped.with(|file| {
        file.processors.push(("filter/d".into(), nothing.clone()));
        file.pipelines[0].processors.insert(0, "filter/d".into());
        file.pipelines.push(pipeline("logs", "otlp", &[], "otlp/sink"));
    });
    let removed = added.with(|file| file.pipelines[0].processors.retain(|name| name != "filter/c"));
    for (file, b) in [(&swapped, 2), (&added, 2), (&removed, 2)] {
        change(&mut engine, file).await.unwrap();
        load.pass(10).await;
        let metrics = engine.metrics().await.unwrap();
        for (stage, generation) in [("filter/a", 1), ("filter/b", b)] {
            let of = |name: &str| metrics.sum(name, &[("stage", stage)]);
            assert_eq!((of("stage_generation"), of("stage_swaps")), (generation, generation - 1), "{stage}");
        }
        assert!(calls(&metrics) > before, "its counters go on");
        before = calls(&metrics);
        assert_eq!(sink.connections(), connections, "the exporter keeps its connection");
    }
    let requests = load.finish().await;
    engine.settled_account(BOUND).await.unwrap();
    judged_by_one(&traffic, &sink, requests, &["blue", "blue green"]);
    let live = |m: &sluicebox_tests::account::Metrics| m.sum("stage_generations_live", &[]) == 3;
    engine.until(BOUND, "only what serves is live: a, b, d", live).await.unwrap();
    let status = get(engine.addresses.admin, "/v1/status").await.unwrap();
    assert!(status.contains("filter/d") && !status.contains("filter/c"), "{status}");
}
