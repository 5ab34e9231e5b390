//! OTLP/gRPC into a receiver: every answer that the protocol knows.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use sluicebox::ack::Outcome;
use sluicebox::receive::Limits;
use sluicebox::signal::Signal;
use tonic::codec::CompressionEncoding;

use crate::support::client::{call, call_on, connect2, frames, unfinished, whole};
use crate::support::receiver::{LIMIT, Setup};
use crate::support::{encoded, framed, gzip, series, soon, traces, until};

#[tokio::test]
async fn generated_clients_are_understood_for_all_signals() {
    let receiver = Setup::default().grpc();
    let url = format!("http://{}", receiver.address);
    let sent = traces(3);
    for compression in [None, Some(CompressionEncoding::Gzip)] {
        let mut client = TraceServiceClient::connect(url.clone()).await.expect("connects");
        if let Some(compression) = compression {
            client = client.send_compressed(compression);
        }
        let answer = soon(client.export(sent.clone())).await.expect("is accepted").into_inner();
        assert_eq!(answer.partial_success, None);
    }
    let mut client = MetricsServiceClient::connect(url.clone()).await.expect("connects");
    soon(client.export(ExportMetricsServiceRequest::default())).await.expect("an empty request succeeds");
    let mut client = LogsServiceClient::connect(url).await.expect("connects");
    soon(client.export(ExportLogsServiceRequest::default())).await.expect("an empty request succeeds");

    let seen = receiver.script.seen();
    assert_eq!(seen[0], (Signal::Traces, encoded(&sent)));
    assert_eq!(seen[1], seen[0]);
    assert_eq!(seen[2].0, Signal::Metrics);
    assert_eq!(seen[3].0, Signal::Logs);
    let labels = [("receiver", "otlp"), ("signal", "traces"), ("transport", "grpc"), ("outcome", "ok")];
    assert_eq!(series(&receiver.metrics, "receiver_requests_total", &labels), 2);
    until("charges are given back", || receiver.budget.bytes_used() == 0).await;
}

#[tokio::test]
async fn outcomes_become_the_codes_of_otlp() {
    let receiver = Setup::default().grpc();
    let answer = async |outcome| {
        receiver.script.then(outcome);
        call(receiver.address, Signal::Traces, &[], whole(framed(0, &encoded(&traces(1))))).await
    };

    let warned = answer(Outcome::Accepted { warning: Some("half asleep".to_owned()) }).await;
    let partial = warned.response.expect("has a message").partial_success.expect("is set");
    assert_eq!((warned.code, partial.rejected, partial.error_message.as_str()), (Some(0), 0, "half asleep"));

    let partial = answer(Outcome::Partial { rejected: 2, message: "two bad".to_owned() }).await;
    let content = partial.response.expect("has a message").partial_success.expect("is set");
    assert_eq!((partial.code, content.rejected, content.error_message.as_str()), (Some(0), 2, "two bad"));

    let message = "voll: 100 %, später".to_owned();
    let retry = answer(Outcome::Retry { after: Some(Duration::from_millis(2_500)), message }).await;
    assert_eq!((retry.code, retry.message.as_str()), (Some(14), "voll: 100 %25, sp%C3%A4ter"));
    let status = retry.status.expect("has details");
    assert_eq!((status.code, status.retry_delay()), (14, Some(Duration::from_millis(2_500))));

    let retry = answer(Outcome::Retry { after: None, message: "full".to_owned() }).await;
    assert_eq!((retry.code, retry.status), (Some(14), None));

    let refused = answer(Outcome::Refused { message: "malformed".to_owned() }).await;
    assert_eq!((refused.code, refused.message.as_str()), (Some(3), "malformed"));

    let full = answer(Outcome::ACCEPTED).await;
    assert_eq!((full.code, full.http_status), (Some(0), 200));
    assert_eq!(full.response.expect("has a message").partial_success, None);
    assert_eq!(full.headers["content-type"], "application/grpc");
}

#[tokio::test]
async fn what_is_too_large_is_never_retried() {
    let receiver = Setup::default().grpc();
    let len = usize::try_from(LIMIT).expect("fits");
    let (fits, too_large) = (vec![b'x'; len], vec![b'x'; len + 1]);
    let at = receiver.address;
    assert_eq!(call(at, Signal::Logs, &[], whole(framed(0, &fits))).await.code, Some(0));
    assert_eq!(receiver.script.seen()[0].1, fits);
    let answer = call(at, Signal::Logs, &[], whole(framed(0, &too_large))).await;
    assert_eq!((answer.code, answer.status), (Some(8), None));
    let gzipped = [("grpc-encoding", "gzip")];
    assert_eq!(call(at, Signal::Logs, &gzipped, whole(framed(1, &gzip(&fits)))).await.code, Some(0));
    let answer = call(at, Signal::Logs, &gzipped, whole(framed(1, &gzip(&too_large)))).await;
    assert_eq!((answer.code, answer.status), (Some(8), None));
    let bomb = gzip(&vec![0; 64 << 20]);
    assert_eq!(call(at, Signal::Logs, &gzipped, whole(framed(1, &bomb))).await.code, Some(8));
    let labels = [("signal", "logs"), ("outcome", "too_large")];
    assert_eq!(series(&receiver.metrics, "receiver_requests_total", &labels), 3);
    assert_eq!(receiver.script.seen().len(), 2);
    until("charges are given back", || receiver.budget.bytes_used() == 0).await;
}

#[tokio::test]
async fn a_full_budget_asks_to_come_again_and_recovers() {
    let receiver = Setup { budget: 100 << 10, ..Setup::default() }.grpc();
    receiver.script.hold();
    let body = || whole(framed(0, &vec![b'x'; 60 << 10]));
    let held = tokio::spawn(call(receiver.address, Signal::Traces, &[], body()));
    until("the first is held", || receiver.script.seen().len() == 1).await;

    let over = call(receiver.address, Signal::Traces, &[], body()).await;
    assert_eq!(over.code, Some(14));
    assert!(over.status.expect("has details").retry_delay().is_some());
    assert_eq!(receiver.budget.bytes_used(), 60 << 10);
    let never = call(receiver.address, Signal::Traces, &[], whole(framed(0, &vec![b'x'; 101 << 10]))).await;
    assert_eq!(never.code, Some(8), "what the whole budget cannot hold is not asked for again");

    // Fits compressed, not inflated.
    let gzipped = call(
        receiver.address,
        Signal::Traces,
        &[("grpc-encoding", "gzip")],
        whole(framed(1, &gzip(&vec![b'x'; 60 << 10]))),
    );
    assert_eq!(gzipped.await.code, Some(14));

    receiver.script.release();
    assert_eq!(soon(held).await.expect("is answered").code, Some(0));
    until("charges are given back", || receiver.budget.bytes_used() == 0).await;
    assert_eq!(call(receiver.address, Signal::Traces, &[], body()).await.code, Some(0));
    let labels = [("signal", "traces"), ("outcome", "over_budget")];
    assert_eq!(series(&receiver.metrics, "receiver_requests_total", &labels), 2);
}

#[tokio::test]
async fn messages_are_gathered_however_they_are_framed() {
    let receiver = Setup::default().grpc();
    let message: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    let all = framed(0, &message);
    for size in [1_000, 16_384, 70_000, 200_005] {
        let body = frames(all.chunks(size).map(<[u8]>::to_vec).collect());
        assert_eq!(call(receiver.address, Signal::Traces, &[], body).await.code, Some(0));
    }
    let bytewise = frames(framed(0, b"tiny").into_iter().map(|byte| vec![byte]).collect());
    assert_eq!(call(receiver.address, Signal::Traces, &[], bytewise).await.code, Some(0));
    let prefix_apart = frames(vec![all[..5].to_vec(), message.clone(), Vec::new()]);
    assert_eq!(call(receiver.address, Signal::Traces, &[], prefix_apart).await.code, Some(0));
    let mut two_members = gzip(&message[..50]);
    two_members.extend(gzip(&message[50..]));
    let gzipped = [("grpc-encoding", "gzip")];
    assert_eq!(call(receiver.address, Signal::Traces, &gzipped, whole(framed(1, &two_members))).await.code, Some(0));
    assert_eq!(call(receiver.address, Signal::Traces, &gzipped, whole(framed(0, &message))).await.code, Some(0));

    let seen: Vec<_> = receiver.script.seen().into_iter().map(|(_, body)| body).collect();
    let expected: Vec<&[u8]> = [&message[..]; 4].into_iter().chain([&b"tiny"[..]]).chain([&message[..]; 3]).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn broken_requests_are_refused_for_good() {
    let receiver = Setup::default().grpc();
    let at = receiver.address;
    let good = framed(0, b"0123456789");
    for (what, headers, body, code) in [
        ("two messages", vec![], [good.clone(), good.clone()].concat(), 13),
        ("cut short", vec![], good[..10].to_vec(), 13),
        ("no message", vec![], Vec::new(), 13),
        ("half a prefix", vec![], good[..3].to_vec(), 13),
        ("unknown flag", vec![], framed(2, b"x"), 13),
        ("compressed unannounced", vec![], framed(1, &gzip(b"x")), 13),
        ("not gzip", vec![("grpc-encoding", "gzip")], framed(1, b"not gzip"), 3),
        ("gzip cut short", vec![("grpc-encoding", "gzip")], framed(1, &gzip(b"some text")[..15]), 3),
        ("json", vec![("content-type", "application/grpc+json")], good.clone(), 12),
    ] {
        let answer = call(at, Signal::Traces, &headers, whole(body)).await;
        assert_eq!((answer.http_status, answer.code), (200, Some(code)), "{what}: {answer:?}");
    }
    let apart = call(at, Signal::Traces, &[], frames(vec![good.clone(), good.clone()])).await;
    assert_eq!(apart.code, Some(13), "two messages, each in a frame of its own");
    let zstd = call(at, Signal::Traces, &[("grpc-encoding", "zstd")], whole(good.clone())).await;
    assert_eq!((zstd.code, &zstd.headers["grpc-accept-encoding"]), (Some(12), &"identity,gzip".parse().expect("ok")));
    let mut connection = connect2(at).await;
    let unknown = call_on(&mut connection, "/opentelemetry.proto.Nothing/Export", &[], whole(good.clone())).await;
    assert_eq!(unknown.code, Some(12));
    let not_grpc = call(at, Signal::Traces, &[("content-type", "text/plain")], whole(good.clone())).await;
    assert_eq!((not_grpc.http_status, not_grpc.code), (415, None));
    assert!(receiver.script.seen().is_empty());
    for content_type in ["application/grpc+proto", "application/grpc;charset=utf-8"] {
        assert_eq!(
            call(at, Signal::Traces, &[("content-type", content_type)], whole(good.clone())).await.code,
            Some(0)
        );
    }
}

#[tokio::test]
async fn a_signal_without_pipeline_is_unimplemented() {
    let receiver = Setup { refuses: Some(Signal::Logs), ..Setup::default() }.grpc();
    let answer = call(receiver.address, Signal::Logs, &[], whole(framed(0, b""))).await;
    assert_eq!(answer.code, Some(12));
    assert!(answer.message.contains("no pipeline takes logs from receiver otlp"), "{}", answer.message);
    assert_eq!(series(&receiver.metrics, "receiver_requests_total", &[("signal", "logs"), ("outcome", "refused")]), 1);
    assert_eq!(call(receiver.address, Signal::Traces, &[], whole(framed(0, b""))).await.code, Some(0));
}

#[tokio::test]
async fn a_call_ends_at_its_own_deadline() {
    let receiver = Setup::default().grpc();
    receiver.script.hold();
    let answer = call(receiver.address, Signal::Traces, &[("grpc-timeout", "50m")], whole(framed(0, b"x"))).await;
    assert_eq!(answer.code, Some(4));
    assert_eq!(receiver.script.seen().len(), 1);
    let unread = call(receiver.address, Signal::Traces, &[("grpc-timeout", "50m")], unfinished(vec![0, 0])).await;
    assert_eq!(unread.code, Some(4));
    receiver.script.release();
    for patient in ["99999999H", "not a timeout"] {
        let headers = [("grpc-timeout", patient)];
        assert_eq!(call(receiver.address, Signal::Traces, &headers, whole(framed(0, b"x"))).await.code, Some(0));
    }
}

#[tokio::test]
async fn slow_bodies_and_slow_pipelines_end() {
    let limits = Limits {
        body_timeout: Duration::from_millis(100),
        answer_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let receiver = Setup { limits, ..Setup::default() }.grpc();
    let slow = call(receiver.address, Signal::Traces, &[], unfinished(framed(0, &[0; 1_000])[..100].to_vec())).await;
    assert_eq!(slow.code, Some(4));
    until("the charge is given back", || receiver.budget.bytes_used() == 0).await;
    receiver.script.hold();
    let answer = call(receiver.address, Signal::Traces, &[], whole(framed(0, b"x"))).await;
    assert_eq!(answer.code, Some(14));
}
