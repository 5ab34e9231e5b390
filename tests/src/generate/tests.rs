use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};

use super::*;

fn shape(signal: Signal, odd: bool) -> Shape {
    Shape { requests: 3, items_per_request: 100, odd, ..Shape::new(signal) }
}

fn has(attributes: &[KeyValue], key: &str, text: &str) -> bool {
    attributes.iter().any(|a| {
        a.key == key && a.value.as_ref().and_then(|v| v.value.as_ref()) == Some(&Value::StringValue(text.to_owned()))
    })
}

#[test]
fn identities_can_be_read_back() {
    for (run, sequence) in [(1, 0), (9, 12_345_678), (u16::MAX, 0xffff_ffff_ffff)] {
        assert_eq!(named(u64::from_be_bytes(identity(run, sequence))), (run, sequence));
    }
}

#[test]
fn same_seed_same_bytes_and_every_item_named_once() {
    for signal in Signal::ALL {
        for odd in [false, true] {
            let (a, b) = (Workload::new(shape(signal, odd)), Workload::new(shape(signal, odd)));
            let mut seen = Seen::default();
            for number in 0..7 {
                let bytes = a.request(4, number);
                assert_eq!(bytes, b.request(4, number));
                scan::items(signal, &bytes, &mut |mark| {
                    let (run, sequence) = named(scan::id_at(&bytes, mark.id));
                    assert_eq!(run, 4);
                    seen.note(sequence);
                })
                .unwrap();
            }
            assert_eq!((seen.items, seen.duplicates), (700, 0), "{signal}");
            assert!(seen.has(0) && seen.has(699) && !seen.has(700));
        }
    }
}

#[test]
fn the_list_of_matching_spans_is_what_the_messages_say() {
    let workload = Workload::new(shape(Signal::Traces, true));
    let message: ExportTraceServiceRequest = workload.message(1, 2).unwrap();
    let spans: Vec<_> = message.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans).collect();
    assert_eq!(spans.len(), 100);
    for (span, sequence) in spans.iter().zip(200..) {
        assert_eq!(span.span_id, identity(1, sequence));
        assert_eq!(has(&span.attributes, "http.route", "/health"), workload.matches(sequence));
        assert_eq!(has(&span.attributes, "deployment.ring", "canary"), workload.matches(sequence));
        assert_eq!(span.attributes.last().map(|a| a.key.as_str()), Some("deployment.ring"));
    }
    assert!(workload.matching(3) > 10);
    // A trace is eight spans, children of the first.
    assert!(spans[..8].iter().all(|s| s.trace_id == spans[0].trace_id));
    assert!(spans[1..8].iter().all(|s| s.parent_span_id == spans[0].span_id));
    assert_ne!(spans[8].trace_id, spans[0].trace_id);
    assert!(spans[8].parent_span_id.is_empty());
}

#[test]
fn the_list_of_matching_logs_and_points_is_what_the_messages_say() {
    let workload = Workload::new(shape(Signal::Logs, true));
    let message: ExportLogsServiceRequest = workload.message(1, 1).unwrap();
    let records = message.resource_logs.iter().flat_map(|r| &r.scope_logs).flat_map(|s| &s.log_records);
    for (record, sequence) in records.zip(100..) {
        assert_eq!(record.span_id, identity(1, sequence));
        assert_eq!(has(&record.attributes, "http.route", "/health"), workload.matches(sequence));
    }

    let workload = Workload::new(shape(Signal::Metrics, false));
    let message: ExportMetricsServiceRequest = workload.message(1, 1).unwrap();
    let text = format!("{message:?}");
    let matching = (100..200).filter(|sequence| workload.matches(*sequence)).count();
    assert_eq!(text.matches("\"/health\"").count(), matching);
}

#[test]
fn a_span_is_about_548_bytes() {
    let bytes = Workload::new(Shape { requests: 4, ..Shape::new(Signal::Traces) }).bytes_per_item();
    assert!((500.0..600.0).contains(&bytes), "{bytes}");
}

#[test]
fn what_is_wrong_is_said() {
    let workload = Workload::new(shape(Signal::Traces, false));
    let settled = vec![(0, Settled::Accepted { warning: None }), (1, Settled::GaveUp { message: String::new() })];
    let mut seen = Seen::default();
    for sequence in (0..100).filter(|s| !workload.matches(*s)) {
        seen.note(sequence);
    }
    let delivered = workload.check(&settled, &seen, true).unwrap();
    assert_eq!(delivered.arrived + delivered.dropped, 100);
    assert!(delivered.dropped > 0);
    assert_eq!(workload.check(&settled, &seen, false).unwrap_err().missing, delivered.dropped);
    seen.note(0);
    seen.note(5000);
    let wrong = workload.check(&settled, &seen, true).unwrap_err();
    assert!(wrong.foreign == 1 && wrong.duplicates + wrong.leaked == 1, "{wrong}");
}
