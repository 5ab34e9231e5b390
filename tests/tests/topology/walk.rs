//! A random walk over files under light load: at each step no request is refused, and what arrives is as the file says.

use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use sluicebox::signal::Signal;
use sluicebox_tests::config::otlp;
use sluicebox_tests::sink::Sink;
use sluicebox_tests::soak_factor;

use crate::lab::*;

/// Files of a walk, unless a soak asks for more.
const STEPS: u64 = 25;
const RATE: f64 = 60.0;
const ALL: &str = "blue green stable canary";

/// Any file: up to two pipelines behind `otlp`, each with some filters in some order, maybe with `batch` between them, to one sink or
/// both; exporters with some options; maybe another receiver on `more`, and a byte budget. With what each sink misses of a request.
fn any_file(rng: &mut StdRng, sinks: &[Sink; 2], more: SocketAddr) -> (File, [String; 2]) {
    let mut file = File::new(&sinks[0], &[]);
    file.exporters.clear();
    file.pipelines.clear();
    file.exporters.push((
        "otlp/0".into(),
        otlp(sinks[0].address, any(rng, &["", "timeout: 3s", "sending_queue: { num_consumers: 2 }"])),
    ));
    file.exporters
        .push(("otlp/1".into(), otlp(sinks[1].address, any(rng, &["", "sending_queue: { queue_size: 777 }"]))));
    let batch = format!("timeout: {}ms", any(rng, &["1", "4", "9"]));
    file.processors.push(("batch".into(), batch));
    let mut misses = [None, None];
    // A sink hears of one pipeline at most, so that nothing arrives there twice.
    let mut free = vec![0, 1];
    free.shuffle(rng);
    for number in 0..rng.random_range(1..=2) {
        let of_this: Vec<_> =
            free.drain(..if number == 0 { rng.random_range(1..=free.len()) } else { free.len() }).collect();
        if of_this.is_empty() {
            break;
        }
        let name = any(rng, &["traces/a", "traces/b", "traces/c"]).to_owned();
        if file.pipelines.iter().any(|known| known.name == name) {
            continue;
        }
        let mut dropped = Vec::new();
        let mut processors = Vec::new();
        for _ in 0..rng.random_range(0..=3) {
            let stage = format!("filter/{}", any(rng, &["a", "b", "c", "d"]));
            if file.processors.iter().any(|(known, _)| *known == stage) {
                continue;
            }
            let ring = *RINGS.choose(rng).expect("some");
            file.processors.push((stage.clone(), drop_ring(ring)));
            processors.push(stage);
            dropped.push(ring);
        }
        if rng.random() {
            processors.insert(rng.random_range(0..=processors.len()), "batch".to_owned());
        }
        let gone: Vec<_> = RINGS.into_iter().filter(|ring| dropped.contains(ring)).collect();
        of_this.iter().for_each(|&sink| misses[sink] = Some(gone.join(" ")));
        let exporters = of_this.iter().map(|sink| format!("otlp/{sink}")).collect();
        file.pipelines.push(Pipeline { name, receivers: vec!["otlp".into()], processors, exporters });
    }
    if rng.random() {
        file.receivers.push(("otlp/more".into(), grpc_alone(&more.to_string())));
        file.pipelines[0].receivers.insert(rng.random_range(0..=1), "otlp/more".into());
    }
    if rng.random() {
        let keys = format!("check_interval: 1s, limit_mib: {}", any(rng, &["500", "600"]));
        file.processors.push(("memory_limiter".into(), keys));
        file.pipelines[0].processors.insert(0, "memory_limiter".into());
    }
    (file, misses.map(|misses| misses.unwrap_or_else(|| ALL.to_owned())))
}

fn any<'a>(rng: &mut StdRng, of: &[&'a str]) -> &'a str {
    of.choose(rng).copied().expect("some")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_over_files() {
    let sinks = [sink().await, sink().await];
    let more = free_address();
    let mut rng = StdRng::seed_from_u64(6);
    let (file, mut misses) = any_file(&mut rng, &sinks, more);
    let mut engine = start(&file).await;
    let traffic = Traffic::new(1);
    let load = Load::start(&lanes(&engine), &traffic, RATE, Bears::Nothing).await;
    let mut allowed = vec![misses.clone()];
    for step in 0..STEPS * soak_factor() {
        let (file, next) = any_file(&mut rng, &sinks, more);
        load.pass(4).await;
        change(&mut engine, &file).await.unwrap_or_else(|said| panic!("step {step}: {said}"));
        // The next request is judged by the new file alone.
        let asked = Traffic::new(2);
        let body = asked.workload.request(asked.run, step);
        let grpc = sluicebox_tests::client::Protocol::Grpc;
        let answer =
            sluicebox_tests::client::send_once(engine.addresses.grpc, grpc, Signal::Traces, body).await.unwrap();
        assert!(matches!(answer, sluicebox_tests::client::Answer::Accepted { .. }), "step {step}: {answer:?}");
        misses = next;
        for (sink, misses) in sinks.iter().zip(&misses) {
            arrives(&asked, sink, step, misses).await;
        }
        allowed.push(misses.clone());
    }
    let requests = load.finish().await;
    let metrics = engine.settled_account(BOUND).await.unwrap();
    assert_eq!(metrics.sum("receiver_refused_items", &[]), 0);
    let seen = sinks.each_ref().map(|sink| sink.take_seen(Signal::Traces, traffic.run));
    assert_eq!(seen.each_ref().map(|seen| seen.duplicates), [0, 0]);
    for number in 0..requests {
        let missed = seen.each_ref().map(|seen| traffic.dropped(number, seen));
        assert!(allowed.contains(&missed), "request {number}: {missed:?} by no file");
    }
}

/// Waits until a request has arrived as it should: what is dropped of it is `misses`.
async fn arrives(traffic: &Traffic, sink: &Sink, number: u64, misses: &str) {
    let missing = misses.split_whitespace().count();
    let end = tokio::time::Instant::now() + BOUND;
    loop {
        let seen = sink.take_seen(Signal::Traces, traffic.run);
        if missing == RINGS.len() {
            // Nothing is to arrive, which later checks see, too.
            return assert_eq!(seen.items, 0, "request {number}");
        }
        if seen.items > 0 {
            return assert_eq!(traffic.dropped(number, &seen), misses, "request {number}");
        }
        assert!(tokio::time::Instant::now() < end, "request {number} does not arrive");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
