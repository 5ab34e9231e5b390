//! A receiver whose pipelines are a script.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use sluicebox::ack::{Ack, Answer, Outcome, promise};
use sluicebox::config::model::{GrpcServer, HttpServer};
use sluicebox::memory::{Budget, Charge};
use sluicebox::observe::metrics::Metrics;
use sluicebox::pipeline::intake::Intake;
use sluicebox::receive::{Handle, Limits, Server};
use sluicebox::signal::Signal;

pub const LIMIT: u64 = 1 << 20;

/// What was handed to the pipelines, and what they answer.
#[derive(Default)]
pub struct Script {
    pub seen: Mutex<Vec<(Signal, Bytes)>>,
    /// Of requests to come; then all are accepted.
    pub answers: Mutex<VecDeque<Outcome>>,
    /// Hold requests instead of answering.
    pub hold: Mutex<bool>,
    pub held: Mutex<Vec<(Ack, Charge)>>,
    pub refuses: Option<Signal>,
}

impl Intake for Script {
    fn submit(&self, signal: Signal, body: Bytes, charge: Charge) -> Answer {
        assert!(charge.bytes() >= body.len() as u64, "the body is charged");
        self.seen.lock().expect("is whole").push((signal, body));
        let (ack, answer) = promise(|_| ());
        if *self.hold.lock().expect("is whole") {
            self.held.lock().expect("is whole").push((ack, charge));
        } else {
            let scripted = self.answers.lock().expect("is whole").pop_front();
            ack.settle(scripted.unwrap_or(Outcome::ACCEPTED));
        }
        answer
    }

    fn takes(&self, signal: Signal) -> bool {
        self.refuses != Some(signal)
    }
}

impl Script {
    pub fn seen(&self) -> Vec<(Signal, Bytes)> {
        self.seen.lock().expect("is whole").clone()
    }

    pub fn then(&self, outcome: Outcome) {
        self.answers.lock().expect("is whole").push_back(outcome);
    }

    pub fn hold(&self) {
        *self.hold.lock().expect("is whole") = true;
    }

    /// Accepts what was held.
    pub fn release(&self) {
        *self.hold.lock().expect("is whole") = false;
        for (ack, _) in self.held.lock().expect("is whole").drain(..) {
            ack.settle(Outcome::ACCEPTED);
        }
    }
}

/// A serving receiver.
pub struct Receiver {
    pub script: Arc<Script>,
    pub budget: Arc<Budget>,
    pub metrics: Metrics,
    pub address: SocketAddr,
    pub handle: Handle,
}

#[derive(Clone)]
pub struct Setup {
    pub limits: Limits,
    pub budget: u64,
    pub bytes_max: u64,
    pub refuses: Option<Signal>,
    pub origins: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup { limits: Limits::default(), budget: 64 << 20, bytes_max: LIMIT, refuses: None, origins: Vec::new() }
    }
}

impl Setup {
    pub fn grpc(self) -> Receiver {
        let config = GrpcServer { endpoint: local(), message_bytes_max: self.bytes_max, streams_max: None };
        let server = Server::bind_grpc("otlp", &config, self.limits.clone()).expect("binds");
        self.serve(server)
    }

    pub fn http(self) -> Receiver {
        let config = HttpServer {
            endpoint: local(),
            body_bytes_max: self.bytes_max,
            cors_allowed_origins: self.origins.clone(),
            cors_allowed_headers: vec!["x-team".to_owned()],
            cors_max_age: Some(std::time::Duration::from_secs(600)),
        };
        let server = Server::bind_http("otlp", &config, self.limits.clone()).expect("binds");
        self.serve(server)
    }

    fn serve(self, server: Server) -> Receiver {
        let script = Arc::new(Script { refuses: self.refuses, ..Script::default() });
        let (budget, metrics) = (Budget::new(self.budget), Metrics::new());
        let address = server.local_addr();
        let intake = Arc::clone(&script);
        let handle = server.serve(intake, Arc::clone(&budget), &metrics);
        Receiver { script, budget, metrics, address, handle }
    }
}

pub fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
