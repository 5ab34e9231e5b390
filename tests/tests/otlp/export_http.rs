//! OTLP/HTTP out of an exporter: every answer that a peer can give.

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message;
use sluicebox::config::model::{Client, Encoding, ExporterKind, Secret};
use sluicebox::export::{Destination, Sent, destination};
use sluicebox::otlp::{ExportResponse, PartialSuccess, Status};
use sluicebox::signal::Signal;

use crate::support::peer::{Peer, Says, client, http, plain};
use crate::support::soon;

const TAKEN: Sent = Sent::Accepted { warning: None };

async fn answer(peer: &Peer, destination: &Arc<dyn Destination>, says: Says) -> Sent {
    peer.says(says);
    soon(destination.send(Signal::Traces, &[Bytes::from_static(b"x")])).await
}

#[tokio::test]
async fn requests_go_out_as_the_protocol_asks() {
    let peer = Peer::start().await;
    let parts = [Bytes::from_static(b"first "), Bytes::from(b"second".repeat(50_000))];
    assert_eq!(soon(http(plain(peer.url() + "/otlp/")).send(Signal::Logs, &parts)).await, TAKEN);
    assert_eq!(soon(http(client(peer.url())).send(Signal::Metrics, &parts)).await, TAKEN);
    let own = vec![(Signal::Traces, peer.url() + "/own/path?key=1")];
    let kind = ExporterKind::OtlpHttp { client: plain(String::new()), endpoints: own, encoding: Encoding::Proto };
    let own = destination(&kind, Arc::new(Mutex::new(Vec::new()))).expect("is set up");
    assert_eq!(soon(own.send(Signal::Traces, &parts)).await, TAKEN);
    assert!(matches!(soon(own.send(Signal::Logs, &parts)).await, Sent::Refused { .. }), "no endpoint for logs");

    let asked = peer.asked();
    let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(paths, ["/otlp/v1/logs", "/v1/metrics", "/own/path?key=1"]);
    assert_eq!(asked[0].body, parts.concat());
    assert_eq!(asked[0].header("content-length"), parts.concat().len().to_string());
    assert_eq!((asked[0].header("content-encoding"), asked[1].header("content-encoding")), ("", "gzip"));
    let mut inflated = Vec::new();
    flate2::read::GzDecoder::new(asked[1].body.as_ref()).read_to_end(&mut inflated).expect("inflates");
    assert_eq!(inflated, parts.concat());
    for asked in asked {
        assert_eq!(asked.header("content-type"), "application/x-protobuf");
        assert_eq!(asked.header("user-agent"), concat!("sluicebox/", env!("CARGO_PKG_VERSION")));
        assert_eq!(asked.header("x-tenant"), "blue");
    }
}

#[tokio::test]
async fn statuses_are_retried_as_the_specification_says() {
    let peer = Peer::start().await;
    let destination = http(plain(peer.url()));
    let body = Status { code: 0, message: "too bad".to_owned(), details: Vec::new() }.encode_to_vec();
    for status in [301, 302, 400, 401, 403, 404, 408, 413, 429, 500, 501, 502, 503, 504] {
        let location = format!("{}/elsewhere", peer.url());
        let headers = [("content-type", "application/x-protobuf"), ("location", location.as_str())];
        let sent = answer(&peer, &destination, Says::http(status, &headers, &body)).await;
        match (sent, [429, 502, 503, 504].contains(&status)) {
            (Sent::Retry { after: None, message }, true) | (Sent::Refused { message }, false) => {
                assert!(message.contains("too bad") && message.contains(&status.to_string()), "{message}");
            }
            (other, _) => panic!("{status}: {other:?}"),
        }
    }
    assert!(peer.asked().iter().all(|asked| asked.path == "/v1/traces"), "redirects are not followed");
    let unreadable = answer(&peer, &destination, Says::http(503, &[], &vec![0xff; 100 << 10])).await;
    assert_eq!(unreadable, Sent::Retry { after: None, message: "HTTP 503 Service Unavailable".to_owned() });
}

#[tokio::test]
async fn retry_after_is_honoured_in_both_forms() {
    let peer = Peer::start().await;
    let destination = http(plain(peer.url()));
    let seconds = answer(&peer, &destination, Says::http(429, &[("retry-after", "7")], b"")).await;
    assert!(matches!(seconds, Sent::Retry { after: Some(after), .. } if after == Duration::from_secs(7)));
    // 1 January 2100, some 27,000 days ahead at most.
    let date =
        answer(&peer, &destination, Says::http(503, &[("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT")], b"")).await;
    let until = Duration::from_secs(4_102_444_800);
    let left = until - SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("is after 1970");
    match date {
        Sent::Retry { after: Some(after), .. } => assert!(after.abs_diff(left) < Duration::from_secs(60)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn partial_success_is_read_and_garbage_is_success() {
    let peer = Peer::start().await;
    let destination = http(plain(peer.url()));
    let protobuf = [("content-type", "application/x-protobuf")];
    let body = |rejected, message: &str| {
        let partial = PartialSuccess { rejected, error_message: message.to_owned() };
        ExportResponse { partial_success: Some(partial) }.encode_to_vec()
    };
    let partial = answer(&peer, &destination, Says::http(200, &protobuf, &body(2, "two"))).await;
    assert_eq!(partial, Sent::Partial { rejected: 2, message: "two".to_owned() });
    let warning = answer(&peer, &destination, Says::http(200, &protobuf, &body(0, "careful"))).await;
    assert_eq!(warning, Sent::Accepted { warning: Some("careful".to_owned()) });
    for (status, garbage) in [(200, &b"\xff\xff\xff"[..]), (202, b""), (204, b"")] {
        assert_eq!(answer(&peer, &destination, Says::http(status, &protobuf, garbage)).await, TAKEN);
    }
    let html = Says::http(200, &[("content-type", "text/html")], b"<html>");
    assert_eq!(answer(&peer, &destination, html).await, TAKEN);
    let large = answer(&peer, &destination, Says::http(200, &protobuf, &vec![0; 5 << 20])).await;
    assert!(matches!(large, Sent::Accepted { warning: Some(_) }), "{large:?}");
}

#[tokio::test]
async fn silence_and_refused_connections_are_retried() {
    let peer = Peer::start().await;
    let destination = http(Client { timeout: Duration::from_millis(50), ..plain(peer.url()) });
    let silent = answer(&peer, &destination, Says { never: true, ..Says::http(200, &[], b"") }).await;
    assert!(matches!(silent, Sent::Retry { after: None, .. }), "{silent:?}");
    let nobody = http(plain("http://127.0.0.1:1".to_owned()));
    let sent = soon(nobody.send(Signal::Traces, &[])).await;
    assert!(matches!(&sent, Sent::Retry { message, .. } if message.contains("refused")), "{sent:?}");
}

#[tokio::test]
async fn what_cannot_be_set_up_says_why() {
    let setup = |client| {
        let kind = ExporterKind::OtlpHttp { client, endpoints: Vec::new(), encoding: Encoding::Proto };
        destination(&kind, Arc::new(Mutex::new(Vec::new()))).err().expect("is refused").to_string()
    };
    assert!(setup(plain("backend:4318".to_owned())).contains("backend:4318"));
    assert!(setup(plain("ftp://backend".to_owned())).contains("http://"));
    let header = vec![("x y".to_owned(), Secret::new("secret".to_owned()))];
    let text = setup(Client { headers: header, ..plain("http://backend".to_owned()) });
    assert!(text.contains("x y") && !text.contains("secret"), "{text}");
    let mut client = client("https://backend".to_owned());
    client.tls.ca_file = Some("/nowhere/ca.pem".into());
    assert!(setup(client).contains("/nowhere/ca.pem"));
}
