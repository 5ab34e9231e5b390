//! The traffic process: runs the shop and sends its telemetry over OTLP/gRPC, as its services' SDKs would.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::transport::{Channel, Endpoint};

use super::shop::{Example, Shop};

/// One in ten of a second's traffic at a time, so that the display moves.
const TICK: Duration = Duration::from_millis(100);
/// Failures in a row after which the engine is taken for gone.
const FAILURES_MAX: u32 = 50;

/// Sends made-up traffic until it is ended.
#[derive(Debug, clap::Args)]
pub(super) struct TrafficArgs {
    /// Where to send: host:port of OTLP/gRPC.
    #[arg(long, default_value = "127.0.0.1:4317")]
    pub(super) endpoint: String,
    /// Orders per second; twice as many people browse, and as many health checks come in.
    #[arg(long, default_value_t = 20)]
    pub(super) orders_per_second: u32,
    /// End by itself after this time, such as 20s.
    #[arg(long = "for", value_parser = super::parse_duration)]
    pub(super) time: Option<Duration>,
}

/// Runs the traffic. Writes one line for each of two example traces, for the orchestrator.
pub(super) async fn run(args: TrafficArgs, out: &mut dyn Write) -> Result<()> {
    let endpoint = Endpoint::from_shared(format!("http://{}", args.endpoint))
        .with_context(|| format!("\"{}\" is not host:port", args.endpoint))?;
    let mut services = Services::new(&endpoint.connect_lazy());
    let mut shop = Shop::open(42);
    let start = Instant::now();
    let (mut orders, mut failures, mut tick) = (0_u64, 0, 0_u32);
    let mut clock = tokio::time::interval(TICK);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while args.time.is_none_or(|time| start.elapsed() < time) {
        clock.tick().await;
        tick += 1;
        let due = u64::from(args.orders_per_second) * u64::from(tick) / 10;
        while orders < due {
            orders += 1;
            shop.browse();
            shop.browse();
            let (order, check) = (shop.order(), shop.health_check());
            if orders == 1 {
                example(out, "order", &order)?;
                example(out, "health", &check)?;
            }
        }
        match services.send(&mut shop).await {
            Ok(()) => failures = 0,
            Err(status) => {
                failures += 1;
                anyhow::ensure!(failures < FAILURES_MAX, "{} does not answer: {status}", args.endpoint);
            }
        }
    }
    Ok(())
}

/// `example order 6 0123...`: kind, spans, trace id.
fn example(out: &mut dyn Write, kind: &str, example: &Example) -> Result<()> {
    writeln!(out, "example {kind} {} {}", example.spans, super::hex(&example.trace_id))?;
    Ok(out.flush()?)
}

struct Services {
    traces: TraceServiceClient<Channel>,
    metrics: MetricsServiceClient<Channel>,
    logs: LogsServiceClient<Channel>,
}

impl Services {
    fn new(channel: &Channel) -> Self {
        Self {
            traces: TraceServiceClient::new(channel.clone()),
            metrics: MetricsServiceClient::new(channel.clone()),
            logs: LogsServiceClient::new(channel.clone()),
        }
    }

    /// Sends once; what is refused is lost, as with an SDK whose queue is full.
    async fn send(&mut self, shop: &mut Shop) -> Result<(), Box<tonic::Status>> {
        let telemetry = shop.take();
        self.traces.export(telemetry.traces).await?;
        self.logs.export(telemetry.logs).await?;
        self.metrics.export(telemetry.metrics).await?;
        Ok(())
    }
}
