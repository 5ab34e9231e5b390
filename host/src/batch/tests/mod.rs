//! Properties of the module over generated requests, in canonical and in odd encodings; prost is the oracle.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

mod columns;
mod drops;
pub(crate) mod generate;
mod malformed;
mod oddities;
mod paths;
mod reference;
pub(crate) mod rewrite;
mod rows;
mod slices;
mod writes;

/// Bytes that columns may take where their bound is not what is tested.
pub(super) const PLENTY: u64 = 1 << 30;

/// A decoded request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
    Logs(ExportLogsServiceRequest),
}

impl Request {
    pub(crate) fn decode(signal: Signal, bytes: &[u8]) -> Result<Request, prost::DecodeError> {
        Ok(match signal {
            Signal::Traces => Request::Traces(Message::decode(bytes)?),
            Signal::Metrics => Request::Metrics(Message::decode(bytes)?),
            Signal::Logs => Request::Logs(Message::decode(bytes)?),
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Request::Traces(request) => request.encode_to_vec(),
            Request::Metrics(request) => request.encode_to_vec(),
            Request::Logs(request) => request.encode_to_vec(),
        }
    }
}

/// Runs `test` on a fixed number of fixed random generators.
pub(crate) fn for_seeds(cases: u32, test: impl Fn(&mut StdRng)) {
    for_values(cases, any::<u64>(), |seed| test(&mut StdRng::seed_from_u64(seed)));
}

/// Runs `test` on a fixed number of values, always the same.
pub(crate) fn for_values<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// One to three requests of a random signal, half of them in odd encodings.
pub(super) fn requests(rng: &mut StdRng) -> (Signal, Vec<Bytes>) {
    let signal = Signal::ALL[rng.random_range(0..3)];
    let segments = (0..rng.random_range(1..4))
        .map(|_| {
            let request = generate::request(signal, rng).encode();
            let bytes = if rng.random() { rewrite::rewrite(&request, rewrite::schema(signal), rng) } else { request };
            assert!(Request::decode(signal, &bytes).is_ok(), "prost must accept what is generated");
            Bytes::from(bytes)
        })
        .collect();
    (signal, segments)
}
