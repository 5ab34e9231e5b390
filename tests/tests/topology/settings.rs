//! Settings of the process that are live: the byte budget, the log level.

use sluicebox_tests::engine::get;

use crate::lab::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_byte_budget_follows_the_file() {
    let sink = sink().await;
    let base = File::new(&sink, &[]);
    let limited = |mebibytes: u64| {
        base.with(|file| {
            let keys = format!("check_interval: 1s, limit_mib: {mebibytes}, spike_limit_mib: 1");
            file.processors.push(("memory_limiter".into(), keys));
            file.pipelines[0].processors.push("memory_limiter".into());
        })
    };
    let mut engine = start(&base).await;
    let limit =
        async |engine: &sluicebox_tests::engine::Engine| engine.metrics().await.unwrap().sum("memory_limit_bytes", &[]);
    let before = limit(&engine).await;
    for mebibytes in [65, 129] {
        change(&mut engine, &limited(mebibytes)).await.unwrap();
        assert_eq!(limit(&engine).await, (mebibytes - 1) << 20);
    }
    let traffic = Traffic::new(1);
    assert_eq!(traffic.one(&engine, engine.addresses.grpc, &sink, 0).await, "");
    // Without a limiter it is what the machine has to give, about as much as before.
    change(&mut engine, &base).await.unwrap();
    assert!(limit(&engine).await > 129 << 20 || before <= 129 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_level_follows_the_file() {
    let sink = sink().await;
    let loud = File::new(&sink, &[("filter/a", &drop_ring("blue"))]);
    let quiet = |ring: &str| {
        loud.with(|file| {
            file.telemetry = file.telemetry.replace("info", "error");
            *file.keys("filter/a") = drop_ring(ring);
        })
    };
    let mut engine = start(&loud).await;
    for (generation, ring) in [(2, "green"), (3, "stable")] {
        // It tells nothing at this level, so that its metrics have to.
        engine.rewrite(&quiet(ring).text()).unwrap();
        engine.process.signal(rustix::process::Signal::HUP);
        let serves = |m: &sluicebox_tests::account::Metrics| m.sum("stage_generation", &[]) == generation;
        engine.until(BOUND, "the quiet file is in force", serves).await.unwrap();
    }
    let said = engine.process.stderr();
    assert!(!said.contains("swapped") && !said.contains("in force"), "{said}");
    change(&mut engine, &loud).await.unwrap();
    assert!(engine.process.stderr().contains("changed \"service.telemetry.logs.level\""));
    assert!(get(engine.addresses.admin, "/livez").await.is_ok());
}
