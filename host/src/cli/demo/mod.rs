//! `sluicebox demo`: the engine, a made-up shop that sends to it, a backend that it sends to, and what happens in between.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::backend::Backend;
use self::children::Process;
use self::ports::Addresses;
use self::send::TrafficArgs;
use self::show::Table;

mod backend;
mod children;
mod ports;
mod readings;
mod send;
mod shop;
mod show;

/// Components are compiled before the engine listens.
const START_BOUND: Duration = Duration::from_secs(120);
/// When the example is shown: the batch processor has sent by then.
const EXAMPLE_AFTER: Duration = Duration::from_secs(3);
const PLAIN_EVERY: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);
/// For what is in the engine when the traffic stops.
const DRAIN_BOUND: Duration = Duration::from_secs(5);

/// Runs the engine on a configuration with made-up traffic and shows what it does.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  sluicebox demo --config examples/quickstart/sluicebox.yaml"
)]
pub struct DemoArgs {
    #[command(subcommand)]
    part: Option<Part>,
    /// The configuration; changes to it take effect while the demo runs.
    #[arg(long, default_value = "examples/quickstart/sluicebox.yaml")]
    config: PathBuf,
    /// Orders per second in the shop.
    #[arg(long, default_value_t = 20)]
    orders_per_second: u32,
    /// End by itself after this time, such as 20s.
    #[arg(long = "for", value_parser = parse_duration)]
    time: Option<Duration>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Only the shop's traffic, sent to an engine that runs already.
    Traffic(TrafficArgs),
}

/// Runs the demo, or only its traffic.
pub async fn run(args: DemoArgs, out: &mut dyn Write) -> Result<()> {
    if let Some(Part::Traffic(traffic)) = args.part {
        return send::run(traffic, out).await;
    }
    if !args.config.is_file() {
        bail!("{} is missing: run this in the source tree, or name a file with --config", args.config.display());
    }
    // From the first child on, a signal must end the children too.
    let mut interrupt = Interrupt::listen()?;
    let addresses = Addresses::pick()?;
    let backend = Backend::start(addresses.backend).await?;
    let config = args.config.display().to_string();
    let mut engine = Process::start("the engine", &["run", "--config", &config, "--watch"], &addresses.environment())?;
    let started = tokio::select! {
        started = until_ready(&mut engine, &addresses) => started.map(|()| true),
        () = interrupt.wait() => Ok(false),
    };
    let result = match started {
        Ok(true) => with_traffic(&args, &addresses, &backend, &mut engine, &mut interrupt, out).await,
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    engine.stop().await?;
    result
}

async fn until_ready(engine: &mut Process, addresses: &Addresses) -> Result<()> {
    let end = Instant::now() + START_BOUND;
    for address in [addresses.grpc, addresses.metrics] {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            engine.check().await?;
            if Instant::now() >= end {
                bail!("the engine did not listen on {address} within {START_BOUND:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

async fn with_traffic(
    args: &DemoArgs,
    addresses: &Addresses,
    backend: &Backend,
    engine: &mut Process,
    interrupt: &mut Interrupt,
    out: &mut dyn Write,
) -> Result<()> {
    let endpoint = addresses.grpc.to_string();
    let orders = args.orders_per_second.to_string();
    let arguments = ["demo", "traffic", "--endpoint", &endpoint, "--orders-per-second", &orders];
    let mut traffic = Process::start("the traffic", &arguments, &[])?;
    introduce(addresses, backend, [&*engine, &traffic], out)?;
    let mut screen = Screen { start: Instant::now(), terminal: std::io::stdout().is_terminal(), drawn: 0 };
    let result = tokio::select! {
        result = screen.watch(addresses, backend, engine, &mut traffic, args, out) => result,
        () = interrupt.wait() => Ok(()),
    };
    // With the traffic stopped, what is inside comes out, and the account closes.
    traffic.stop().await?;
    if result.is_ok() {
        let last = drained(addresses, backend).await?;
        writeln!(out, "\nEnd:\n{}", show::line(&last, screen.start.elapsed()))?;
    }
    result
}

fn introduce(
    addresses: &Addresses,
    backend: &Backend,
    [engine, traffic]: [&Process; 2],
    out: &mut dyn Write,
) -> Result<()> {
    writeln!(out, "A made-up shop of five services sends traces, logs and metrics through the engine to a backend.\n")?;
    writeln!(out, "  OTLP/gRPC   {}", addresses.grpc)?;
    writeln!(out, "  OTLP/HTTP   http://{}", addresses.http)?;
    writeln!(out, "  metrics     http://{}/metrics", addresses.metrics)?;
    writeln!(out, "  admin       http://{}", addresses.admin)?;
    writeln!(out, "  backend     {} (inside this process)", backend.address)?;
    let id = |process: &Process| process.id().map_or_else(|| "ended".to_owned(), |id| id.to_string());
    writeln!(out, "  processes   engine {}, traffic {}; Ctrl-C ends all\n", id(engine), id(traffic))?;
    Ok(out.flush()?)
}

struct Screen {
    start: Instant,
    terminal: bool,
    drawn: usize,
}

impl Screen {
    /// Shows what happens until the time is over or a process ends.
    async fn watch(
        &mut self,
        addresses: &Addresses,
        backend: &Backend,
        engine: &mut Process,
        traffic: &mut Process,
        args: &DemoArgs,
        out: &mut dyn Write,
    ) -> Result<()> {
        let every = if self.terminal { SECOND } else { PLAIN_EVERY };
        let mut before = Table::default();
        let (mut read_at, mut examples, mut shown) = (Instant::now(), Vec::new(), false);
        let mut next = every;
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            engine.check().await?;
            traffic.check().await?;
            examples.extend(traffic.take_printed());
            let elapsed = self.start.elapsed();
            if !shown && elapsed >= EXAMPLE_AFTER {
                shown = true;
                show_examples(&examples, backend, out)?;
                guide(&args.config, addresses, out)?;
                self.drawn = 0;
            }
            let over = args.time.is_some_and(|time| elapsed >= time);
            if elapsed >= next {
                next += every;
                let now = show::read(addresses.metrics, backend).await?;
                if self.terminal {
                    let lines = show::table(&now, &before, read_at.elapsed());
                    show::redraw(out, &lines, &mut self.drawn)?;
                } else {
                    writeln!(out, "{}", show::line(&now, elapsed))?;
                    out.flush()?;
                }
                (before, read_at) = (now, Instant::now());
            }
            if over {
                return Ok(());
            }
        }
    }
}

/// What became of the two traces that the traffic named.
fn show_examples(lines: &[String], backend: &Backend, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "For example:")?;
    for line in lines {
        let mut words = line.split(' ');
        let (Some("example"), Some(kind), Some(spans), Some(trace_id)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let arrived = backend.spans(&unhex(trace_id));
        let what = if kind == "health" { "a health check" } else { "an order" };
        writeln!(out, "  {what}, trace {trace_id}: spans in {spans}, out {}", arrived.len())?;
        for span in arrived {
            writeln!(out, "      {span}")?;
        }
    }
    Ok(writeln!(out)?)
}

fn guide(config: &std::path::Path, addresses: &Addresses, out: &mut dyn Write) -> Result<()> {
    let config = config.display();
    writeln!(out, "Next:")?;
    writeln!(out, "  edit {config} while this runs: change a filter's condition, save, and watch the numbers")?;
    writeln!(out, "  sluicebox validate --config {config}")?;
    writeln!(out, "  curl -s http://{}/metrics | grep _items\n", addresses.metrics)?;
    Ok(out.flush()?)
}

/// The counts once everything received is accounted for, or after a bound.
async fn drained(addresses: &Addresses, backend: &Backend) -> Result<Table> {
    let end = Instant::now() + DRAIN_BOUND;
    loop {
        let now = show::read(addresses.metrics, backend).await?;
        let settled = now.iter().all(|c| c.received == c.arrived + c.dropped.values().sum::<u64>());
        if settled || Instant::now() >= end {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Ctrl-C, or being asked to end.
struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    fn listen() -> Result<Self> {
        let interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// `500ms`, `20s`, `2m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| format!("\"{text}\" is not a duration such as 20s"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(format!("\"{text}\" needs a unit: ms, s or m")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..text.len()).step_by(2).filter_map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units() {
        assert_eq!(parse_duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(parse_duration("20").is_err() && parse_duration("s").is_err() && parse_duration("").is_err());
    }

    #[tokio::test]
    async fn the_traffic_arrives_at_a_backend_and_its_examples_are_found() {
        let backend = Backend::start(([127, 0, 0, 1], 0).into()).await.expect("listens");
        let endpoint = backend.address.to_string();
        let time = Some(Duration::from_millis(400));
        let mut printed = Vec::new();
        let traffic = TrafficArgs { endpoint, orders_per_second: 50, time };
        send::run(traffic, &mut printed).await.expect("sends");
        for signal in crate::signal::Signal::ALL {
            assert!(backend.items(signal) > 0, "{signal}");
        }
        let printed = String::from_utf8(printed).expect("text");
        let lines: Vec<_> = printed.lines().map(str::to_owned).collect();
        let mut shown = Vec::new();
        show_examples(&lines, &backend, &mut shown).expect("writes");
        let shown = String::from_utf8(shown).expect("text");
        assert!(shown.contains("an order, trace ") && shown.contains("spans in 6, out 6"), "{shown}");
        assert!(shown.contains("payment: charge card") && shown.contains(": GET /health"), "{shown}");
    }

    #[test]
    fn trace_ids_survive_hex() {
        assert_eq!(unhex(&hex(&[0, 1, 0xfe, 0xff])), [0, 1, 0xfe, 0xff]);
    }
}
