//! Every misdeed in one process, beside pipelines that are well: none of their requests fails, what went wrong is counted by its name,
//! and nothing of what was shown to the guests is told.
//!
//! With SLUICEBOX_SOAK more than 1: five times at a quarter of full load, and a table of what it cost the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{self, Answer, Connection, Plan, Protocol, Report, Steady};
use sluicebox_tests::command::guest;
use sluicebox_tests::config::otlp;
use sluicebox_tests::engine::{Engine, TELEMETRY, get};
use sluicebox_tests::generate::{EARLY_RULE, Shape, Workload};
use sluicebox_tests::hostile::{Guest, Misdeed, Strikes, Told, config, misdeeds};
use sluicebox_tests::plant::{Detector, Leaks, Secret};
use sluicebox_tests::sink::{Behaviour, Sink};
use sluicebox_tests::soak_factor;

const STAGE: &str = "wasm/bad";
const POLICY: &str = "tail_sampling/bad:bad";
const BOUND: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;
/// Of the process.
const BUDGET_MIB: u64 = 512;
const RUNS: usize = 5;
/// Spans of a request to a misbehaving guest.
const SPANS: u64 = 64;
const LOGS_RUN: u16 = 1;
const METRICS_RUN: u16 = 2;
/// Of the first misdeed; each has its own.
const FIRST_RUN: u16 = 100;
/// Some strike at each second call of an instance, of which there is one for each of two threads.
const REQUESTS: u64 = 3;
/// Requests for which each misdeed is given in a soak, one after the other, and how far apart they begin.
const SOAK_REQUESTS: u64 = 20;
const SOAK_PAUSE: Duration = Duration::from_millis(25);
/// Misdeeds between two windows without one.
const NOTHING_EVERY: usize = 3;
const NOTHING: Misdeed =
    Misdeed { behaviour: "noop", guest: Guest::Filter, strikes: Strikes::Judging, kind: None, told: Told::Judged };

/// How long guests may take: under load what everybody gets, else so much that only what never ends is late on any machine.
fn deadline() -> Duration {
    if soak_factor() > 1 { Duration::from_millis(50) } else { Duration::from_millis(200) }
}

fn file(sink: &Sink) -> Result<String> {
    let limits = format!("limits: {{ deadline: {}ms }}", deadline().as_millis());
    let (filter, policy) = (guest("misbehaving")?, guest("misbehaving-policy")?);
    Ok(format!(
        "receivers:\n  otlp: {{ protocols: {{ grpc: {{ endpoint: \"$GRPC\" }} }} }}\n  \
         otlp/sampled: {{ protocols: {{ http: {{ endpoint: \"$HTTP\" }} }} }}\n\
         processors:\n  memory_limiter: {{ check_interval: 1s, limit_mib: {BUDGET_MIB}, spike_limit_mib: 1 }}\n  \
         filter/logs: {{ logs: {{ log_record: ['{EARLY_RULE}'] }} }}\n  \
         filter/metrics: {{ metrics: {{ datapoint: ['{EARLY_RULE}'] }} }}\n  \
         {STAGE}: {{ component: {filter}, grants: [state], config: {noop}, {limits} }}\n  \
         tail_sampling/bad: {{ decision_wait: 50ms, memory_mib: 64, policies: [{{ name: bad, component: {policy}, config: {keep}, {limits} }}] }}\n\
         exporters:\n  otlp/sink: {{ {sink} }}\n\
         service:\n  {TELEMETRY}\n  pipelines:\n    \
         logs: {{ receivers: [otlp], processors: [memory_limiter, filter/logs], exporters: [otlp/sink] }}\n    \
         metrics: {{ receivers: [otlp], processors: [memory_limiter, filter/metrics], exporters: [otlp/sink] }}\n    \
         traces: {{ receivers: [otlp], processors: [memory_limiter, {STAGE}], exporters: [otlp/sink] }}\n    \
         traces/sampled: {{ receivers: [otlp/sampled], processors: [memory_limiter, tail_sampling/bad], exporters: [otlp/sink] }}\n",
        noop = config("noop"),
        keep = config("keep"),
        sink = otlp(sink.address, ""),
    ))
}

/// An engine, two healthy streams through it, and one to whoever misbehaves.
struct Lab {
    engine: Engine,
    sink: Sink,
    logs: Arc<Workload>,
    metrics: Arc<Workload>,
    spans: Arc<Workload>,
    /// Of each of the healthy streams, per second.
    rate: f64,
    judged: Connection,
    sampled: Connection,
    secrets: Vec<Secret>,
    last_planted: Bytes,
    /// What senders and changes were told.
    told: String,
    rss_bytes_max: u64,
}

/// What healthy streams met while something went on.
struct Window {
    report: Report,
    throughput: f64,
}

impl Lab {
    async fn start() -> Result<Self> {
        let sink = Sink::start(Behaviour::default()).await?;
        let engine = Engine::start_with(&file(&sink)?, &["--workers", "2"]).await?;
        let items = if soak_factor() > 1 { 256 } else { 32 };
        let of = |signal, items| Workload::new(Shape { requests: 16, items_per_request: items, ..Shape::new(signal) });
        Ok(Self {
            judged: Connection::open(engine.addresses.grpc, Protocol::Grpc, false).await?,
            sampled: Connection::open(engine.addresses.http, Protocol::Http, false).await?,
            logs: of(Signal::Logs, items),
            metrics: of(Signal::Metrics, items),
            spans: of(Signal::Traces, SPANS as usize),
            rate: 40.0,
            secrets: Vec::new(),
            last_planted: Bytes::new(),
            told: String::new(),
            rss_bytes_max: 0,
            engine,
            sink,
        })
    }

    /// Sends as much as is taken for a while; a quarter of it is the load from then on.
    async fn find_full_load(&mut self) -> Result<()> {
        let plan = Plan { time: Duration::from_secs(4), ..Plan::grpc(u64::MAX) };
        let address = self.engine.addresses.grpc;
        let (logs, metrics) =
            tokio::join!(client::run(address, &self.logs, 3, plan), client::run(address, &self.metrics, 4, plan));
        let (logs, metrics) = (logs?, metrics?);
        let per_second = |report: &Report| report.accepted() as f64 / report.elapsed.as_secs_f64();
        self.rate = per_second(&logs).min(per_second(&metrics)) / 4.0;
        self.engine.settled_account(BOUND).await?;
        Ok(())
    }

    /// Healthy streams, of which every request has to be taken at its first try.
    fn healthy(&self) -> [Steady; 2] {
        let plan = Plan { rate: Some(self.rate), tries: 1, ..Plan::grpc(u64::MAX) };
        let address = self.engine.addresses.grpc;
        [Steady::start(address, &self.logs, LOGS_RUN, plan), Steady::start(address, &self.metrics, METRICS_RUN, plan)]
    }

    /// Ends them: all was taken at the first try, and arrived judged, once.
    async fn stop(&self, healthy: [Steady; 2]) -> Result<Window> {
        let mut all = Report::default();
        let [logs, metrics] = healthy;
        let reports = [(logs.stop().await?, &self.logs, LOGS_RUN), (metrics.stop().await?, &self.metrics, METRICS_RUN)];
        self.engine.settled_account(BOUND).await?;
        for (report, workload, run) in reports {
            ensure!(report.first_failure().is_none(), "a healthy request: {:?}", report.first_failure());
            ensure!(report.retries.is_empty(), "healthy requests were told to come again: {:?}", report.retries);
            workload.check(&report.settled, &self.sink.take_seen(workload.signal(), run), true)?;
            all.absorb(report);
        }
        let throughput = all.accepted() as f64 / all.elapsed.as_secs_f64();
        Ok(Window { report: all, throughput })
    }

    /// A request that quotes a secret in each span's name and in an attribute.
    fn planted(&mut self, run: u16, number: u64) -> Result<Bytes> {
        let mut request: ExportTraceServiceRequest = self.spans.message(run, number)?;
        let secret = Detector::Token.secret(self.secrets.len() as u64);
        let spans = request.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans);
        for span in spans.flat_map(|scope| &mut scope.spans) {
            span.name.clone_from(&secret.text);
            sluicebox_tests::items::add_text(&mut span.attributes, "note", &secret.text);
        }
        self.secrets.push(secret);
        self.last_planted = request.encode_to_vec().into();
        Ok(self.last_planted.clone())
    }

    /// Has a guest serve; None, else the step at which it was refused.
    async fn swap(&mut self, stage: &str, component: Vec<u8>, config: &str) -> Result<Option<String>> {
        let (status, answer) = self.engine.post("/v1/components", "application/wasm", component.into()).await?;
        ensure!(status == 200, "{status}: {answer}");
        let config: serde_json::Value = serde_json::from_str(config)?;
        let body = serde_json::json!({ "stage": stage, "digest": answer["digest"], "config": config });
        let (status, answer) =
            self.engine.post("/v1/swap?wait=true", "application/json", body.to_string().into()).await?;
        self.told += &answer.to_string();
        match status {
            200 => Ok(None),
            422 => Ok(Some(answer["step"].as_str().unwrap_or_default().to_owned())),
            _ => bail!("{status}: {answer}"),
        }
    }

    /// Everything of one misdeed but what the others met. `requests` are sent one after the other, `pause` apart.
    async fn misbehave(&mut self, misdeed: &Misdeed, run: u16, requests: u64, pause: Duration) -> Result<Counted> {
        let stage = if misdeed.guest == Guest::Policy { POLICY } else { STAGE };
        let before = self.engine.metrics().await?;
        let step = self.swap(stage, misdeed.component()?, &misdeed.config()).await?;
        ensure!(step.as_deref() == misdeed.step(), "refused at {step:?}, not {:?}", misdeed.step());
        for number in 0..requests {
            let begun = tokio::time::Instant::now();
            let body = self.planted(run, number)?;
            let connection = if stage == POLICY { &mut self.sampled } else { &mut self.judged };
            let answer = connection.send(Signal::Traces, body, BOUND).await;
            self.told += &format!("{answer:?}\n");
            let is_retry = matches!(answer, Answer::Retry { after: Some(_), .. });
            let is_accepted = answer == Answer::Accepted { warning: None };
            ensure!(if misdeed.told == Told::Retry { is_retry } else { is_accepted }, "{answer:?}");
            tokio::time::sleep_until(begun + pause).await;
        }
        let after = self.counted(misdeed, &before).await?;
        self.arrived(misdeed, run, requests).await?;
        self.rss_bytes_max = self.rss_bytes_max.max(self.engine.process.rss_bytes()?);
        ensure!(self.engine.process.alive(), "the process ended: {}", self.engine.process.stderr());
        if misdeed.told != Told::Refused {
            let (good, behaviour) = if stage == POLICY { (misdeed.guest, "keep") } else { (Guest::Filter, "noop") };
            let component = Misdeed { guest: good, ..*misdeed }.component()?;
            let step = self.swap(stage, component, &config(behaviour)).await?;
            ensure!(step.is_none(), "the good one after it is refused at {step:?}");
        }
        Ok(after)
    }

    /// Waits until its faults are counted; all of them have to be of its kind. What goes on until a limit ends it may meet its deadline
    /// first where the machine is busy; that each meets its own is shown by the tests of the runtime.
    async fn counted(&self, misdeed: &Misdeed, before: &Metrics) -> Result<Counted> {
        let serves = misdeed.told != Told::Refused;
        let faults = |metrics: &Metrics, kind: &[(&str, &str)]| {
            metrics.sum("stage_faults", kind) - before.sum("stage_faults", kind)
        };
        let Some(kind) = misdeed.kind.filter(|_| serves) else {
            let after = self.engine.metrics().await?;
            ensure!(faults(&after, &[]) == 0, "faults are counted");
            return Ok(Counted { faults: 0 });
        };
        let or_late = matches!(kind, "memory" | "host_call_budget");
        let is_right = |metrics: &Metrics| {
            let late = if or_late { faults(metrics, &[("kind", "deadline")]) } else { 0 };
            faults(metrics, &[("kind", kind)]) + late
        };
        let is_counted = |metrics: &Metrics| is_right(metrics) > 0;
        let after = self.engine.until(BOUND, &format!("a fault is counted as {kind}"), is_counted).await?;
        let (right, all) = (is_right(&after), faults(&after, &[]));
        ensure!(right == all, "{all} faults, of which {right} are of kind {kind}");
        Ok(Counted { faults: all })
    }

    /// What its stage did not judge went on, or did not, as its role asks.
    async fn arrived(&self, misdeed: &Misdeed, run: u16, requests: u64) -> Result<()> {
        let all = requests * SPANS;
        match misdeed.told {
            Told::Passed | Told::Refused => {
                let arrived = self.sink.wait_for(Signal::Traces, run, all, BOUND).await;
                ensure!(arrived == all, "{arrived} of {all} spans arrived");
            }
            Told::Retry => ensure!(self.sink.items(Signal::Traces, run) == 0, "something went round it"),
            Told::Fallback | Told::Judged => {}
        }
        Ok(())
    }

    /// Nothing of the secrets is in anything that is told, or in any file that the engine wrote.
    async fn assert_quiet(&self) -> Result<()> {
        let named = self.secrets.iter().map(|secret| ("a span".to_owned(), secret));
        let leaks = Leaks::new(named)?;
        ensure!(leaks.find(&self.last_planted).is_some(), "it would not be found");
        let pages = [
            get(self.engine.addresses.metrics, "/metrics").await?,
            get(self.engine.addresses.admin, "/v1/status").await?,
        ];
        for text in pages.iter().chain([&self.told]) {
            ensure!(leaks.find(text.as_bytes()).is_none(), "{:?}", leaks.find(text.as_bytes()));
        }
        let found = leaks.find_below(self.engine.directory())?;
        ensure!(found.is_none(), "{found:?}");
        ensure!(!self.engine.process.stderr().contains('\u{1b}'), "stderr steers terminals");
        Ok(())
    }
}

struct Counted {
    faults: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn each_misdeed_costs_nobody_else_a_request() {
    let mut lab = Lab::start().await.unwrap();
    let healthy = lab.healthy();
    for (run, misdeed) in (FIRST_RUN..).zip(misdeeds()) {
        let done = lab.misbehave(misdeed, run, REQUESTS, Duration::ZERO).await;
        if let Err(error) = done {
            panic!("{} of {:?} at {:?}: {error:#}", misdeed.behaviour, misdeed.guest, misdeed.strikes);
        }
    }
    let window = lab.stop(healthy).await.unwrap();
    assert!(window.report.accepted() > 0);
    let metrics = lab.engine.settled_account(BOUND).await.unwrap();
    assert_eq!(metrics.sum("stage_faults", &[("stage", "filter/logs")]), 0);
    assert_eq!(metrics.sum("stage_faults", &[("stage", "filter/metrics")]), 0);
    assert!(lab.rss_bytes_max < BUDGET_MIB * MIB, "{} MiB resident", lab.rss_bytes_max / MIB);
    lab.assert_quiet().await.unwrap();
    if soak_factor() > 1 {
        for run in 1..=RUNS {
            soak(run).await.unwrap();
        }
    }
}

/// One run at a quarter of full load: beside each misdeed, and in between, so that what the machine does meanwhile meets both, beside a
/// guest that does nothing.
async fn soak(run: usize) -> Result<()> {
    let mut lab = Lab::start().await?;
    lab.find_full_load().await?;
    let offered = 2.0 * lab.rate;
    println!(
        "run {run}: {offered:.0} requests/s of 256 items over two healthy pipelines, one deadline is {:?}",
        deadline()
    );
    let (mut without, mut with) = (Side::default(), Side::default());
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let mut next = FIRST_RUN;
    for (number, misdeed) in misdeeds().enumerate() {
        if number % NOTHING_EVERY == 0 {
            without.add(beside(&mut lab, &NOTHING, &mut next).await?.0);
        }
        let (mut window, counted) = beside(&mut lab, misdeed, &mut next).await?;
        println!(
            "  {:<32} {:<13} {:<16} {:<9} {:>5} faults  {:>5.1} % of what is offered, p99 {:>7.2} ms, {:>4} MiB resident",
            misdeed.behaviour,
            format!("{:?}", misdeed.strikes),
            misdeed.kind.unwrap_or("-"),
            format!("{:?}", misdeed.told),
            counted.faults,
            window.throughput / offered * 100.0,
            window.report.delay(0.99).as_secs_f64() * 1e3,
            lab.engine.process.rss_bytes()? / MIB,
        );
        *kinds.entry(misdeed.kind.unwrap_or("-")).or_default() += counted.faults;
        with.add(window);
    }
    lab.engine.settled_account(BOUND).await?;
    lab.assert_quiet().await?;
    let (throughput, p99) = (without.throughput(), without.report.delay(0.99));
    println!(
        "run {run}: throughput {:.1} % of that without (worst misdeed {:.1} %); p99 {:?}, without {p99:?} (+ one deadline: {:?}); \
         {} MiB resident of a budget of {BUDGET_MIB}; faults {kinds:?}; nothing of {} secrets told",
        with.throughput() / throughput * 100.0,
        with.least / throughput * 100.0,
        with.report.delay(0.99),
        p99 + deadline(),
        lab.rss_bytes_max / MIB,
        lab.secrets.len(),
    );
    Ok(())
}

/// Windows of one kind, together.
struct Side {
    report: Report,
    windows: u32,
    /// Sum and least of the windows' throughputs.
    sum: f64,
    least: f64,
}

impl Side {
    fn add(&mut self, window: Window) {
        self.windows += 1;
        self.sum += window.throughput;
        self.least = self.least.min(window.throughput);
        self.report.absorb(window.report);
    }

    fn throughput(&self) -> f64 {
        self.sum / f64::from(self.windows)
    }
}

impl Default for Side {
    fn default() -> Self {
        Self { report: Report::default(), windows: 0, sum: 0.0, least: f64::MAX }
    }
}

async fn beside(lab: &mut Lab, misdeed: &Misdeed, next: &mut u16) -> Result<(Window, Counted)> {
    let healthy = lab.healthy();
    *next += 1;
    let counted = lab.misbehave(misdeed, *next, SOAK_REQUESTS, SOAK_PAUSE).await;
    // Each window sends the same items again.
    let window = lab.stop(healthy).await?;
    let counted = counted.with_context(|| format!("{} of {:?}", misdeed.behaviour, misdeed.guest))?;
    Ok((window, counted))
}
