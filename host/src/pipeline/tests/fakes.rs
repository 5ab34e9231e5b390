//! Stages without Wasm, destinations without sockets, requests.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use tokio::sync::watch;

use crate::batch::{Batch, Level, RowSet};
use crate::config::model::OnFault;
use crate::export::{Destination, Sent};
use crate::pipeline::stage::{Effects, Fault, FaultKind, Generation, Instance, RuleDrop};
use crate::signal::Signal;

/// What a fake guest does with a slice.
pub enum Act {
    /// Drops these item rows, by the rule of this number.
    Drop(Vec<u32>, u16),
    Want(Effects),
    Fault(FaultKind),
    Panic,
}

pub type Guest = dyn Fn(&Batch, Range<u32>) -> Act + Send + Sync;

/// A generation whose guest is a function.
pub struct FakeGeneration {
    pub stage: String,
    pub number: u64,
    pub on_fault: OnFault,
    pub guest: Arc<Guest>,
    pub calls: Arc<AtomicU64>,
    pub rules: Vec<String>,
    /// While it is true, there are no instances.
    pub is_unavailable: Arc<AtomicBool>,
    /// An instance lasts for so many calls, then it faults.
    pub calls_max: u64,
    pub edits: bool,
}

impl FakeGeneration {
    pub fn new(stage: &str, guest: impl Fn(&Batch, Range<u32>) -> Act + Send + Sync + 'static) -> FakeGeneration {
        FakeGeneration {
            stage: stage.to_owned(),
            number: 1,
            on_fault: OnFault::Reject,
            guest: Arc::new(guest),
            calls: Arc::default(),
            rules: vec!["even".to_owned(), "odd".to_owned()],
            is_unavailable: Arc::default(),
            calls_max: u64::MAX,
            edits: true,
        }
    }
}

impl std::fmt::Debug for FakeGeneration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.stage, self.number)
    }
}

impl Generation for FakeGeneration {
    fn stage(&self) -> &str {
        &self.stage
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn digest(&self) -> &str {
        "fake"
    }

    fn on_fault(&self) -> OnFault {
        self.on_fault
    }

    fn edits(&self) -> bool {
        self.edits
    }

    fn rules(&self) -> &[String] {
        &self.rules
    }

    fn instance(&self) -> Result<Box<dyn Instance>, Fault> {
        if self.is_unavailable.load(Ordering::Relaxed) {
            return Err(Fault { kind: FaultKind::Trap, message: "no instance".to_owned() });
        }
        Ok(Box::new(FakeInstance {
            guest: Arc::clone(&self.guest),
            calls: Arc::clone(&self.calls),
            calls_left: self.calls_max,
        }))
    }
}

struct FakeInstance {
    guest: Arc<Guest>,
    calls: Arc<AtomicU64>,
    calls_left: u64,
}

impl Instance for FakeInstance {
    fn call(&mut self, batch: Batch, items: Range<u32>) -> (Batch, Result<Effects, Fault>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let Some(left) = self.calls_left.checked_sub(1) else {
            return (batch, Err(Fault { kind: FaultKind::Memory, message: "worn out".to_owned() }));
        };
        self.calls_left = left;
        let result = match (self.guest)(&batch, items.clone()) {
            Act::Drop(dropped, rule) => {
                let mut rows = RowSet::empty(Level::Item, items.end - items.start);
                dropped.into_iter().for_each(|row| rows.insert(row));
                Ok(Effects { drops: vec![RuleDrop { rows, rule }], ..Effects::default() })
            }
            Act::Want(effects) => Ok(effects),
            Act::Fault(kind) => Err(Fault { kind, message: "as asked".to_owned() }),
            Act::Panic => panic!("as asked"),
        };
        (batch, result)
    }

    fn memory_bytes(&self) -> u64 {
        1 << 16
    }

    fn wants_recycling(&self) -> bool {
        self.calls.load(Ordering::Relaxed).is_multiple_of(10)
    }
}

/// A destination that answers as it is told, once its gate is open, and remembers what it took.
pub struct FakeDestination {
    gate: watch::Receiver<bool>,
    answer: Box<dyn Fn(u64) -> Sent + Send + Sync>,
    pub taken: Mutex<VecDeque<u64>>,
    /// All that was sent to it, whatever it answered.
    pub seen: Mutex<Vec<Bytes>>,
}

impl FakeDestination {
    /// `answer` is asked with the number of items of a request.
    pub fn new(
        gate: watch::Receiver<bool>,
        answer: impl Fn(u64) -> Sent + Send + Sync + 'static,
    ) -> Arc<FakeDestination> {
        Arc::new(FakeDestination { gate, answer: Box::new(answer), taken: Mutex::default(), seen: Mutex::default() })
    }
}

impl Destination for FakeDestination {
    fn send<'a>(&'a self, signal: Signal, body: &'a [Bytes]) -> BoxFuture<'a, Sent> {
        Box::pin(async move {
            let mut gate = self.gate.clone();
            // A gate without a key stays as it is.
            let _open_or_left = gate.wait_for(|open| *open).await;
            let body = Bytes::from(body.concat());
            self.seen.lock().expect("no panic").push(body.clone());
            let whole = Batch::index(signal, vec![body]).expect("what is sent can be read");
            let sent = (self.answer)(whole.account());
            if matches!(sent, Sent::Accepted { .. }) {
                self.taken.lock().expect("no panic").push_back(whole.account());
            }
            sent
        })
    }
}

/// An open gate.
pub fn open() -> watch::Receiver<bool> {
    watch::channel(true).1
}

/// A request of `items` items in `envelopes` envelopes; metrics have three points each.
pub fn request(signal: Signal, envelopes: usize, items: usize) -> Bytes {
    let bytes = match signal {
        Signal::Traces => {
            let span = |n: usize| Span { name: format!("span {n}"), ..Span::default() };
            let scope = ScopeSpans { spans: (0..items).map(span).collect(), ..ScopeSpans::default() };
            let envelope = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
            ExportTraceServiceRequest { resource_spans: vec![envelope; envelopes] }.encode_to_vec()
        }
        Signal::Metrics => {
            let gauge = Gauge { data_points: vec![NumberDataPoint::default(); 3] };
            let metric = Metric { data: Some(metric::Data::Gauge(gauge)), ..Metric::default() };
            let scope = ScopeMetrics { metrics: vec![metric; items], ..ScopeMetrics::default() };
            let envelope = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
            ExportMetricsServiceRequest { resource_metrics: vec![envelope; envelopes] }.encode_to_vec()
        }
        Signal::Logs => {
            let record = LogRecord { severity_text: "info".to_owned(), ..LogRecord::default() };
            let scope = ScopeLogs { log_records: vec![record; items], ..ScopeLogs::default() };
            let envelope = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
            ExportLogsServiceRequest { resource_logs: vec![envelope; envelopes] }.encode_to_vec()
        }
    };
    Bytes::from(bytes)
}

/// Bytes that are no request.
pub fn malformed() -> Bytes {
    Bytes::from_static(&[0x0a, 0x7f, 1])
}
