//! Shards from outside: requests in, requests out, decoded by prost, which shares no code with what is tested.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

use super::arrivals::Arrivals;
use super::shard::{Full, Ingested, Now, Released, Settings, Settled, Shard};
use super::traces::Trigger;
use super::verdict::{Decider, Verdict, Vote};
use crate::memory::Budget;

mod memory;
mod random;
mod reconfigure;
mod release;
mod rules;

/// The wall clock when the process started.
const STARTED_UNIX_NANO: u64 = 1_700_000_000_000_000_000;

/// A shard and its clock.
struct Lab {
    shard: Shard,
    budget: Arc<Budget>,
    millis: u64,
}

impl Lab {
    fn new(change: impl FnOnce(&mut Settings)) -> Lab {
        Lab::within(&Budget::new(1 << 40), change)
    }

    fn within(budget: &Arc<Budget>, change: impl FnOnce(&mut Settings)) -> Lab {
        let mut settings = Settings {
            sampler: "tail_sampling/lab".to_owned(),
            decision_wait: Duration::from_secs(10),
            wait_after_root: None,
            traces_max: 1000,
            bytes_max: 64 << 20,
            evicts: true,
            span_limit: None,
            trace_bytes_limit: 1 << 30,
            drop_larger_than_bytes: None,
            kept_ids_max: 100,
            dropped_ids_max: 100,
            history_max: 100,
            records_decisions: false,
        };
        change(&mut settings);
        Lab { shard: Shard::new(settings, budget, 7), budget: Arc::clone(budget), millis: 0 }
    }

    fn now(&self) -> Now {
        Now { since_start: Duration::from_millis(self.millis), unix_nano: STARTED_UNIX_NANO + self.millis * 1_000_000 }
    }

    /// Lets spans arrive, all of one scope.
    fn take(&mut self, spans: Vec<Span>) -> Ingested {
        self.try_take(request("shop", spans)).expect("there is room")
    }

    fn try_take(&mut self, request: Bytes) -> Result<Ingested, Full> {
        let mut all = Ingested::default();
        for (_, arrival) in Arrivals::read(request).expect("is valid").split(1) {
            all = self.shard.ingest(self.now(), &arrival)?;
        }
        Ok(all)
    }

    /// Ids (their last byte) and triggers of what is due; nothing is decided.
    fn due(&mut self) -> Vec<(u8, Trigger)> {
        let Some(due) = self.shard.due(self.now()) else { return Vec::new() };
        let triggers = due.traces.triggers.iter().map(|&trigger| Trigger::ALL[usize::from(trigger)]);
        due.traces.ids.iter().map(|id| id[15]).zip(triggers).collect()
    }

    /// Decides what is due, once, by the last byte of the id.
    fn settle(&mut self, verdict: impl Fn(u8) -> Verdict) -> Settled {
        let Some(due) = self.shard.due(self.now()) else { return Settled::default() };
        let verdicts = due.traces.ids.iter().map(|id| verdict(id[15])).collect();
        self.shard.settle(self.now(), due, verdicts)
    }
}

fn verdict(vote: Vote, threshold: u64) -> Verdict {
    let decider = Some(Arc::new(Decider { policy: "errors".to_owned(), generation: 3 }));
    Verdict { vote, threshold, is_settled: true, decider }
}

fn keep(_: u8) -> Verdict {
    verdict(Vote::Keep, 0)
}

fn drop_it(_: u8) -> Verdict {
    verdict(Vote::Drop, 0)
}

/// A span of trace `id`, with a number of its own and a parent.
fn span(id: u8, number: u8) -> Span {
    Span {
        trace_id: vec![id; 16],
        span_id: vec![number; 8],
        parent_span_id: vec![1; 8],
        name: "GET /cart".to_owned(),
        start_time_unix_nano: 1_000,
        end_time_unix_nano: 2_000,
        ..Span::default()
    }
}

fn root(id: u8, number: u8) -> Span {
    Span { parent_span_id: Vec::new(), ..span(id, number) }
}

fn failed(id: u8, number: u8) -> Span {
    Span { status: Some(Status { code: 2, ..Status::default() }), ..span(id, number) }
}

fn text(key: &str, text: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// A request of one resource and scope.
fn request(service: &str, spans: Vec<Span>) -> Bytes {
    let resource = Resource { attributes: vec![text("service.name", service)], ..Resource::default() };
    let scope = InstrumentationScope { name: "lab".to_owned(), ..InstrumentationScope::default() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: "scopes".to_owned() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, schema_url: "all".to_owned() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

/// Spans by trace and envelopes, in their order, each as prost encodes it.
type Content = BTreeMap<(Vec<u8>, Vec<u8>), Vec<Vec<u8>>>;

/// What requests hold.
fn content<'a>(requests: impl IntoIterator<Item = &'a Bytes>) -> Content {
    let mut content = Content::new();
    for request in requests {
        let request = ExportTraceServiceRequest::decode(request.as_ref()).expect("is a request");
        for mut resource in request.resource_spans {
            for mut scope in std::mem::take(&mut resource.scope_spans) {
                let spans = std::mem::take(&mut scope.spans);
                let envelope = ResourceSpans { scope_spans: vec![scope], ..resource.clone() }.encode_to_vec();
                for span in spans {
                    content.entry((trace_of(&span).to_vec(), envelope.clone())).or_default().push(span.encode_to_vec());
                }
            }
        }
    }
    content
}

fn trace_of(span: &Span) -> [u8; 16] {
    span.trace_id.as_slice().try_into().unwrap_or_default()
}

/// The spans in requests.
fn spans(released: &[Released]) -> Vec<Span> {
    let mut spans = Vec::new();
    for released in released {
        let request = ExportTraceServiceRequest::decode(released.body.as_ref()).expect("is a request");
        let before = spans.len();
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        spans.extend(scopes.flat_map(|scope| scope.spans));
        assert_eq!((spans.len() - before) as u64, released.spans);
    }
    spans
}
