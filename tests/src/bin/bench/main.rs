//! CPU time per span of the engine, beside a bare proxy in the same minutes on the same machine.
//!
//! Rounds are interleaved: each drives every scenario once, so that what the machine does meanwhile meets all of them. Absolute
//! figures are of this machine; the ratio to the proxy is what carries over. A run whose sink did not get exactly
//! what it must is an error, not a figure.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde_json::json;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{self, Plan};
use sluicebox_tests::engine::{Addresses, Engine, Process};
use sluicebox_tests::generate::{Shape, Workload};
use sluicebox_tests::sink::{Behaviour, Sink};

mod tail;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// CPU time per span: bare proxy, pass-through, filters, editing, redaction.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds of each scenario in each round.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Rounds; the first of them comes after one short round that is thrown away.
    #[arg(long, default_value_t = 5)]
    rounds: u16,
    /// Only these, comma separated; the proxy always runs. Those of tail sampling run after the others.
    #[arg(long, value_delimiter = ',')]
    scenarios: Vec<String>,
    /// Spans of each request.
    #[arg(long, default_value_t = 512)]
    spans_per_request: usize,
    /// Different values of `http.route`.
    #[arg(long, default_value_t = 10)]
    routes: usize,
    /// Connections, each with `--in-flight` requests.
    #[arg(long, default_value_t = 2)]
    connections: usize,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// Traces that wait while tail sampling is measured, comma separated.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 100_000, 1_000_000])]
    waiting_traces: Vec<u64>,
    /// Another build of the engine, such as one from before a change: it runs every scenario in the same rounds, and the ratio of this one to
    /// it is told. That is how it is shown that taps cost nothing while none is open.
    #[arg(long, value_name = "BINARY")]
    against: Option<PathBuf>,
    /// Also write all figures here.
    #[arg(long)]
    json: Option<PathBuf>,
}

struct Scenario {
    name: &'static str,
    what: &'static str,
    /// A processor and its configuration.
    processor: Option<(&'static str, &'static str)>,
    /// The processor drops what matches the rules.
    drops: bool,
    /// Spans whose texts are all different.
    fresh: bool,
}

const PROXY: &str = "proxy";
const PASS: Scenario =
    Scenario { name: "pass", what: "engine, no processors", processor: None, drops: false, fresh: false };
/// E-mail addresses, cards, social security numbers, IPv4 addresses; a span has one of the last.
const FOUR_PATTERNS: &str = r#"{ allow_all_keys: true, blocked_values: ['[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}', '\b(?:\d[ -]?){13,16}\b', '\b\d{3}-\d{2}-\d{4}\b', '\b(?:\d{1,3}\.){3}\d{1,3}\b'] }"#;
const SCENARIOS: [Scenario; 7] = [
    Scenario { name: PROXY, what: "bare proxy: bytes through one gRPC server and client", ..PASS },
    PASS,
    Scenario {
        name: "filter",
        what: "engine, filter on an early attribute, 10 % dropped",
        processor: Some((
            "filter",
            r#"{ error_mode: ignore, traces: { span: ['attributes["http.route"] == "/health"'] } }"#,
        )),
        drops: true,
        ..PASS
    },
    Scenario {
        name: "filter-late",
        what: "engine, filter on the last attribute, 10 % dropped",
        processor: Some((
            "filter",
            r#"{ error_mode: ignore, traces: { span: ['attributes["deployment.ring"] == "canary"'] } }"#,
        )),
        drops: true,
        ..PASS
    },
    Scenario {
        name: "attributes",
        what: "engine, attributes: one inserted and one deleted in every span",
        processor: Some((
            "attributes",
            "{ actions: [{ key: deployment.environment, value: production, action: insert }, { key: user_agent.original, action: delete }] }",
        )),
        ..PASS
    },
    Scenario {
        name: "redact",
        what: "engine, redaction by four patterns, 3 of a span's 10 texts new in each request, one of them masked",
        processor: Some(("redaction", FOUR_PATTERNS)),
        ..PASS
    },
    Scenario {
        name: "redact-fresh",
        what: "engine, redaction by four patterns, every text new, one of a span masked",
        processor: Some(("redaction", FOUR_PATTERNS)),
        fresh: true,
        ..PASS
    },
];

/// A process under test and what it did in each round.
struct Subject {
    scenario: &'static Scenario,
    /// By the other build.
    is_other: bool,
    workload: Arc<Workload>,
    process: Process,
    address: SocketAddr,
    rounds: Vec<Round>,
}

/// One scenario in one round.
#[derive(Clone, Copy, Debug)]
struct Round {
    spans: u64,
    dropped: u64,
    cpu_nanoseconds_per_span: f64,
    spans_per_second: f64,
    p50: Duration,
    p99: Duration,
    rss_bytes: u64,
}

impl Subject {
    fn name(&self) -> String {
        let mark = if self.is_other { "'" } else { "" };
        format!("{}{mark}", self.scenario.name)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(bench(&arguments))
}

async fn bench(arguments: &Arguments) -> Result<()> {
    for name in &arguments.scenarios {
        let known = name == tail::NAME || SCENARIOS.iter().any(|s| s.name == name);
        let names = SCENARIOS.each_ref().map(|scenario| scenario.name).join(", ");
        ensure!(known, "no scenario {name:?}; there are {names}, {}", tail::NAME);
    }
    let mut figures = if arguments.scenarios == [tail::NAME] { json!({}) } else { processors(arguments).await? };
    if arguments.scenarios.is_empty() || arguments.scenarios.iter().any(|name| name == tail::NAME) {
        figures[tail::NAME] = tail::bench(arguments).await?;
    }
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&figures)?)?;
    }
    Ok(())
}

/// All scenarios in which what comes goes on at once.
async fn processors(arguments: &Arguments) -> Result<serde_json::Value> {
    let shape = Shape {
        items_per_request: arguments.spans_per_request,
        routes: arguments.routes,
        ..Shape::new(Signal::Traces)
    };
    let shape = Shape { requests: pool(arguments.spans_per_request), ..shape };
    let workload = Workload::new(shape);
    let fresh = Workload::new(Shape { fresh: true, ..shape });
    let sink = Sink::start(Behaviour::default()).await?;
    let mut subjects = Vec::new();
    for scenario in &SCENARIOS {
        if scenario.name == PROXY
            || arguments.scenarios.is_empty()
            || arguments.scenarios.iter().any(|s| s == scenario.name)
        {
            let workload = if scenario.fresh { &fresh } else { &workload };
            subjects.push(start(scenario, workload, sink.address, None).await?);
            if let Some(other) = arguments.against.as_ref().filter(|_| scenario.name != PROXY) {
                subjects.push(start(scenario, workload, sink.address, Some(other)).await?);
            }
        }
    }
    say(&format!("{}\n{}", machine(), load(arguments, &workload)))?;
    let mut run = 0;
    for round in 0..=arguments.rounds {
        let warm_up = round == 0;
        let seconds = if warm_up { arguments.seconds.min(1.0) } else { arguments.seconds };
        let plan = Plan {
            connections: arguments.connections,
            in_flight: arguments.in_flight,
            time: Duration::from_secs_f64(seconds),
            ..Plan::grpc(u64::MAX)
        };
        let first = usize::from(round) % subjects.len();
        for index in 0..subjects.len() {
            // Each round begins with another scenario.
            let index = (index + first) % subjects.len();
            run += 1;
            let measured = drive(&subjects[index], &sink, run, plan).await?;
            if !warm_up {
                subjects[index].rounds.push(measured);
            }
        }
        if !warm_up {
            say(&round_line(round, &subjects))?;
        }
    }
    say(&table(&subjects))?;
    for subject in &mut subjects {
        let status = subject.process.stop()?;
        // The proxy does not handle SIGTERM; the engine ends in order.
        ensure!(
            subject.scenario.name == PROXY || status.success(),
            "{} ended with {status}:\n{}",
            subject.scenario.name,
            subject.process.stderr()
        );
    }
    Ok(figures(arguments, &workload, &subjects))
}

/// Requests in the pool: about 64 MiB of different bytes, at least 16 requests.
fn pool(spans_per_request: usize) -> usize {
    ((64 << 20) / (548 * spans_per_request.max(1))).clamp(16, 4096)
}

async fn start(
    scenario: &'static Scenario,
    workload: &Arc<Workload>,
    sink: SocketAddr,
    other: Option<&PathBuf>,
) -> Result<Subject> {
    let (process, address) = if scenario.name == PROXY {
        start_proxy(sink).await?
    } else {
        let config = config(scenario, sink);
        let started = match other {
            Some(build) => Engine::start_build(build, &config).await,
            None => Engine::start(&config).await,
        };
        let engine = started.with_context(|| format!("scenario {}", scenario.name))?;
        (engine.process, engine.addresses.grpc)
    };
    let is_other = other.is_some();
    Ok(Subject { scenario, is_other, workload: Arc::clone(workload), process, address, rounds: Vec::new() })
}

async fn start_proxy(sink: SocketAddr) -> Result<(Process, SocketAddr)> {
    let address = Addresses::free()?.grpc;
    let mut command = Command::new(beside("bare_proxy")?);
    command.arg(address.to_string()).arg(sink.to_string());
    let mut process = Process::spawn(command, tempfile::tempdir()?)?;
    let accepts = || std::net::TcpStream::connect(address).is_ok();
    process.until(Duration::from_secs(10), "accept", accepts).await?;
    Ok((process, address))
}

fn config(scenario: &Scenario, sink: SocketAddr) -> String {
    let (processors, listed) = match scenario.processor {
        None => (String::new(), ""),
        Some((name, config)) => (format!("processors: {{ {name}: {config} }}\n"), name),
    };
    format!(
        "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: \"$GRPC\" }} }} }} }}\n\
         {processors}\
         exporters:\n  otlp:\n    endpoint: {sink}\n    tls: {{ insecure: true }}\n    compression: none\n    sending_queue: {{ wait_for_result: true }}\n\
         service:\n  {}\n  pipelines: {{ traces: {{ receivers: [otlp], processors: [{listed}], exporters: [otlp] }} }}\n",
        sluicebox_tests::engine::TELEMETRY
    )
}

fn beside(name: &str) -> Result<PathBuf> {
    let file = std::env::current_exe()?.with_file_name(name);
    ensure!(
        file.is_file(),
        "{} is missing: build with `cargo build --release -p sluicebox-tests --bins`",
        file.display()
    );
    Ok(file)
}

/// Drives one scenario for one round and checks what arrived.
async fn drive(subject: &Subject, sink: &Sink, run: u16, plan: Plan) -> Result<Round> {
    let workload = &subject.workload;
    let before = subject.process.cpu_time()?;
    let mut report = client::run(subject.address, workload, run, plan).await?;
    let cpu = subject.process.cpu_time()? - before;
    if let Some((number, settled)) = report.first_failure() {
        bail!("{}: request {number} ended as {settled:?}", subject.scenario.name);
    }
    let seen = sink.take_seen(Signal::Traces, run);
    let delivered = workload
        .check(&report.settled, &seen, subject.scenario.drops)
        .with_context(|| format!("{}: wrong delivery", subject.scenario.name))?;
    let spans = report.accepted() * workload.items_per_request();
    ensure!(delivered.arrived + delivered.dropped == spans, "{}: {delivered:?} of {spans}", subject.scenario.name);
    Ok(Round {
        spans,
        dropped: delivered.dropped,
        cpu_nanoseconds_per_span: cpu.as_nanos() as f64 / spans as f64,
        spans_per_second: spans as f64 / report.elapsed.as_secs_f64(),
        p50: report.latency(0.5),
        p99: report.latency(0.99),
        rss_bytes: subject.process.rss_bytes()?,
    })
}

fn round_line(round: u16, subjects: &[Subject]) -> String {
    let mut line = format!("round {round}:");
    for subject in subjects {
        if let Some(last) = subject.rounds.last() {
            // Writing to a String cannot fail.
            let _infallible = write!(line, "  {} {:.0} ns", subject.name(), last.cpu_nanoseconds_per_span);
        }
    }
    line
}

fn table(subjects: &[Subject]) -> String {
    let mut out = format!(
        "\n{:<12} {:>22} {:>20} {:>10} {:>8} {:>8} {:>8}\n",
        "scenario", "CPU ns per span", "ratio to proxy", "spans/s", "p50 ms", "p99 ms", "RSS MiB"
    );
    for subject in subjects {
        let cpu = spread(subject, |r| r.cpu_nanoseconds_per_span);
        let ratio = ratios(subject, &subjects[0]);
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            out,
            "{:<12} {:>8.0} ({:.0} to {:.0}) {:>8.2} ({:.2} to {:.2}) {:>10.0} {:>8.2} {:>8.2} {:>8.0}",
            subject.name(),
            cpu.median,
            cpu.least,
            cpu.most,
            ratio.median,
            ratio.least,
            ratio.most,
            spread(subject, |r| r.spans_per_second).median,
            spread(subject, |r| r.p50.as_secs_f64() * 1e3).median,
            spread(subject, |r| r.p99.as_secs_f64() * 1e3).median,
            spread(subject, |r| r.rss_bytes as f64 / f64::from(1 << 20)).most,
        );
    }
    for subject in subjects {
        let (spans, dropped) = subject.rounds.iter().fold((0, 0), |(s, d), r| (s + r.spans, d + r.dropped));
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            out,
            "{}: {}; {spans} spans in, {} at the sink, {dropped} dropped by the rule, none lost, none twice",
            subject.name(),
            subject.scenario.what,
            spans - dropped
        );
    }
    for pair in subjects.windows(2).filter(|pair| pair[1].is_other) {
        let Spread { median, least, most } = ratios(&pair[0], &pair[1]);
        // Writing to a String cannot fail.
        let _infallible =
            writeln!(out, "{}: {median:.3} ({least:.3} to {most:.3}) times the other build", pair[0].name());
    }
    out + "Median of the rounds (least to most). CPU time is user + system of the process under test."
}

#[derive(Clone, Copy, Debug)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

fn spread(subject: &Subject, of: impl Fn(&Round) -> f64) -> Spread {
    spread_of(subject.rounds.iter().map(of).collect())
}

/// Of each round against another subject in the same round.
fn ratios(subject: &Subject, other: &Subject) -> Spread {
    let pairs = subject.rounds.iter().zip(&other.rounds);
    spread_of(pairs.map(|(a, b)| a.cpu_nanoseconds_per_span / b.cpu_nanoseconds_per_span).collect())
}

fn spread_of(mut values: Vec<f64>) -> Spread {
    values.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    Spread { median: at(values.len() / 2), least: at(0), most: at(values.len().saturating_sub(1)) }
}

fn figures(arguments: &Arguments, workload: &Workload, subjects: &[Subject]) -> serde_json::Value {
    let scenarios: serde_json::Map<_, _> = subjects
        .iter()
        .map(|subject| {
            let rounds: Vec<_> = subject
                .rounds
                .iter()
                .zip(&subjects[0].rounds)
                .map(|(r, proxy)| {
                    json!({
                        "spans": r.spans, "dropped": r.dropped,
                        "cpu_nanoseconds_per_span": r.cpu_nanoseconds_per_span,
                        "ratio_to_proxy": r.cpu_nanoseconds_per_span / proxy.cpu_nanoseconds_per_span,
                        "spans_per_second": r.spans_per_second,
                        "p50_seconds": r.p50.as_secs_f64(), "p99_seconds": r.p99.as_secs_f64(),
                        "rss_bytes": r.rss_bytes,
                    })
                })
                .collect();
            (
                subject.name(),
                json!({ "what": subject.scenario.what, "processor": subject.scenario.processor, "rounds": rounds }),
            )
        })
        .collect();
    json!({
        "machine": machine(),
        "load": load(arguments, workload),
        "seconds": arguments.seconds,
        "bytes_per_span": workload.bytes_per_item(),
        "spans_per_request": workload.items_per_request(),
        "scenarios": scenarios,
    })
}

fn load(arguments: &Arguments, workload: &Workload) -> String {
    format!(
        "{} spans per request, {:.0} B per span, {} routes, {} connections x {} in flight, no compression, acknowledged end to end, {} rounds of {} s",
        workload.items_per_request(),
        workload.bytes_per_item(),
        arguments.routes,
        arguments.connections,
        arguments.in_flight,
        arguments.rounds,
        arguments.seconds
    )
}

fn machine() -> String {
    let read = |file: &str| std::fs::read_to_string(Path::new(file)).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
