//! Rates against counted traffic.

use serde_json::Value;
use sluicebox::signal::Signal;
use sluicebox_tests::config::{Config, drop_spans};
use sluicebox_tests::engine::Engine;
use sluicebox_tests::generate::EARLY_RULE;

use crate::lab::{BOUND, named, page, send, sink, until, workload};

const FILTER: &str = "filter/health";

/// The count of a rate, which is as much for each second of the window.
fn counted(rate: &Value, graph: &Value) -> u64 {
    let (count, per_second) = (rate["count"].as_u64().unwrap(), rate["per_second"].as_f64().unwrap());
    let seconds = graph["window_seconds"].as_f64().unwrap();
    assert!((per_second * seconds - count as f64).abs() < 1e-6 * (count as f64 + 1.0), "{rate} in {seconds} s");
    assert_eq!(rate["total"], rate["count"], "the process is younger than the window");
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_are_what_was_sent() {
    const REQUESTS: u64 = 40;
    let sink = sink().await;
    let config = Config::new().processor_of(Signal::Traces, FILTER, &drop_spans(EARLY_RULE)).sink(sink.address, "");
    let engine = Engine::start(&config.text()).await.unwrap();
    let load = workload(Signal::Traces, 64);
    let (sent, dropped) = (REQUESTS * load.items_per_request(), load.matching(REQUESTS));
    send(&engine, &load, 1, REQUESTS).await;
    engine.settled_account(BOUND).await.unwrap();
    assert!(dropped > 0 && sink.items(Signal::Traces, 1) == sent - dropped);

    let graph = page(&engine, "/v1/graph?window=5m").await;
    let of = |id: &str, key: &str| counted(&named(&graph["nodes"], "id", id)["numbers"][key], &graph);
    let stage = format!("step:traces:{FILTER}");
    assert_eq!((of("receiver:otlp", "items_in"), of("receiver:otlp", "items_out")), (sent, sent));
    assert_eq!(
        (of(&stage, "items_in"), of(&stage, "dropped"), of(&stage, "items_out")),
        (sent, dropped, sent - dropped)
    );
    assert_eq!(
        (of("exporter:otlp/sink", "items_in"), of("exporter:otlp/sink", "items_out")),
        (sent - dropped, sent - dropped)
    );
    let calls = of(&stage, "calls");
    assert!((1..=REQUESTS).contains(&calls), "{calls}");
    let spent = named(&graph["nodes"], "id", &stage)["numbers"]["guest_nanoseconds_per_item"].as_f64().unwrap();
    assert!(spent > 0.0);

    let edges = graph["edges"].as_array().unwrap();
    let edge = |from: &str, to: &str| {
        let found: Vec<_> = edges.iter().filter(|edge| edge["from"] == from && edge["to"] == to).collect();
        assert_eq!(found.len(), 1, "{from} -> {to}: {graph:#}");
        found[0].clone()
    };
    assert_eq!(counted(&edge("receiver:otlp", &stage)["rate"], &graph), sent);
    assert_eq!(counted(&edge(&stage, "exporter:otlp/sink")["rate"], &graph), sent - dropped);
    let drops = edge(&stage, "dropped");
    assert_eq!(counted(&drops["rate"], &graph), dropped);
    assert_eq!((&drops["drop"]["reason"], &drops["drop"]["intended"]), (&Value::from("rule"), &Value::from(true)));
    // Nothing went through the other pipelines.
    let idle = named(&page(&engine, "/v1/status?window=5m").await["pipelines"], "pipeline", "logs").clone();
    assert_eq!(idle["items_in"]["per_second"], 0.0);
}

/// linkerd2 PR#459: what came once in a long window is little, and not nothing.
#[tokio::test(flavor = "multi_thread")]
async fn one_item_is_never_a_rate_of_0() {
    let sink = sink().await;
    let config = Config::new().processor_of(Signal::Logs, "redaction", "allow_all_keys: true").sink(sink.address, "");
    let engine = Engine::start(&config.text()).await.unwrap();
    send(&engine, &workload(Signal::Logs, 1), 1, 1).await;
    engine.settled_account(BOUND).await.unwrap();
    let graph = page(&engine, "/v1/graph?window=300s").await;
    for edge in graph["edges"].as_array().unwrap().iter().filter(|edge| edge["pipeline"] == "logs") {
        assert!(edge["rate"]["count"] == 1 && edge["rate"]["per_second"].as_f64().unwrap() > 0.0, "{edge}");
    }
    let done = engine.command(&["status", "--window", "5m"]).await.unwrap();
    let line = done.stdout.lines().find(|line| line.trim_start().starts_with("logs ")).unwrap();
    let cells: Vec<_> = line.split_whitespace().collect();
    assert!(cells[2] != "0" && cells[3] != "0" && cells[4] == "0", "{line}");
}

/// A window that begins after what was sent has none of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_not_in_a_later_window() {
    let sink = sink().await;
    let engine = Engine::start(&Config::new().sink(sink.address, "").text()).await.unwrap();
    send(&engine, &workload(Signal::Traces, 8), 1, 3).await;
    engine.settled_account(BOUND).await.unwrap();
    let entered = |status: &Value| named(&status["pipelines"], "pipeline", "traces")["items_in"].clone();
    let over =
        until(&engine, "/v1/status?window=1s", "the window has passed", |status| entered(status)["count"] == 0).await;
    assert_eq!((entered(&over)["total"].as_u64(), entered(&over)["per_second"].as_f64()), (Some(24), Some(0.0)));
}
