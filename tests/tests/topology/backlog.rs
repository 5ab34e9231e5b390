//! Changes while a destination does not take anything: they are in force at once, and what waits arrives where it was meant for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, Protocol};
use sluicebox_tests::config::otlp;
use sluicebox_tests::sink::{Behaviour, Sink};

use crate::lab::*;

/// Takes nothing until it is opened: it asks to be tried again.
async fn closed_sink() -> (Sink, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&open);
    let script = move |_: &_| {
        let answer = match is_open.load(Ordering::Relaxed) {
            true => Answer::Accepted { warning: None },
            false => Answer::Retry { after: None, message: "closed".to_owned() },
        };
        (Duration::ZERO, answer)
    };
    (Sink::start(Behaviour { script: Some(Arc::new(script)), ..Behaviour::default() }).await.unwrap(), open)
}

/// A stuck exporter with a backlog: a stage is swapped, others are added, the exporter itself is replaced; nothing waits for it, and
/// nothing of the backlog is lost (vector#15952, #24125).
#[tokio::test(flavor = "multi_thread")]
async fn swap_with_backlog_finishes() {
    let (stuck, open) = closed_sink().await;
    let next = sink().await;
    let queue = "sending_queue: { queue_size: 1000, num_consumers: 1 }";
    let base = File::new(&stuck, &[("filter/a", &drop_ring("blue"))])
        .with(|file| *file.keys("otlp/sink") = otlp(stuck.address, queue));
    let mut engine = start(&base).await;
    let traffic = Traffic::new(1);
    let load = Load::start(&[(engine.addresses.grpc, Protocol::Grpc)], &traffic, 200.0, Bears::Nothing).await;
    load.pass(20).await;
    let swapped = base.with(|file| *file.keys("filter/a") = drop_ring("green"));
    let added = swapped.with(|file| {
        file.processors.push(("filter/b".into(), drop_ring("stable")));
        file.pipelines[0].processors.push("filter/b".into());
    });
    let elsewhere = added.with(|file| *file.keys("otlp/sink") = otlp(next.address, queue));
    for file in [&swapped, &added, &elsewhere] {
        change(&mut engine, file).await.unwrap();
        load.pass(20).await;
    }
    assert_eq!(stuck.items(Signal::Traces, traffic.run), 0, "all of it happened while it was stuck");
    open.store(true, Ordering::Relaxed);
    let requests = load.finish().await;
    engine.settled_account(BOUND).await.unwrap();
    let [before, after] = [&stuck, &next].map(|sink| sink.take_seen(Signal::Traces, traffic.run));
    assert_eq!((before.duplicates, after.duplicates), (0, 0));
    let all = "blue green stable canary";
    let mut moved = 0;
    for number in 0..requests {
        match [&before, &after].map(|seen| traffic.dropped(number, seen)).each_ref().map(String::as_str) {
            ["blue" | "green" | "green stable", gone] if gone == all => {}
            [gone, "green stable"] if gone == all => moved += 1,
            dropped => panic!("request {number}: {dropped:?}"),
        }
    }
    assert!(moved >= 10, "{moved} requests went to the new destination");
}

/// What a removed exporter cannot send before the end of the drain is dropped, and counted; the file that comes after is in force.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_removed_exporter_cannot_send_is_counted() {
    let (stuck, _never) = closed_sink().await;
    let next = sink().await;
    let base = File::new(&next, &[]).with(|file| {
        file.exporters.push(("otlp/stuck".into(), otlp(stuck.address, "sending_queue: { queue_size: 1000 }")));
        file.pipelines[0].exporters.push("otlp/stuck".into());
    });
    let mut engine =
        sluicebox_tests::engine::Engine::start_with(&base.text(), &["--drain-timeout", "1"]).await.unwrap();
    let traffic = Traffic::new(1);
    let load = Load::start(&lanes(&engine), &traffic, 200.0, Bears::Nothing).await;
    load.pass(20).await;
    let without = base.with(|file| {
        file.exporters.pop();
        file.pipelines[0].exporters.pop();
    });
    change(&mut engine, &without).await.unwrap();
    load.pass(20).await;
    let requests = load.finish().await;
    let metrics = engine.settled_account(BOUND).await.unwrap();
    let of = |name: &str| metrics.sum(name, &[("exporter", "otlp/stuck")]);
    let dropped = metrics.sum("exporter_dropped_items", &[("exporter", "otlp/stuck"), ("reason", "shutdown")]);
    assert!(dropped > 0);
    assert_eq!((of("exporter_handed_over_items"), of("exporter_queued_items")), (dropped, 0));
    judged_by_one(&traffic, &next, requests, &[""]);
}
