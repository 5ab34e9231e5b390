//! Tail sampling by three policies: CPU per span beside the bare proxy, bytes per buffered span, how late decisions leave.
//!
//! `num_traces` is what waits: once so many traces are held, each new one has the oldest decided, so that a run of any length
//! measures taking in, deciding and sending with exactly as many traces waiting.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use serde_json::json;
use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{self, Answer, Plan, Source};
use sluicebox_tests::engine::{Engine, Process, TELEMETRY};
use sluicebox_tests::generate::{SPANS_PER_TRACE, Shape, Workload};
use sluicebox_tests::sink::{Attempt, Behaviour, Script, Sink};

use super::{Arguments, Spread, machine, pool, say, spread_of, start_proxy};

pub const NAME: &str = "tail";
/// Generated spans of a trace are up to an hour apart: the second keeps a fiftieth of the traces.
const POLICIES: &str = "policies: [{ name: errors, type: status_code, status_code: { status_codes: [ERROR] } }, \
     { name: slow, type: latency, latency: { threshold_ms: 3500000 } }, \
     { name: tenth, type: probabilistic, probabilistic: { sampling_percentage: 10 } }]";
const SHARDS: [u64; 2] = [1, 2];
/// While lag is measured.
const LAG_WAIT: Duration = Duration::from_secs(1);
const LAG_REQUESTS_PER_SECOND: f64 = 50.0;
/// From so many traces on memory tells what one takes.
const TRACES_WEIGHED_MIN: u64 = 50_000;
const SETTLE_BOUND: Duration = Duration::from_secs(120);

/// Metrics of the engine.
const WAITING_TRACES: &str = "tail_waiting_traces";
const WAITING_SPANS: &str = "tail_waiting_spans";

/// One number of shards with one number of waiting traces.
struct Case {
    shards: u64,
    waiting: u64,
    /// Memory above that of an empty engine, per span that waits.
    bytes_per_span: f64,
    /// Of all spans.
    share_kept: f64,
    rounds: Vec<Round>,
}

#[derive(Clone, Copy)]
struct Round {
    /// Per span.
    cpu_nanos: f64,
    /// Of the proxy in the same minute.
    proxy_cpu_nanos: f64,
    spans_per_second: f64,
}

/// How long after they were due traces arrived at the sink.
struct Lag {
    traces: usize,
    p50: Duration,
    p99: Duration,
    most: Duration,
}

/// Measures all cases, prints them, and tells them as JSON.
pub async fn bench(arguments: &Arguments) -> Result<serde_json::Value> {
    let shape = Shape {
        items_per_request: arguments.spans_per_request.next_multiple_of(SPANS_PER_TRACE as usize),
        requests: pool(arguments.spans_per_request),
        routes: arguments.routes,
        ..Shape::new(Signal::Traces)
    };
    let workload = Workload::new(shape);
    let sink = Sink::start(Behaviour::default()).await?;
    let (proxy, proxy_address) = start_proxy(sink.address).await?;
    say(&format!("\n{}\ntail sampling, {:.0} B per span", machine(), workload.bytes_per_item()))?;
    let mut cases = Vec::new();
    for &waiting in &arguments.waiting_traces {
        for shards in SHARDS {
            let case = measure(arguments, &workload, &sink, (&proxy, proxy_address), (shards, waiting)).await?;
            say(&line(&case, workload.bytes_per_item()))?;
            cases.push(case);
        }
    }
    let lag = lag(arguments, &workload).await?;
    let (p50, p99, most) = (lag.p50.as_secs_f64() * 1e3, lag.p99.as_secs_f64() * 1e3, lag.most.as_secs_f64() * 1e3);
    say(&format!(
        "decision lag over {} kept traces: p50 {p50:.1} ms, p99 {p99:.1} ms, at most {most:.1} ms from due to the sink",
        lag.traces
    ))?;
    Ok(json!({
        "cases": cases.iter().map(|case| figures(case, workload.bytes_per_item())).collect::<Vec<_>>(),
        "lag_seconds": { "traces": lag.traces, "p50": lag.p50.as_secs_f64(), "p99": lag.p99.as_secs_f64(), "most": lag.most.as_secs_f64() },
    }))
}

/// Fills an engine with traces, then drives the proxy and it in turns.
async fn measure(
    arguments: &Arguments,
    workload: &Arc<Workload>,
    sink: &Sink,
    (proxy, proxy_address): (&Process, SocketAddr),
    (shards, waiting): (u64, u64),
) -> Result<Case> {
    let engine = Engine::start(&config(sink.address, shards, waiting, Duration::from_secs(3600))).await?;
    let address = engine.addresses.grpc;
    let plan = Plan { connections: arguments.connections, in_flight: arguments.in_flight, ..Plan::grpc(u64::MAX) };
    // What happens for the first time has happened before memory is looked at.
    let mut sent = vec![drive(&engine.process, address, workload, 1, Plan { requests: 4, ..plan }).await?.0];
    let rss_bytes_empty = engine.process.rss_bytes()?;
    // Those that fail are decided as soon as they have come, so that no more than half of them wait: weighed before any has to make room.
    let requests_for = |traces: u64| traces.div_ceil(workload.items_per_request() / SPANS_PER_TRACE);
    sent.push(drive(&engine.process, address, workload, 2, Plan { requests: requests_for(waiting), ..plan }).await?.0);
    let has_sent =
        |metrics: &Metrics| metrics.sum("exporter_queued_items", &[]) == 0 && metrics.sum(WAITING_TRACES, &[]) > 0;
    let metrics = engine.until(SETTLE_BOUND, "what is kept has left", has_sent).await?;
    let grown = engine.process.rss_bytes()?.saturating_sub(rss_bytes_empty);
    let bytes_per_span = grown as f64 / metrics.sum(WAITING_SPANS, &[]) as f64;
    sent.push(
        drive(&engine.process, address, workload, 3, Plan { requests: requests_for(waiting / 2), ..plan }).await?.0,
    );
    let is_full = |metrics: &Metrics| metrics.sum(WAITING_TRACES, &[]) * 10 >= waiting * 9;
    engine.until(SETTLE_BOUND, "as many traces wait as may", is_full).await?;
    let plan = Plan { time: Duration::from_secs_f64(arguments.seconds), ..plan };
    let mut rounds = Vec::new();
    for round in 0..=arguments.rounds {
        let run = 4 + round;
        let (_, of_proxy) = drive(proxy, proxy_address, workload, run, plan).await?;
        // The engine's spans of this run come after it.
        sink.take_seen(Signal::Traces, run);
        let (requests, measured) = drive(&engine.process, address, workload, run, plan).await?;
        sent.push(requests);
        if round > 0 {
            rounds.push(Round { proxy_cpu_nanos: of_proxy.cpu_nanos, ..measured });
        }
    }
    let share_kept = end(engine, workload, sink, &sent).await?;
    Ok(Case { shards, waiting, bytes_per_span, share_kept, rounds })
}

/// Drives one process; requests sent, and what they cost.
async fn drive(
    process: &Process,
    address: SocketAddr,
    workload: &Arc<Workload>,
    run: u16,
    plan: Plan,
) -> Result<(u64, Round)> {
    let before = process.cpu_time()?;
    let report = client::run(address, workload, run, plan).await?;
    let cpu = process.cpu_time()? - before;
    if let Some((number, settled)) = report.first_failure() {
        bail!("request {number} of run {run} ended as {settled:?}");
    }
    let spans = (report.accepted() * workload.items_per_request()) as f64;
    let cpu_nanos = cpu.as_nanos() as f64 / spans;
    let spans_per_second = spans / report.elapsed.as_secs_f64();
    Ok((report.accepted(), Round { cpu_nanos, proxy_cpu_nanos: f64::NAN, spans_per_second }))
}

/// Stops the engine, which decides all that waits; the share of the spans that was kept. `sent`: requests of runs 1, 2, ...
async fn end(mut engine: Engine, workload: &Workload, sink: &Sink, sent: &[u64]) -> Result<f64> {
    let status = engine.process.stop()?;
    ensure!(status.success(), "{status}: {}", engine.process.stderr());
    let (mut spans, mut kept) = (0, 0);
    for (run, requests) in (1..).zip(sent) {
        let seen = sink.take_seen(Signal::Traces, run);
        ensure!(seen.duplicates == 0, "{} spans arrived twice", seen.duplicates);
        let end = requests * workload.items_per_request();
        for first in (0..end).step_by(SPANS_PER_TRACE as usize) {
            let arrived = (first..first + SPANS_PER_TRACE).filter(|sequence| seen.has(*sequence)).count() as u64;
            ensure!(
                arrived == 0 || arrived == SPANS_PER_TRACE,
                "{arrived} of {SPANS_PER_TRACE} spans of a trace arrived"
            );
        }
        (spans, kept) = (spans + end, kept + seen.items);
    }
    ensure!(kept > 0 && kept < spans, "{kept} of {spans} spans were kept");
    Ok(kept as f64 / spans as f64)
}

/// Notes when each request was asked for.
struct Timed {
    workload: Arc<Workload>,
    sent: Mutex<HashMap<u64, Instant>>,
}

impl Source for Timed {
    fn signal(&self) -> Signal {
        Signal::Traces
    }

    fn request(&self, run: u16, number: u64) -> Bytes {
        let body = self.workload.request(run, number);
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Instant::now());
        body
    }
}

/// A steady load; of each trace that arrives, how long after its time.
async fn lag(arguments: &Arguments, workload: &Arc<Workload>) -> Result<Lag> {
    let timed = Arc::new(Timed { workload: Arc::clone(workload), sent: Mutex::default() });
    let lags = Arc::new(Mutex::new(Vec::new()));
    let (of_sent, measured, items) = (Arc::clone(&timed), Arc::clone(&lags), workload.items_per_request());
    let script: Script = Arc::new(move |attempt: &Attempt| {
        let sent = of_sent.sent.lock().unwrap_or_else(PoisonError::into_inner);
        // The first span of each trace stands for it; those that were settled before their time tell nothing.
        let firsts = attempt.items.iter().map(|(_, sequence)| *sequence).filter(|s| s % SPANS_PER_TRACE == 0);
        let late = |sequence: u64| sent.get(&(sequence / items))?.elapsed().checked_sub(LAG_WAIT);
        measured.lock().unwrap_or_else(PoisonError::into_inner).extend(firsts.filter_map(late));
        (Duration::ZERO, Answer::Accepted { warning: None })
    });
    let sink = Sink::start(Behaviour { script: Some(script), ..Behaviour::default() }).await?;
    let mut engine = Engine::start(&config(sink.address, 1, 1_000_000, LAG_WAIT)).await?;
    let time = Duration::from_secs_f64(arguments.seconds.max(2.0) * f64::from(arguments.rounds.max(1)));
    let plan = Plan { rate: Some(LAG_REQUESTS_PER_SECOND), time, ..Plan::grpc(u64::MAX) };
    let report = client::run(engine.addresses.grpc, &timed, 1, plan).await?;
    ensure!(report.first_failure().is_none(), "{:?}", report.first_failure());
    engine.settled_account(SETTLE_BOUND).await?;
    engine.process.stop()?;
    let mut lags = std::mem::take(&mut *lags.lock().unwrap_or_else(PoisonError::into_inner));
    lags.sort_unstable();
    let at = |share: f64| lags.get(((lags.len() - 1) as f64 * share).round() as usize).copied().unwrap_or_default();
    ensure!(!lags.is_empty(), "nothing was kept");
    Ok(Lag { traces: lags.len(), p50: at(0.5), p99: at(0.99), most: at(1.0) })
}

fn config(sink: SocketAddr, shards: u64, waiting: u64, wait: Duration) -> String {
    // More than the spans take, so that only their number bounds them.
    let memory_mib = 256 + waiting * SPANS_PER_TRACE * 1000 / (1 << 20);
    format!(
        "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: \"$GRPC\" }} }} }} }}\n\
         processors:\n  memory_limiter: {{ check_interval: 1s, limit_mib: {}, spike_limit_mib: 1 }}\n  \
         tail_sampling: {{ {POLICIES}, decision_wait: {}s, num_traces: {waiting}, memory_mib: {memory_mib}, num_shards: {shards} }}\n\
         exporters:\n  otlp: {{ endpoint: {sink}, tls: {{ insecure: true }}, compression: none }}\n\
         service:\n  {TELEMETRY}\n  pipelines: {{ traces: {{ receivers: [otlp], processors: [memory_limiter, tail_sampling], exporters: [otlp] }} }}\n",
        2 * memory_mib + 1024,
        wait.as_secs(),
    )
}

fn line(case: &Case, wire_bytes: f64) -> String {
    let cpu = spread(case, |round| round.cpu_nanos);
    let ratio = spread(case, |round| round.cpu_nanos / round.proxy_cpu_nanos);
    // Of few traces it is what an engine takes at all.
    let bytes = match case.waiting {
        0..TRACES_WEIGHED_MIN => String::new(),
        _ => format!("{:.0} B per waiting span above its wire bytes; ", case.bytes_per_span - wire_bytes),
    };
    format!(
        "{:>9} traces wait, {} shard(s): {:.0} ns per span ({:.0} to {:.0}), {:.2} of the proxy ({:.2} to {:.2}), {:.0} spans/s; \
         {bytes}{:.1} % kept, no trace split",
        case.waiting,
        case.shards,
        cpu.median,
        cpu.least,
        cpu.most,
        ratio.median,
        ratio.least,
        ratio.most,
        spread(case, |round| round.spans_per_second).median,
        case.share_kept * 100.0,
    )
}

fn figures(case: &Case, wire_bytes: f64) -> serde_json::Value {
    let rounds: Vec<_> = case
        .rounds
        .iter()
        .map(|round| {
            json!({
                "cpu_nanoseconds_per_span": round.cpu_nanos,
                "ratio_to_proxy": round.cpu_nanos / round.proxy_cpu_nanos,
                "spans_per_second": round.spans_per_second,
            })
        })
        .collect();
    json!({
        "waiting_traces": case.waiting, "shards": case.shards, "rounds": rounds,
        "bytes_per_waiting_span": case.bytes_per_span, "wire_bytes_per_span": wire_bytes, "share_kept": case.share_kept,
    })
}

fn spread(case: &Case, of: impl Fn(&Round) -> f64) -> Spread {
    spread_of(case.rounds.iter().map(of).collect())
}
