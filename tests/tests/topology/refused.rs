//! Files that cannot be had, or that no running engine can follow: nothing of them holds, and the next good file works at once.

use std::net::TcpListener;

use serde_json::Value;
use sluicebox_tests::config::otlp;
use sluicebox_tests::engine::{Engine, get};

use crate::lab::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_file_leaves_everything_untouched() {
    let sink = sink().await;
    let sampler = "policies: [{ name: some, type: status_code, status_code: { status_codes: [ERROR] } }]";
    let base = File::new(&sink, &[("filter/a", &drop_ring("blue"))]).with(|file| {
        file.processors.push(("tail_sampling".into(), sampler.into()));
        file.receivers.push(("otlp/b".into(), grpc_alone("127.0.0.1:0")));
        file.pipelines.push(pipeline("traces/b", "otlp/b", &["tail_sampling"], "otlp/sink"));
    });
    let mut engine = start(&base).await;
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let held = holder.local_addr().unwrap().to_string();
    let tls = "endpoint: \"https://localhost:1\", tls: { ca_file: no-such.pem }";
    // Each beside a change that could be had by itself.
    let good = base.with(|file| {
        *file.keys("filter/a") = drop_ring("green");
        file.processors.push(("filter/new".into(), drop_ring("stable")));
        file.pipelines[0].processors.push("filter/new".into());
        file.receivers.push(("otlp/new".into(), grpc_alone("127.0.0.1:0")));
        file.pipelines[0].receivers.push("otlp/new".into());
        *file.keys("otlp/sink") = otlp(sink.address, "timeout: 1s");
    });
    let cases: [(&str, File, &[&str]); 7] = [
        ("no file", good.with(|file| file.keys("otlp/new").clear()), &["is not valid"]),
        (
            "held port",
            good.with(|file| *file.keys("otlp/new") = grpc_alone(&held)),
            &["at step bind", "receiver otlp/new: cannot listen on", &held],
        ),
        (
            "unreadable CA",
            good.with(|file| *file.keys("otlp/sink") = tls.into()),
            &["at step export", "exporter \"otlp/sink\"", "no-such.pem"],
        ),
        (
            "changed stage",
            good.with(|file| *file.keys("filter/a") = drop_ring("x").replace("==", "===")),
            &["stage \"filter/a\" failed at step configure", "generation 1 is still serving"],
        ),
        (
            "new stage",
            good.with(|file| *file.keys("filter/new") = drop_ring("x").replace("==", "===")),
            &["new stage \"filter/new\" failed at step configure"],
        ),
        (
            "metrics address",
            good.with(|file| file.telemetry = file.telemetry.replace("$METRICS", "127.0.0.1:1")),
            &["also changes \"service.telemetry.metrics\", line ", "takes a restart"],
        ),
        (
            "shards",
            good.with(|file| *file.keys("tail_sampling") += ", num_shards: 3"),
            &["also changes processor \"tail_sampling\", line ", "num_shards", "takes a restart"],
        ),
    ];
    let (traffic, grpc) = (Traffic::new(1), engine.addresses.grpc);
    let status = serving(&engine).await;
    let mut number = 0;
    for (what, file, told) in &cases {
        let before = engine.metrics().await.unwrap();
        let Err(said) = change(&mut engine, file).await else { panic!("{what} is refused") };
        for part in *told {
            assert!(said.contains(part), "{what}: {part:?} is not in\n{said}");
        }
        assert_eq!(serving(&engine).await, status, "{what}");
        assert_eq!(traffic.one(&engine, grpc, &sink, number).await, "blue", "{what}");
        let after = engine.metrics().await.unwrap();
        for name in ["stage_generation", "stage_generations_live", "memory_limit_bytes"] {
            assert_eq!(after.sum(name, &[]), before.sum(name, &[]), "{what}: {name}");
        }
        number += 1;
    }
    change(&mut engine, &good).await.unwrap();
    assert_eq!(traffic.one(&engine, grpc, &sink, number).await, "green stable");
    change(&mut engine, &base).await.unwrap();
    assert_eq!(traffic.one(&engine, grpc, &sink, number + 1).await, "blue");
}

/// What serves, without what goes on by itself: rates and times.
async fn serving(engine: &Engine) -> [Value; 2] {
    let status: Value = serde_json::from_str(&get(engine.addresses.admin, "/v1/status").await.unwrap()).unwrap();
    ["stages", "tail_samplers"].map(|key| {
        assert!(status[key].as_array().is_some_and(|of| !of.is_empty()), "{status}");
        status[key].clone()
    })
}
