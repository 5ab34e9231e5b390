//! OTLP/JSON into a receiver: protobuf for the pipelines, JSON for the sender.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::{Value, json};
use sluicebox::ack::Outcome;
use sluicebox::signal::Signal;

use crate::support::client::{Body, HttpAnswer, frames, request, whole};
use crate::support::receiver::{LIMIT, Receiver, Setup};
use crate::support::{encoded, gzip, series, traces, until};

const JSON: (&str, &str) = ("content-type", "application/json");

/// The JSON of [`traces`], written by hand.
fn spans(count: usize) -> String {
    let span = |number: usize| {
        let trace = "07".repeat(16);
        format!(r#"{{"traceId":"{trace}","spanId":"{number:016x}","name":"span {number}","unknown":[{{}}]}}"#)
    };
    let spans: Vec<String> = (0..count).map(span).collect();
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, spans.join(","))
}

async fn send(receiver: &Receiver, signal: Signal, headers: &[(&str, &str)], body: Body) -> HttpAnswer {
    let headers = [&[JSON], headers].concat();
    let answer = request(receiver.address, "POST", signal.http_path(), &headers, body).await;
    assert_eq!(answer.header("content-type"), "application/json", "{answer:?}");
    answer
}

async fn post(receiver: &Receiver, signal: Signal, body: impl Into<Bytes>) -> (u16, Value) {
    let answer = send(receiver, signal, &[], whole(body)).await;
    (answer.status, content(&answer))
}

fn content(answer: &HttpAnswer) -> Value {
    serde_json::from_slice(&answer.body).expect("is JSON")
}

#[tokio::test]
async fn json_is_protobuf_for_the_pipelines() {
    let receiver = Setup::default().http();
    // Below and above what is transcoded in place, plain, compressed, chunked, over both ways of naming the type.
    for count in [2, 5_000] {
        let (json, expected) = (spans(count), encoded(&traces(count)));
        assert_eq!(post(&receiver, Signal::Traces, json.clone()).await, (200, json!({})));
        let gzipped =
            send(&receiver, Signal::Traces, &[("content-encoding", "gzip")], whole(gzip(json.as_bytes()))).await;
        assert_eq!((gzipped.status, content(&gzipped)), (200, json!({})));
        let chunked = frames(json.as_bytes().chunks(40_000).map(<[u8]>::to_vec).collect());
        assert_eq!(send(&receiver, Signal::Traces, &[], chunked).await.status, 200);
        let charset = [("content-type", "Application/JSON; charset=utf-8")];
        let answer = request(receiver.address, "POST", "/v1/traces", &charset, whole(json)).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
        let seen = receiver.script.seen();
        for (signal, seen) in &seen[seen.len() - 4..] {
            assert_eq!(*signal, Signal::Traces);
            let read = ExportTraceServiceRequest::decode(seen.clone()).expect("is protobuf");
            assert!(read == traces(count) && seen.len() == expected.len());
        }
    }
    assert_eq!(post(&receiver, Signal::Logs, "{}").await, (200, json!({})));
    assert_eq!(receiver.script.seen().last(), Some(&(Signal::Logs, Bytes::new())));
    let labels = [("signal", "traces"), ("transport", "http"), ("outcome", "ok")];
    assert_eq!(series(&receiver.metrics, "receiver_requests_total", &labels), 8);
    until("charges are given back", || receiver.budget.bytes_used() == 0).await;
}

#[tokio::test]
async fn outcomes_are_told_in_json() {
    let receiver = Setup { refuses: Some(Signal::Logs), ..Setup::default() }.http();
    for (signal, key) in [(Signal::Traces, "rejectedSpans"), (Signal::Metrics, "rejectedDataPoints")] {
        receiver.script.then(Outcome::Partial { rejected: 3, message: "three \"x\"".to_owned() });
        let expected = json!({"partialSuccess": {key: "3", "errorMessage": "three \"x\""}});
        assert_eq!(post(&receiver, signal, "{}").await, (200, expected));
    }
    receiver.script.then(Outcome::Accepted { warning: Some("look".to_owned()) });
    let warned = post(&receiver, Signal::Traces, "{}").await;
    assert_eq!(warned, (200, json!({"partialSuccess": {"errorMessage": "look"}})));
    receiver.script.then(Outcome::Refused { message: "malformed".to_owned() });
    assert_eq!(post(&receiver, Signal::Traces, "{}").await, (400, json!({"code": 3, "message": "malformed"})));
    receiver.script.then(Outcome::Retry { after: Some(Duration::from_secs(2)), message: "full".to_owned() });
    let retry = send(&receiver, Signal::Traces, &[], whole("{}")).await;
    assert_eq!((retry.status, retry.header("retry-after")), (503, "2"));
    assert_eq!(content(&retry), json!({"code": 14, "message": "full"}));
    assert_eq!(post(&receiver, Signal::Logs, "{}").await.0, 404);
}

#[tokio::test]
async fn what_is_not_otlp_is_refused_without_being_quoted() {
    let receiver = Setup::default().http();
    let large = spans(2_000).replace(r#""name":"span 1999""#, r#""name":{"hunter2":1}"#);
    for (body, message) in [
        ("{\"hunter2\": hunter2}".to_owned(), "the body is not JSON: line 1, column 13"),
        (String::new(), "the body is not JSON: line 1, column 0"),
        (r#"{"resourceSpans":"hunter2"}"#.to_owned(), "resourceSpans must be an array (line 1, column "),
        (large, "resourceSpans[0].scopeSpans[0].spans[1999].name must be a string in UTF-8 (line 1, column "),
    ] {
        let (status, answer) = post(&receiver, Signal::Traces, body).await;
        assert_eq!((status, answer["code"].as_i64()), (400, Some(3)));
        let text = answer["message"].as_str().expect("is text");
        assert!(text.starts_with(message) && !text.contains("hunter2"), "{text}");
    }
    assert!(receiver.script.seen().is_empty());
    let labels = [("signal", "traces"), ("transport", "http"), ("outcome", "unreadable")];
    assert_eq!(series(&receiver.metrics, "receiver_requests_total", &labels), 4);
    until("charges are given back", || receiver.budget.bytes_used() == 0).await;
}

#[tokio::test]
async fn limits_hold_for_json_and_for_what_becomes_of_it() {
    let receiver = Setup { bytes_max: LIMIT, budget: 4 << 20, ..Setup::default() }.http();
    let too_large = format!("{{}}{}", " ".repeat(usize::try_from(LIMIT).expect("fits")));
    assert_eq!(post(&receiver, Signal::Traces, too_large.clone()).await.0, 413);
    let gzipped = [("content-encoding", "gzip")];
    let inflated = send(&receiver, Signal::Traces, &gzipped, whole(gzip(too_large.as_bytes()))).await;
    assert_eq!((inflated.status, content(&inflated)["code"].as_i64()), (413, Some(8)));
    // Each number takes four times its JSON.
    let dense = |numbers: usize| {
        let point = format!(r#"{{"bucketCounts":[{}0]}}"#, "0,".repeat(numbers));
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{point}]}}}}]}}]}}]}}"#
        )
    };
    assert_eq!(post(&receiver, Signal::Metrics, dense(500_000)).await.0, 413, "it can never fit");
    let taken = receiver.budget.charge(3 << 20).expect("fits");
    let over = send(&receiver, Signal::Metrics, &[], whole(dense(200_000))).await;
    assert_eq!((over.status, over.header("retry-after")), (503, "1"));
    assert!(receiver.script.seen().is_empty());
    drop(taken);
    assert_eq!(post(&receiver, Signal::Metrics, dense(200_000)).await.0, 200);
    until("charges are given back", || receiver.budget.bytes_used() == 0).await;
}
