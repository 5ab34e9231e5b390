//! Of a policy: a made-up moment of a tail sampler, with traces of several kinds and, if it reads any, their spans.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, status::StatusCode};
use prost::Message as _;

use super::batches::{attributes, resource_of, scope};
use crate::batch::Batch;
use crate::pipeline::stage::{Fault, FaultKind, Policy as _};
use crate::signal::Signal;
use crate::tail::traces::{MARK_ROOT, MARK_SAMPLED, Traces, Trigger};
use crate::tail::verdict::{THRESHOLD_END, THRESHOLD_UNKNOWN};
use crate::wasm::bindings::Sampler;
use crate::wasm::error::ProbeError;
use crate::wasm::instance::{CallError, GuestInstance};

/// 2026-01-01, the time of the made-up decision.
const NOW_UNIX_NANO: u64 = 1_767_225_600_000_000_000;
const MS: u64 = 1_000_000;
/// W3C Trace Context, trace-flags.
const SAMPLED: u32 = 1;

/// Calls the instance once. Its votes have to be right, and mean nothing.
pub(in crate::wasm) fn probe(instance: &mut GuestInstance<Sampler>) -> Result<(), ProbeError> {
    let (mut traces, request) = moment();
    let mut segments = Vec::new();
    if instance.reads_spans() {
        segments.push(request);
    } else {
        traces.trace_of.clear();
    }
    let failed = |fault| ProbeError { signal: Signal::Traces, fault };
    let batch = Batch::index(Signal::Traces, segments)
        .map_err(|malformed| failed(Fault { kind: FaultKind::Trap, message: malformed.to_string() }))?;
    let (_, result) = instance.vote(&Arc::new(traces), batch);
    // The traces are made up, so what the guest says of them is no telemetry.
    result.map(drop).map_err(|error| failed(instance.with_lines(CallError::with_text(error))))
}

/// One made-up trace.
struct Made {
    trigger: Trigger,
    spans: Vec<MadeSpan>,
}

struct MadeSpan {
    service: &'static str,
    is_root: bool,
    code: StatusCode,
    duration_ms: u64,
}

const fn span(service: &'static str, is_root: bool, code: StatusCode, duration_ms: u64) -> MadeSpan {
    MadeSpan { service, is_root, code, duration_ms }
}

/// A usual trace, one with an error, a slow one of several services, a root alone, and one that is asked for early.
fn made() -> [Made; 5] {
    use StatusCode::{Error, Ok, Unset};
    [
        Made { trigger: Trigger::Wait, spans: vec![span("probe", true, Ok, 20), span("probe", false, Unset, 10)] },
        Made { trigger: Trigger::Root, spans: vec![span("probe", true, Unset, 20), span("probe", false, Error, 5)] },
        Made {
            trigger: Trigger::Memory,
            spans: vec![span("probe", true, Unset, 90_000), span("other", false, Unset, 80_000)],
        },
        Made { trigger: Trigger::Limit, spans: vec![span("probe", true, Unset, 1)] },
        Made { trigger: Trigger::Early, spans: vec![span("other", false, Error, 0)] },
    ]
}

/// What is known of the traces, and their spans as one request.
fn moment() -> (Traces, Bytes) {
    let mut traces = Traces { now_unix_nano: NOW_UNIX_NANO, ..Traces::default() };
    let mut resource_spans = Vec::new();
    for (number, Made { trigger, spans }) in (0_u32..).zip(made()) {
        let id = [number as u8 + 1; 16];
        let start = NOW_UNIX_NANO - 120_000 * MS;
        let with = |code| spans.iter().filter(|span| span.code == code).count() as u32;
        let requests: Vec<ResourceSpans> = spans.iter().map(|span| of_span(id, start, span)).collect();
        let bytes = requests.iter().flat_map(|one| &one.scope_spans).flat_map(|scope| &scope.spans);
        traces.ids.push(id);
        traces.randomness.push(u64::from_be_bytes([id[0]; 8]) % THRESHOLD_END);
        traces.thresholds.push(THRESHOLD_UNKNOWN);
        traces.arrivals_unix_nano.push(NOW_UNIX_NANO - 30_000 * MS);
        traces.starts_unix_nano.push(start);
        traces.ends_unix_nano.push(start + spans.iter().map(|span| span.duration_ms * MS).max().unwrap_or(0));
        traces.span_counts.push(spans.len() as u32);
        traces.error_counts.push(with(StatusCode::Error));
        traces.ok_counts.push(with(StatusCode::Ok));
        traces.byte_counts.push(bytes.map(|span| span.encoded_len() as u64).sum());
        traces.marks.push(MARK_SAMPLED | if spans.iter().any(|span| span.is_root) { MARK_ROOT } else { 0 });
        traces.triggers.push(trigger as u8);
        traces.trace_of.extend(spans.iter().map(|_| number));
        resource_spans.extend(requests);
    }
    (traces, Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec()))
}

fn of_span(trace_id: [u8; 16], start: u64, made: &MadeSpan) -> ResourceSpans {
    let span = Span {
        trace_id: trace_id.to_vec(),
        span_id: vec![if made.is_root { 1 } else { 2 }; 8],
        parent_span_id: if made.is_root { Vec::new() } else { vec![1; 8] },
        name: "probe".to_owned(),
        attributes: attributes("http.route", "/probe"),
        start_time_unix_nano: start,
        end_time_unix_nano: start + made.duration_ms * MS,
        status: Some(Status { code: made.code as i32, message: String::new() }),
        flags: SAMPLED,
        ..Span::default()
    };
    let scope = ScopeSpans { scope: Some(scope()), spans: vec![span], ..ScopeSpans::default() };
    ResourceSpans { resource: Some(resource_of(made.service)), scope_spans: vec![scope], ..ResourceSpans::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists of other lengths would be a fault of the host that a guest is blamed for.
    #[test]
    fn the_moment_is_whole() {
        let (traces, request) = moment();
        let of_u64 = [
            &traces.randomness,
            &traces.thresholds,
            &traces.arrivals_unix_nano,
            &traces.starts_unix_nano,
            &traces.ends_unix_nano,
            &traces.byte_counts,
        ];
        let of_u32 = [&traces.span_counts, &traces.error_counts, &traces.ok_counts];
        let lengths = of_u64.iter().map(|list| list.len()).chain(of_u32.iter().map(|list| list.len()));
        assert!(lengths.chain([traces.marks.len(), traces.triggers.len()]).all(|length| length == traces.len()));
        assert!(traces.randomness.iter().all(|&bits| bits < THRESHOLD_END));
        let batch = Batch::index(Signal::Traces, vec![request]).expect("is valid");
        assert_eq!(batch.items() as usize, traces.trace_of.len());
        assert_eq!(batch.items(), traces.span_counts.iter().sum::<u32>());
    }
}
