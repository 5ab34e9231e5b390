//! A request that cannot be read where a stage reads it is refused for good, whatever the stage's `on_fault`, and costs no other
//! request anything.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span::Event};
use prost::Message as _;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, Connection, Protocol};
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::Engine;
use sluicebox_tests::sink::{Behaviour, Sink};

const BOUND: Duration = Duration::from_secs(30);
const INVALID_ARGUMENT: u16 = 3;

/// Five spans named `keep`, one of them with an event; where asked, one of them ends within its status, or the event within its name.
fn spans(in_status: bool, in_event: bool) -> Bytes {
    let event = Event { name: "event".to_owned(), ..Event::default() };
    let mut spans = vec![Span { name: "keep".to_owned(), ..Span::default() }; 5];
    spans[2].events.push(event);
    // The last byte of the whole: a text of 3 bytes that begins with a field of 5.
    spans[4].trace_state = "\x12\x05a".to_owned();
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    let mut body = ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec();
    let find =
        |body: &[u8], wanted: &[u8]| body.windows(wanted.len()).position(|found| found == wanted).expect("was encoded");
    if in_status {
        // Field 3, the trace's state, becomes field 15, its status, whose message is cut off.
        let at = find(&body, b"\x1a\x03\x12\x05a");
        body[at] = 15 << 3 | 2;
    }
    if in_event {
        let at = find(&body, b"\x05event");
        body[at] = 100;
    }
    Bytes::from(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_requests_are_refused_alone() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    // Would drop every span that has no readable status, and every event.
    let conditions = "error_mode: ignore, traces: { span: ['status.code != 0'], spanevent: ['name == \"none\"'] }";
    let config = Config::new()
        .processor("batch", "timeout: 50ms")
        .processor_of(Signal::Traces, "filter", conditions)
        .sink(sink.address, "")
        .text();
    let engine = Engine::start(&config).await.unwrap();
    for (in_status, in_event) in [(true, false), (false, true)] {
        let (mut good, mut bad) = (open(&engine).await, open(&engine).await);
        let (good, bad) = tokio::join!(
            good.send(Signal::Traces, spans(false, false), BOUND),
            bad.send(Signal::Traces, spans(in_status, in_event), BOUND),
        );
        assert_eq!(good, Answer::Accepted { warning: None });
        match bad {
            Answer::Refused { code, message } => {
                assert_eq!(code, INVALID_ARGUMENT, "{message}");
                assert!(message.contains("malformed"), "{message}");
            }
            other => panic!("in status: {in_status}, in event: {in_event}: {other:?}"),
        }
    }
    let metrics = engine.settled_account(BOUND).await.unwrap();
    assert_eq!(metrics.sum("exporter_sent_items", &[]), 10);
    assert_eq!(metrics.sum("pipeline_dropped_items", &[("reason", "malformed"), ("intended", "false")]), 10);
    assert_eq!(metrics.sum("receiver_refused_items", &[]), 10);
    assert!(metrics.sum("stage_faults", &[("stage", "filter"), ("kind", "malformed")]) >= 2);
    assert_eq!(metrics.sum("stage_passed_unjudged_items", &[]), 0);
}

async fn open(engine: &Engine) -> Connection {
    Connection::open(engine.addresses.grpc, Protocol::Grpc, false).await.unwrap()
}
