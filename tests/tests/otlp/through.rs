//! In through a receiver, out through an exporter, in again: the bytes are the same.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use sluicebox::ack::{Answer, Outcome, promise};
use sluicebox::config::model::{Exporter as Config, ExporterKind, Queue, Retry, Verbosity};
use sluicebox::export::{Destination, Exporter, Parcel, Part, Sent, destination};
use sluicebox::memory::Charge;
use sluicebox::observe::metrics::Metrics;
use sluicebox::pipeline::intake::Intake;
use sluicebox::receive::{Limits, Server};
use sluicebox::signal::Signal;

use crate::support::client::{call, post};
use crate::support::peer::{client, grpc, http, plain};
use crate::support::receiver::{Receiver, Setup, local};
use crate::support::{PATIENCE, encoded, framed, series, soon, traces, until};

/// A pipeline without stages.
struct Pass(Exporter);

impl Intake for Pass {
    fn submit(&self, signal: Signal, bytes: Bytes, charge: Charge) -> Answer {
        let (ack, answer) = promise(|_| ());
        match self.0.try_reserve() {
            Ok(slot) => {
                let part = Part { bytes, account: 1, ack: Some(ack), charge: Some(Arc::new(charge)) };
                slot.push(Parcel { signal, parts: vec![part] });
            }
            Err(full) => ack.settle(Outcome::Retry { after: None, message: full.to_string() }),
        }
        answer
    }

    fn takes(&self, _: Signal) -> bool {
        true
    }
}

pub fn exporter(destination: Arc<dyn Destination>, metrics: &Metrics) -> Exporter {
    let config = Config {
        name: "out".to_owned(),
        // Only the queue's keys are read when a destination is given.
        kind: ExporterKind::Debug { verbosity: Verbosity::Basic },
        queue: Queue {
            enabled: true,
            requests_max: 1_000,
            consumers: 4,
            block_on_overflow: false,
            wait_for_result: true,
        },
        retry: Retry {
            enabled: false,
            initial_interval: PATIENCE,
            max_interval: PATIENCE,
            max_elapsed: None,
            multiplier: 1.0,
            randomization: 0.0,
        },
    };
    Exporter::start(&config, destination, metrics)
}

#[tokio::test]
async fn bytes_pass_unchanged_over_every_protocol() {
    let body = encoded(&traces(2_000));
    assert!(body.len() > 64 << 10);
    let (last_grpc, last_http) = (Setup::default().grpc(), Setup::default().http());
    let (grpc_url, http_url) = (format!("http://{}", last_grpc.address), format!("http://{}", last_http.address));
    let destinations =
        [grpc(plain(grpc_url.clone())), grpc(client(grpc_url)), http(plain(http_url.clone())), http(client(http_url))];
    for destination in destinations {
        let metrics = Metrics::new();
        let budget = sluicebox::memory::Budget::new(64 << 20);
        let config =
            sluicebox::config::model::GrpcServer { endpoint: local(), message_bytes_max: 1 << 20, streams_max: None };
        let server = Server::bind_grpc("otlp", &config, Limits::default()).expect("binds");
        let address = server.local_addr();
        let pass = Arc::new(Pass(exporter(destination, &metrics)));
        let _serving = server.serve(Arc::<Pass>::clone(&pass), Arc::clone(&budget), &metrics);
        for signal in Signal::ALL {
            let framed = crate::support::client::whole(framed(0, &body));
            assert_eq!(call(address, signal, &[], framed).await.code, Some(0));
        }
        until("charges are given back", || budget.bytes_used() == 0).await;
        assert!(pass.0.shutdown(PATIENCE).await);
        for signal in Signal::ALL {
            let labels = [("exporter", "out"), ("signal", signal.as_str())];
            assert_eq!(series(&metrics, "exporter_sent_items_total", &labels), 1);
        }
    }
    for script in [last_grpc.script, last_http.script] {
        let seen = script.seen();
        assert_eq!(seen.len(), 6);
        assert!(seen.iter().all(|(_, seen)| *seen == body));
    }
}

#[tokio::test]
async fn refusals_are_understood_before_the_body_is_sent() {
    let small = || Setup { bytes_max: 1 << 10, budget: 16 << 20, ..Setup::default() };
    let full = || Setup { bytes_max: 32 << 20, budget: 16 << 20, ..Setup::default() };
    let over = |receiver: &Receiver| receiver.budget.charge(15 << 20).expect("fits");
    let body = [Bytes::from(vec![b'x'; 12 << 20])];

    for (receiver, destination) in [
        (small().grpc(), grpc as fn(_) -> Arc<dyn Destination>),
        (small().http(), http as fn(_) -> Arc<dyn Destination>),
    ] {
        let destination = destination(plain(format!("http://{}", receiver.address)));
        for _ in 0..3 {
            match soon(destination.send(Signal::Traces, &body)).await {
                Sent::Refused { message } => assert!(message.contains("larger than 1024 bytes"), "{message}"),
                other => panic!("{other:?}"),
            }
        }
    }
    for (receiver, destination) in
        [(full().grpc(), grpc as fn(_) -> Arc<dyn Destination>), (full().http(), http as fn(_) -> Arc<dyn Destination>)]
    {
        let destination = destination(plain(format!("http://{}", receiver.address)));
        let taken = over(&receiver);
        for _ in 0..3 {
            match soon(destination.send(Signal::Traces, &body)).await {
                Sent::Retry { after: Some(after), message } => {
                    assert_eq!(after, Duration::from_secs(1));
                    assert!(message.contains("budget"), "{message}");
                }
                other => panic!("{other:?}"),
            }
        }
        drop(taken);
        assert_eq!(soon(destination.send(Signal::Traces, &body)).await, Sent::Accepted { warning: None });
    }
}

#[tokio::test]
async fn debug_prints_what_comes() {
    let out = Arc::new(Mutex::new(Vec::new()));
    let kind = ExporterKind::Debug { verbosity: Verbosity::Basic };
    let metrics = Metrics::new();
    let pass =
        Arc::new(Pass(exporter(destination(&kind, Arc::<Mutex<Vec<u8>>>::clone(&out)).expect("is set up"), &metrics)));
    let config = sluicebox::config::model::HttpServer {
        endpoint: local(),
        body_bytes_max: 1 << 20,
        cors_allowed_origins: Vec::new(),
        cors_allowed_headers: Vec::new(),
        cors_max_age: None,
    };
    let server = Server::bind_http("otlp", &config, Limits::default()).expect("binds");
    let address = server.local_addr();
    let _serving = server.serve(pass, sluicebox::memory::Budget::new(1 << 20), &metrics);
    let body = encoded(&traces(3));
    assert_eq!(post(address, Signal::Traces, &[], body.clone()).await.status, 200);
    let malformed = post(address, Signal::Traces, &[], "\u{1}").await;
    assert_eq!(malformed.status, 400);
    let text = String::from_utf8(out.lock().expect("is whole").clone()).expect("is text");
    assert_eq!(text, format!("traces: 1 resources, 3 spans, {} bytes\n", body.len()));
}
