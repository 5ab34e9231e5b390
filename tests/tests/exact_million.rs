//! A million items of each signal through a filter: exactly what the generator's list says arrives, and the account closes.

use std::time::Duration;

use sluicebox::signal::Signal;
use sluicebox_tests::client::{self, Plan};
use sluicebox_tests::engine::{Engine, TELEMETRY};
use sluicebox_tests::generate::{EARLY_RULE, LATE_RULE, Shape, Workload};
use sluicebox_tests::sink::{Behaviour, Sink};
use sluicebox_tests::soak_factor;

const ITEMS_PER_REQUEST: usize = 500;
const BOUND: Duration = Duration::from_secs(60);

/// A million items, or as many times more as a soak asks for.
fn requests() -> u64 {
    2_000 * soak_factor()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_spans() {
    let condition = format!("traces: {{ span: ['{EARLY_RULE}'] }}");
    a_million(Signal::Traces, &condition, Plan::grpc(requests())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_log_records_over_http_with_gzip() {
    let condition = format!("logs: {{ log_record: ['{LATE_RULE}'] }}");
    a_million(Signal::Logs, &condition, Plan { gzip: true, ..Plan::http(requests()) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_data_points_with_gzip() {
    let condition = format!("metrics: {{ datapoint: ['{EARLY_RULE}'] }}");
    a_million(Signal::Metrics, &condition, Plan { gzip: true, ..Plan::grpc(requests()) }).await.unwrap();
}

async fn a_million(signal: Signal, condition: &str, plan: Plan) -> anyhow::Result<()> {
    let shape = Shape { requests: 60, items_per_request: ITEMS_PER_REQUEST, odd: true, ..Shape::new(signal) };
    let workload = Workload::new(shape);
    let sink = Sink::start(Behaviour::default()).await?;
    let engine = Engine::start(&config(signal, condition, &sink)).await?;
    let address = match plan.protocol {
        client::Protocol::Grpc => engine.addresses.grpc,
        client::Protocol::Http => engine.addresses.http,
    };

    let report = client::run(address, &workload, 1, plan).await?;

    assert_eq!(report.first_failure(), None);
    let metrics = engine.settled_account(BOUND).await?;
    let delivered = workload.check(&report.settled, &sink.take_seen(signal, 1), true)?;
    let items = requests() * ITEMS_PER_REQUEST as u64;
    assert_eq!(delivered.dropped, workload.matching(requests()));
    assert_eq!(delivered.arrived + delivered.dropped, items);
    let labels = [("signal", signal.as_str())];
    // What was refused for a moment and sent again counts each time it came.
    assert_eq!(metrics.sum("receiver_accepted_items", &labels), items);
    assert_eq!(metrics.sum("pipeline_accepted_items", &labels), items);
    assert_eq!(metrics.sum("pipeline_dropped_items", &[("stage", "filter"), ("intended", "true")]), delivered.dropped);
    assert_eq!(metrics.sum("exporter_sent_items", &labels), delivered.arrived);
    Ok(())
}

fn config(signal: Signal, condition: &str, sink: &Sink) -> String {
    format!(
        r#"
receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: "$GRPC" }}, http: {{ endpoint: "$HTTP" }} }} }} }}
processors:
  filter: {{ error_mode: ignore, {condition} }}
  batch: {{ send_batch_size: 2000, timeout: 100ms }}
exporters:
  otlp: {{ endpoint: "{}", tls: {{ insecure: true }}, compression: none }}
service:
  {TELEMETRY}
  pipelines: {{ {signal}: {{ receivers: [otlp], processors: [filter, batch], exporters: [otlp] }} }}
"#,
        sink.address
    )
}
