//! OTLP/JSON out of an exporter: requests as JSON, answers in JSON, merged requests and their un-merging.

use std::io::Read;

use bytes::Bytes;
use serde_json::{Value, json};
use sluicebox::ack::{Outcome, promise};
use sluicebox::export::{Parcel, Part, Sent};
use sluicebox::observe::metrics::Metrics;
use sluicebox::signal::Signal;

use crate::support::peer::{Asked, Peer, Says, client, http_json, plain};
use crate::support::receiver::Setup;
use crate::support::{PATIENCE, encoded, series, soon, traces};
use crate::through::exporter;

const TAKEN: Sent = Sent::Accepted { warning: None };

/// The JSON of [`traces`].
fn resource_spans(spans: usize) -> Value {
    let span = |number: usize| json!({"traceId": "07".repeat(16), "spanId": format!("{number:016x}"), "name": format!("span {number}")});
    let spans: Vec<Value> = (0..spans).map(span).collect();
    json!({"scopeSpans": [{"spans": spans}]})
}

fn parsed(asked: &Asked) -> Value {
    assert_eq!(asked.header("content-type"), "application/json");
    let mut body = Vec::new();
    match asked.header("content-encoding") {
        "gzip" => drop(flate2::read::GzDecoder::new(asked.body.as_ref()).read_to_end(&mut body).expect("inflates")),
        _ => body.extend_from_slice(&asked.body),
    }
    serde_json::from_slice(&body).expect("is JSON")
}

#[tokio::test]
async fn requests_go_out_as_one_object_each() {
    let peer = Peer::start().await;
    let (small, large) = (encoded(&traces(1)), encoded(&traces(3_000)));
    for destination in [http_json(plain(peer.url())), http_json(client(peer.url()))] {
        for body in [vec![], vec![small.clone()], vec![small.clone(), large.clone()]] {
            assert_eq!(soon(destination.send(Signal::Traces, &body)).await, TAKEN);
        }
    }
    let asked: Vec<Value> = peer.asked().iter().map(parsed).collect();
    let (one, two) = (resource_spans(1), resource_spans(3_000));
    let expected = [json!({}), json!({"resourceSpans": [one]}), json!({"resourceSpans": [one, two]})];
    assert!(asked[..3] == expected && asked[3..] == expected);

    let malformed = soon(http_json(plain(peer.url())).send(Signal::Traces, &[Bytes::from_static(b"\x0a\x05")])).await;
    assert!(matches!(&malformed, Sent::Refused { message } if message.contains("malformed")), "{malformed:?}");
    assert_eq!(peer.asked().len(), 6);
}

#[tokio::test]
async fn answers_in_json_are_understood() {
    let peer = Peer::start().await;
    let destination = http_json(plain(peer.url()));
    let answer = async |signal, status, body: &str| {
        peer.says(Says::http(status, &[("content-type", "application/json; charset=utf-8")], body.as_bytes()));
        soon(destination.send(signal, &[])).await
    };
    let partial = |rejected: &str| format!(r#"{{"partialSuccess":{{"{rejected}":"2","errorMessage":"two"}}}}"#);
    for (signal, key) in [
        (Signal::Traces, "rejectedSpans"),
        (Signal::Metrics, "rejectedDataPoints"),
        (Signal::Logs, "rejectedLogRecords"),
    ] {
        let rejected = answer(signal, 200, &partial(key)).await;
        assert_eq!(rejected, Sent::Partial { rejected: 2, message: "two".to_owned() });
    }
    let warning = answer(Signal::Logs, 200, r#"{"partialSuccess":{"errorMessage":"careful"}}"#).await;
    assert_eq!(warning, Sent::Accepted { warning: Some("careful".to_owned()) });
    for body in ["", "{}", r#"{"partialSuccess":{}}"#, r#"{"partialSuccess":null}"#, "oops", "[]", &partial("rejected")]
    {
        let sent = answer(Signal::Traces, 200, body).await;
        assert!(matches!(sent, Sent::Accepted { .. }), "{body}: {sent:?}");
    }
    let refused = answer(Signal::Traces, 400, r#"{"code":3,"message":"too bad","details":[{}]}"#).await;
    assert_eq!(refused, Sent::Refused { message: "HTTP 400 Bad Request: too bad".to_owned() });
    let retry = answer(Signal::Traces, 503, r#"{"message":"full"}"#).await;
    assert_eq!(retry, Sent::Retry { after: None, message: "HTTP 503 Service Unavailable: full".to_owned() });
    let html = answer(Signal::Traces, 502, "<html>").await;
    assert_eq!(html, Sent::Retry { after: None, message: "HTTP 502 Bad Gateway".to_owned() });
}

#[tokio::test]
async fn json_goes_in_and_out_and_a_refused_merge_is_unmerged() {
    let receiver = Setup::default().http();
    let metrics = Metrics::new();
    let url = format!("http://{}", receiver.address);
    let exporter = exporter(http_json(client(url)), &metrics);
    let (first, second) = (encoded(&traces(2)), encoded(&traces(3_000)));
    let refused = || Outcome::Refused { message: "one of them is bad".to_owned() };
    // Both together, the first alone, the second alone.
    receiver.script.then(refused());
    receiver.script.then(Outcome::ACCEPTED);
    receiver.script.then(refused());
    let (mut parts, mut answers) = (Vec::new(), Vec::new());
    for bytes in [&first, &second] {
        let (ack, answer) = promise(|_| ());
        parts.push(Part { bytes: bytes.clone(), account: 1, ack: Some(ack), charge: None });
        answers.push(answer);
    }
    exporter.try_reserve().expect("has a place").push(Parcel { signal: Signal::Traces, parts });
    let told: Vec<Outcome> = soon(futures_util::future::join_all(answers)).await;
    assert!(matches!(told[0], Outcome::Accepted { .. }), "{told:?}");
    assert!(matches!(&told[1], Outcome::Refused { message } if message.contains("one of them is bad")), "{told:?}");
    let seen: Vec<Bytes> = receiver.script.seen().into_iter().map(|(_, bytes)| bytes).collect();
    let both = Bytes::from([first.clone(), second.clone()].concat());
    assert!(seen == [both, first, second], "bytes of canonical order come back as they were");
    assert!(exporter.shutdown(PATIENCE).await);
    let labels = [("exporter", "out"), ("signal", "traces")];
    assert_eq!(series(&metrics, "exporter_sent_items_total", &labels), 1);
}
