//! OTLP/HTTP into a receiver: every answer that the protocol knows.

use std::time::Duration;

use prost::Message;
use sluicebox::ack::Outcome;
use sluicebox::otlp::ExportResponse;
use sluicebox::receive::Limits;
use sluicebox::signal::Signal;

use crate::support::client::{PROTOBUF, call_on, connect2, frames, post, request, unfinished, whole};
use crate::support::receiver::{LIMIT, Setup};
use crate::support::{encoded, gzip, series, traces, until};

#[tokio::test]
async fn all_signals_are_taken_plain_and_compressed() {
    let receiver = Setup::default().http();
    let body = encoded(&traces(2));
    for signal in Signal::ALL {
        let answer = post(receiver.address, signal, &[], body.clone()).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-protobuf"));
        assert_eq!(ExportResponse::decode(answer.body).expect("is a response").partial_success, None);
    }
    let mut two_members = gzip(&body[..10]);
    two_members.extend(gzip(&body[10..]));
    let gzipped = [("content-encoding", "gzip")];
    assert_eq!(post(receiver.address, Signal::Traces, &gzipped, two_members).await.status, 200);
    let chunked = frames(body.chunks(7).map(<[u8]>::to_vec).collect());
    assert_eq!(request(receiver.address, "POST", "/v1/traces", &[PROTOBUF], chunked).await.status, 200);
    let empty = post(receiver.address, Signal::Traces, &[], "").await;
    assert_eq!(empty.status, 200);

    let seen = receiver.script.seen();
    assert_eq!(seen.iter().map(|(signal, _)| *signal).collect::<Vec<_>>()[..3], Signal::ALL);
    assert!(seen[..5].iter().all(|(_, seen)| *seen == body));
    assert!(seen[5].1.is_empty());
    let labels = [("signal", "traces"), ("transport", "http"), ("outcome", "ok")];
    assert_eq!(series(&receiver.metrics, "receiver_requests_total", &labels), 4);
    until("charges are given back", || receiver.budget.bytes_used() == 0).await;
}

#[tokio::test]
async fn http2_is_spoken_on_the_same_port() {
    let receiver = Setup::default().http();
    let mut connection = connect2(receiver.address).await;
    let answer = call_on(
        &mut connection,
        "/v1/traces",
        &[("content-type", "application/x-protobuf")],
        whole(encoded(&traces(1))),
    )
    .await;
    assert_eq!(answer.http_status, 200);
    assert_eq!(receiver.script.seen()[0].1, encoded(&traces(1)));
}

#[tokio::test]
async fn outcomes_become_the_statuses_of_otlp() {
    let receiver = Setup::default().http();
    let answer = async |outcome| {
        receiver.script.then(outcome);
        post(receiver.address, Signal::Metrics, &[], "x").await
    };
    let partial = answer(Outcome::Partial { rejected: 3, message: "three".to_owned() }).await;
    let content = ExportResponse::decode(partial.body).expect("is a response").partial_success.expect("is set");
    assert_eq!((partial.status, content.rejected, content.error_message.as_str()), (200, 3, "three"));
    let warned = answer(Outcome::Accepted { warning: Some("look".to_owned()) }).await;
    let content = ExportResponse::decode(warned.body).expect("is a response").partial_success.expect("is set");
    assert_eq!((warned.status, content.rejected, content.error_message.as_str()), (200, 0, "look"));

    let retry = answer(Outcome::Retry { after: Some(Duration::from_millis(1_200)), message: "full".to_owned() }).await;
    assert_eq!((retry.status, retry.header("retry-after"), retry.error().message.as_str()), (503, "2", "full"));
    let retry = answer(Outcome::Retry { after: None, message: "full".to_owned() }).await;
    assert_eq!((retry.status, retry.header("retry-after")), (503, ""));
    let refused = answer(Outcome::Refused { message: "malformed".to_owned() }).await;
    assert_eq!((refused.status, refused.error().message.as_str()), (400, "malformed"));
}

#[tokio::test]
async fn wrong_requests_say_what_is_wrong() {
    let receiver = Setup { refuses: Some(Signal::Logs), ..Setup::default() }.http();
    let at = receiver.address;
    let elsewhere = request(at, "POST", "/v1/profiles", &[PROTOBUF], whole("x")).await;
    assert_eq!((elsewhere.status, elsewhere.error().code), (404, 5));
    let get = request(at, "GET", "/v1/traces", &[], whole("")).await;
    assert_eq!((get.status, get.header("allow")), (405, "POST"));
    let text = request(at, "POST", "/v1/traces", &[("content-type", "text/plain")], whole("x")).await;
    assert_eq!(text.status, 415);
    assert!(text.error().message.contains("application/x-protobuf or application/json"));
    let brotli = post(at, Signal::Traces, &[("content-encoding", "br")], "x").await;
    assert_eq!(brotli.status, 415);
    let no_pipeline = post(at, Signal::Logs, &[], "x").await;
    assert_eq!(no_pipeline.status, 404);
    assert!(no_pipeline.error().message.contains("no pipeline takes logs"));
    let corrupt = post(at, Signal::Traces, &[("content-encoding", "gzip")], "not gzip").await;
    assert_eq!((corrupt.status, corrupt.error().code), (400, 3));
    assert!(receiver.script.seen().is_empty());
}

#[tokio::test]
async fn limits_hold_for_declared_chunked_and_inflated_sizes() {
    let receiver = Setup::default().http();
    let at = receiver.address;
    let len = usize::try_from(LIMIT).expect("fits");
    let (fits, too_large) = (vec![b'x'; len], vec![b'x'; len + 1]);
    let gzipped = [("content-encoding", "gzip")];
    let chunked = |body: &[u8]| frames(body.chunks(50_000).map(<[u8]>::to_vec).collect());

    assert_eq!(post(at, Signal::Traces, &[], fits.clone()).await.status, 200);
    assert_eq!(post(at, Signal::Traces, &gzipped, gzip(&fits)).await.status, 200);
    assert_eq!(request(at, "POST", "/v1/traces", &[PROTOBUF], chunked(&fits)).await.status, 200);
    assert_eq!(post(at, Signal::Traces, &[], too_large.clone()).await.status, 413);
    assert_eq!(post(at, Signal::Traces, &gzipped, gzip(&too_large)).await.status, 413);
    assert_eq!(request(at, "POST", "/v1/traces", &[PROTOBUF], chunked(&too_large)).await.status, 413);
    assert_eq!(post(at, Signal::Traces, &gzipped, gzip(&vec![0; 64 << 20])).await.status, 413);
    assert_eq!(
        series(&receiver.metrics, "receiver_requests_total", &[("outcome", "too_large"), ("signal", "traces")]),
        4
    );
    until("charges are given back", || receiver.budget.bytes_used() == 0).await;
}

#[tokio::test]
async fn a_full_budget_asks_to_come_again() {
    let receiver = Setup { budget: 100 << 10, ..Setup::default() }.http();
    let at = receiver.address;
    receiver.script.hold();
    let held = tokio::spawn(post(at, Signal::Traces, &[], vec![b'x'; 60 << 10]));
    until("the first is held", || receiver.script.seen().len() == 1).await;
    let declared = post(at, Signal::Traces, &[], vec![b'x'; 60 << 10]).await;
    assert_eq!((declared.status, declared.header("retry-after")), (503, "1"));
    let body = frames(vec![vec![b'x'; 30 << 10]; 2]);
    assert_eq!(request(at, "POST", "/v1/traces", &[PROTOBUF], body).await.status, 503);
    receiver.script.release();
    assert_eq!(held.await.expect("is answered").status, 200);
    until("charges are given back", || receiver.budget.bytes_used() == 0).await;
}

#[tokio::test]
async fn a_slow_body_ends() {
    let limits = Limits { body_timeout: Duration::from_millis(100), ..Limits::default() };
    let receiver = Setup { limits, ..Setup::default() }.http();
    let answer = request(receiver.address, "POST", "/v1/traces", &[PROTOBUF], unfinished(vec![1; 10])).await;
    assert_eq!(answer.status, 503);
    until("charges are given back", || receiver.budget.bytes_used() == 0).await;
}

#[tokio::test]
async fn browsers_are_let_in_as_configured() {
    let receiver = Setup { origins: vec!["https://*.example.com".to_owned()], ..Setup::default() }.http();
    let at = receiver.address;
    let ask = ("access-control-request-method", "POST");
    let allowed = [("origin", "https://app.example.com"), ask];
    let preflight = request(at, "OPTIONS", "/v1/traces", &allowed, whole("")).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, "https://app.example.com"));
    assert_eq!(preflight.header("access-control-allow-methods"), "POST");
    assert_eq!(preflight.header("access-control-allow-headers"), "content-type, content-encoding, x-team");
    assert_eq!(preflight.header("access-control-max-age"), "600");
    let posted = post(at, Signal::Traces, &allowed[..1], "x").await;
    assert_eq!((posted.status, posted.header("access-control-allow-origin")), (200, "https://app.example.com"));
    let foreign = request(at, "OPTIONS", "/v1/traces", &[("origin", "https://evil.net"), ask], whole("")).await;
    assert_eq!(foreign.header("access-control-allow-origin"), "");

    let closed = Setup::default().http();
    let preflight = request(closed.address, "OPTIONS", "/v1/traces", &allowed, whole("")).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (405, ""));
}
