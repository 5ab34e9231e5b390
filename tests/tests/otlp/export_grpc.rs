//! OTLP/gRPC out of an exporter: every answer that a peer can give.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use sluicebox::config::model::Client;
use sluicebox::export::{Destination, Sent};
use sluicebox::otlp::{Code, ExportResponse, PartialSuccess, Status};
use sluicebox::signal::Signal;
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding;

use crate::support::peer::{Peer, Says, client, grpc, plain};
use crate::support::receiver::local;
use crate::support::{encoded, framed, soon, traces};

const TAKEN: Sent = Sent::Accepted { warning: None };

async fn send(destination: &Arc<dyn Destination>, body: &[Bytes]) -> Sent {
    soon(destination.send(Signal::Traces, body)).await
}

async fn answer(peer: &Peer, destination: &Arc<dyn Destination>, says: Says) -> Sent {
    peer.says(says);
    send(destination, &[Bytes::from_static(b"x")]).await
}

fn response(rejected: i64, message: &str) -> Vec<u8> {
    let partial = PartialSuccess { rejected, error_message: message.to_owned() };
    framed(0, &ExportResponse { partial_success: Some(partial) }.encode_to_vec())
}

#[tokio::test]
async fn requests_go_out_as_the_protocol_asks() {
    let peer = Peer::start().await;
    let parts = [Bytes::from_static(b"first "), Bytes::new(), Bytes::from(b"second".repeat(50_000))];
    for (signal, client) in [(Signal::Logs, plain(peer.url())), (Signal::Metrics, client(peer.url() + "/"))] {
        assert_eq!(soon(grpc(client).send(signal, &parts)).await, TAKEN);
    }
    let asked = peer.asked();
    assert_eq!(asked[0].body, framed(0, &parts.concat()));
    assert_eq!(asked[0].header("grpc-encoding"), "");
    assert_eq!(asked[0].path, Signal::Logs.grpc_path());
    assert_eq!(asked[1].path, Signal::Metrics.grpc_path());
    assert_eq!(asked[1].header("grpc-encoding"), "gzip");
    assert_eq!(asked[1].body[0], 1);
    let mut inflated = Vec::new();
    // Reads one member only.
    let mut decoder = flate2::read::GzDecoder::new(&asked[1].body[5..]);
    std::io::Read::read_to_end(&mut decoder, &mut inflated).expect("inflates");
    assert_eq!(inflated, parts.concat());
    for asked in asked {
        assert_eq!(asked.version, http::Version::HTTP_2);
        assert_eq!(asked.header("content-type"), "application/grpc");
        assert_eq!(asked.header("te"), "trailers");
        assert_eq!(asked.header("user-agent"), concat!("sluicebox/", env!("CARGO_PKG_VERSION")));
        assert_eq!(asked.header("x-tenant"), "blue");
        assert_eq!(asked.header("grpc-timeout"), "10000m");
    }
}

#[tokio::test]
async fn codes_are_retried_as_the_specification_says() {
    let peer = Peer::start().await;
    let destination = grpc(plain(peer.url()));
    let retried = [1, 4, 10, 11, 14, 15];
    for code in 1..=17 {
        let in_headers = Says::grpc_code(code, &[("grpc-message", "too%20bad")]);
        let number = code.to_string();
        let in_trailers = Says::grpc(b"", &[("grpc-status", &number), ("grpc-message", "too%20bad")]);
        for says in [in_headers, in_trailers] {
            let sent = answer(&peer, &destination, says).await;
            let message = format!("{}: too bad", Code::from_header(number.as_bytes()).as_str());
            let expected =
                if retried.contains(&code) { Sent::Retry { after: None, message } } else { Sent::Refused { message } };
            assert_eq!(sent, expected);
        }
    }
}

#[tokio::test]
async fn retry_info_is_honoured_and_makes_resource_exhausted_retryable() {
    let peer = Peer::start().await;
    let destination = grpc(plain(peer.url()));
    let after = Duration::from_millis(1_250);
    for code in [Code::ResourceExhausted, Code::Unavailable] {
        let details = Status::with_retry_info(code, "slow down".to_owned(), after).encode_to_vec();
        for details in [STANDARD.encode(&details), STANDARD_NO_PAD.encode(&details)] {
            let says = Says::grpc_code(code as i32, &[("grpc-status-details-bin", &details)]);
            match answer(&peer, &destination, says).await {
                Sent::Retry { after: Some(asked), .. } => assert_eq!(asked, after),
                other => panic!("{other:?}"),
            }
        }
    }
    let says = Says::grpc_code(8, &[("grpc-status-details-bin", "not base64!")]);
    assert!(matches!(answer(&peer, &destination, says).await, Sent::Refused { .. }));
}

#[tokio::test]
async fn partial_success_is_read_and_garbage_is_success() {
    let peer = Peer::start().await;
    let destination = grpc(plain(peer.url()));
    let ok = [("grpc-status", "0")];
    let partial = answer(&peer, &destination, Says::grpc(&response(7, "seven"), &ok)).await;
    assert_eq!(partial, Sent::Partial { rejected: 7, message: "seven".to_owned() });
    let warning = answer(&peer, &destination, Says::grpc(&response(0, "careful"), &ok)).await;
    assert_eq!(warning, Sent::Accepted { warning: Some("careful".to_owned()) });
    let long = answer(&peer, &destination, Says::grpc(&response(1, &"é".repeat(5_000)), &ok)).await;
    assert_eq!(long, Sent::Partial { rejected: 1, message: "é".repeat(512) });
    for garbage in [b"".to_vec(), b"\0\0".to_vec(), framed(0, b"\xff\xff\xff"), framed(1, b"x"), response(-5, "")] {
        assert_eq!(answer(&peer, &destination, Says::grpc(&garbage, &ok)).await, TAKEN);
    }
    match answer(&peer, &destination, Says::grpc(&vec![0; 5 << 20], &ok)).await {
        Sent::Accepted { warning: Some(warning) } => assert!(warning.contains("larger"), "{warning}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn answers_that_are_not_grpc_are_mapped() {
    let peer = Peer::start().await;
    let destination = grpc(plain(peer.url()));
    for status in [429, 502, 503, 504] {
        assert!(matches!(answer(&peer, &destination, Says::http(status, &[], b"")).await, Sent::Retry { .. }));
    }
    for status in [200, 301, 400, 401, 403, 404, 500] {
        let sent = answer(&peer, &destination, Says::http(status, &[("content-type", "text/html")], b"hi")).await;
        assert!(matches!(sent, Sent::Refused { .. }), "{status}: {sent:?}");
    }
    let no_status = answer(&peer, &destination, Says::grpc(&[0; 5], &[])).await;
    assert!(matches!(no_status, Sent::Retry { .. }), "{no_status:?}");
}

#[tokio::test]
async fn a_silent_peer_is_given_up_in_time() {
    let peer = Peer::start().await;
    let destination = grpc(Client { timeout: Duration::from_millis(50), ..plain(peer.url()) });
    peer.says(Says { never: true, ..Says::grpc(b"", &[]) });
    assert!(matches!(send(&destination, &[]).await, Sent::Retry { .. }));
}

#[tokio::test]
async fn a_peer_that_comes_up_later_is_found() {
    let place = TcpListener::bind(local()).await.expect("binds");
    let address = place.local_addr().expect("has an address");
    drop(place);
    let destination = grpc(client(format!("http://localhost:{}", address.port())));
    match send(&destination, &[]).await {
        Sent::Retry { message, .. } => assert!(message.contains("refused"), "{message}"),
        other => panic!("{other:?}"),
    }
    let peer = Peer::listen(TcpListener::bind(address).await.expect("binds"), |stream| async { stream });
    let found = async { while send(&destination, &[]).await != TAKEN {} };
    soon(found).await;
    assert_eq!(peer.asked().len(), 1);
}

struct Generated(Mutex<Vec<ExportTraceServiceRequest>>);

#[tonic::async_trait]
impl TraceService for Generated {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.lock().expect("is whole").push(request.into_inner());
        let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "one".to_owned() };
        Ok(tonic::Response::new(ExportTraceServiceResponse { partial_success: Some(partial) }))
    }
}

#[tokio::test]
async fn generated_servers_understand() {
    let listener = TcpListener::bind(local()).await.expect("binds");
    let address = listener.local_addr().expect("has an address");
    let service = Arc::new(Generated(Mutex::new(Vec::new())));
    let server = TraceServiceServer::from_arc(Arc::clone(&service)).accept_compressed(CompressionEncoding::Gzip);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(server.clone());
            tokio::spawn(async move {
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
            });
        }
    });
    for client in [plain(format!("http://{address}")), client(format!("http://{address}"))] {
        let sent = send(&grpc(client), &[encoded(&traces(2)), encoded(&traces(3))]).await;
        assert_eq!(sent, Sent::Partial { rejected: 1, message: "one".to_owned() });
    }
    let seen = service.0.lock().expect("is whole");
    assert_eq!(seen.len(), 2);
    for request in seen.iter() {
        assert_eq!(request.resource_spans, [traces(2).resource_spans, traces(3).resource_spans].concat());
    }
}
