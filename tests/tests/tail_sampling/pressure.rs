//! Every trace fails, twice as much comes as memory holds, and the sink is slow: the bound holds, drops are counted, errors arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{self, Answer, Plan, Settled};
use sluicebox_tests::sink::{Attempt, Behaviour};
use sluicebox_tests::soak_factor;
use sluicebox_tests::traces::{Shape, Traces};

use crate::lab::{BOUND, Lab, OUTGOING_BYTES, TAIL_BYTES, TAIL_BYTES_LIMIT, dropped, of_sampler};

const MIB: u64 = 1 << 20;
/// Of the whole process.
const LIMIT_MIB: u64 = 256;
/// Of the sampler.
const MEMORY_MIB: u64 = 64;
/// The sink takes a request in so much time, while it is slow.
const DELAY: Duration = Duration::from_millis(100);
/// About 800 bytes a span.
const PADDING_BYTES: usize = 500;
const SPAN_BYTES: u64 = 800;

/// One pass over twice the bound; in a soak as many as begin within two minutes.
fn sending() -> Duration {
    if soak_factor() > 1 { Duration::from_secs(120) } else { Duration::ZERO }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_holds_and_errors_arrive_when_all_traces_fail() {
    let is_slow = Arc::new(AtomicBool::new(true));
    let slow = Arc::clone(&is_slow);
    let script = move |_: &Attempt| {
        let delay = if slow.load(Ordering::Relaxed) { DELAY } else { Duration::ZERO };
        (delay, Answer::Accepted { warning: None })
    };
    let block = format!(
        "policies: [{{ name: errors, type: status_code, status_code: {{ status_codes: [ERROR] }} }}], decision_wait: 30s, \
         num_traces: 10000000, memory_mib: {MEMORY_MIB}"
    );
    let behaviour = Behaviour { script: Some(Arc::new(script)), ..Behaviour::default() };
    let lab = Arc::new(Lab::start(&block, LIMIT_MIB, behaviour).await);
    let limit = of_sampler(&lab.engine.metrics().await.unwrap(), TAIL_BYTES_LIMIT);
    assert!(
        limit > MEMORY_MIB * MIB / 2 && limit <= MEMORY_MIB * MIB,
        "{limit} bytes of {MEMORY_MIB} MiB for what waits"
    );
    let spans = 2 * MEMORY_MIB * MIB / SPAN_BYTES;
    let shape = Shape { failing_percent: 100, late_percent: 0, padding_bytes: PADDING_BYTES, ..Shape::new(5, spans) };
    let traces = Traces::new(shape);
    let requests = traces.on_time();
    let watched = Watch::start(Arc::clone(&lab));

    let (begin, mut runs, mut accepted) = (Instant::now(), 0, 0);
    while runs == 0 || begin.elapsed() < sending() {
        runs += 1;
        // What is refused is not sent again for ever: then the next is sent.
        let plan = Plan { tries: 20, ..Plan::grpc(requests.count()) };
        let arrived = arrived(&lab, runs);
        let report = client::run(lab.engine.addresses.grpc, &requests, runs, plan).await.unwrap();
        for (_, settled) in &report.settled {
            let is_right = matches!(settled, Settled::Accepted { .. } | Settled::GaveUp { .. });
            assert!(is_right, "run {runs}: {settled:?}");
        }
        accepted += report.accepted();
        lab.engine.until(BOUND, "errors go on arriving", |_| self::arrived(&lab, runs) > arrived).await.unwrap();
    }

    is_slow.store(false, Ordering::Relaxed);
    let metrics = lab.decided(Duration::from_secs(30)).await;
    let peaks = watched.stop().await;
    assert!(peaks.rss_bytes <= LIMIT_MIB * MIB / 10 * 12, "{} MiB resident of {LIMIT_MIB}", peaks.rss_bytes / MIB);
    assert!(peaks.tail_bytes <= MEMORY_MIB * MIB, "{} MiB held of {MEMORY_MIB}", peaks.tail_bytes / MIB);
    let (mut arrived, mut again) = (0, 0);
    for seen in (1..=runs).map(|run| lab.sink.take_seen(Signal::Traces, run)) {
        (arrived, again) = (arrived + seen.items, again + seen.duplicates);
    }
    assert_eq!(again, 0, "a request is taken by all shards or by none");
    let in_whole = metrics.sum("pipeline_accepted_items", &[]);
    let out = dropped(&metrics) + arrived + again + undelivered(&metrics);
    assert_eq!(in_whole, out, "each span was dropped for a reason or arrived");
    assert!(accepted > 0 && arrived > 0, "{accepted} requests accepted, {arrived} spans arrived");
    println!(
        "{runs} runs: {in_whole} spans taken, {arrived} arrived, {again} of them twice, {} dropped; at most {} MiB resident, {} MiB held",
        dropped(&metrics),
        peaks.rss_bytes / MIB,
        peaks.tail_bytes / MIB
    );
}

/// Spans of this run and all before it that the sink took.
fn arrived(lab: &Lab, run: u16) -> u64 {
    (1..=run).map(|run| lab.sink.items(Signal::Traces, run)).sum()
}

fn undelivered(metrics: &Metrics) -> u64 {
    metrics.sum("exporter_dropped_items", &[]) + metrics.sum("exporter_rejected_items", &[])
}

/// The most of what was ever there, looked at all the time.
struct Watch {
    stop: Arc<AtomicBool>,
    peaks: Arc<(AtomicU64, AtomicU64)>,
    task: tokio::task::JoinHandle<()>,
}

struct Peaks {
    rss_bytes: u64,
    tail_bytes: u64,
}

impl Watch {
    fn start(lab: Arc<Lab>) -> Self {
        let (stop, peaks) = (Arc::new(AtomicBool::new(false)), Arc::new((AtomicU64::new(0), AtomicU64::new(0))));
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&peaks));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                seen.0.fetch_max(lab.engine.process.rss_bytes().unwrap(), Ordering::Relaxed);
                let metrics = lab.engine.metrics().await.unwrap();
                let held = of_sampler(&metrics, TAIL_BYTES) + of_sampler(&metrics, OUTGOING_BYTES);
                seen.1.fetch_max(held, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Self { stop, peaks, task }
    }

    async fn stop(self) -> Peaks {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        Peaks { rss_bytes: self.peaks.0.load(Ordering::Relaxed), tail_bytes: self.peaks.1.load(Ordering::Relaxed) }
    }
}
