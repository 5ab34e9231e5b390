//! Properties over generated requests in any legal encoding, and over arbitrary bytes; prost is the oracle.

use proptest::prelude::*;
use rand::Rng;
use rand::rngs::StdRng;

use super::*;
use crate::batch::tests::{for_seeds, for_values, generate, rewrite};
use crate::batch::{Batch, Malformed};
use crate::signal::Signal;
use crate::tail::verdict::THRESHOLD_UNKNOWN;

/// What `Arrivals::read` looks into; everything else is opaque here.
mod skeleton {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        #[prost(message, repeated, tag = "1")]
        pub resources: Vec<Resource>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Resource {
        #[prost(bytes = "vec", tag = "1")]
        pub head: Vec<u8>,
        #[prost(message, repeated, tag = "2")]
        pub scopes: Vec<Scope>,
        #[prost(bytes = "vec", tag = "3")]
        pub schema_url: Vec<u8>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Scope {
        #[prost(bytes = "vec", tag = "1")]
        pub head: Vec<u8>,
        #[prost(message, repeated, tag = "2")]
        pub spans: Vec<Span>,
        #[prost(bytes = "vec", tag = "3")]
        pub schema_url: Vec<u8>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub span_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        pub trace_state: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub parent_span_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "5")]
        pub name: Vec<u8>,
        #[prost(int32, tag = "6")]
        pub kind: i32,
        #[prost(fixed64, tag = "7")]
        pub start: u64,
        #[prost(fixed64, tag = "8")]
        pub end: u64,
        #[prost(bytes = "vec", repeated, tag = "9")]
        pub attributes: Vec<Vec<u8>>,
        #[prost(uint32, tag = "10")]
        pub dropped_attributes: u32,
        #[prost(bytes = "vec", repeated, tag = "11")]
        pub events: Vec<Vec<u8>>,
        #[prost(uint32, tag = "12")]
        pub dropped_events: u32,
        #[prost(bytes = "vec", repeated, tag = "13")]
        pub links: Vec<Vec<u8>>,
        #[prost(uint32, tag = "14")]
        pub dropped_links: u32,
        #[prost(message, optional, tag = "15")]
        pub status: Option<Status>,
        #[prost(fixed32, tag = "16")]
        pub flags: u32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Status {
        #[prost(bytes = "vec", tag = "2")]
        pub message: Vec<u8>,
        #[prost(int32, tag = "3")]
        pub code: i32,
    }
}

fn odd_request(rng: &mut StdRng) -> Bytes {
    let request = generate::request(Signal::Traces, rng).encode();
    let is_odd: bool = rng.random();
    let bytes = if is_odd { rewrite::rewrite(&request, rewrite::schema(Signal::Traces), rng) } else { request };
    bytes.into()
}

#[test]
fn everything_leaves_as_it_came() {
    for_seeds(300, |rng| {
        let requests: Vec<Bytes> = (0..rng.random_range(1..6)).map(|_| odd_request(rng)).collect();
        // Small segments, so that spans lie in several.
        let mut lab = Lab::new(|settings| settings.bytes_max = 1 << 20);
        for request in &requests {
            lab.try_take(request.clone()).expect("there is room");
        }
        lab.shard.drain();
        let spans: usize = content(&requests).values().map(Vec::len).sum();
        assert_eq!(lab.shard.load().spans, spans as u64);
        let Some(mut due) = lab.shard.due(lab.now()) else { return assert_eq!(spans, 0) };
        let shown = lab.shard.spans_of(&mut due);
        assert_eq!(content([&shown]), content(&requests));
        check_numbers(&due.traces, &shown, &requests);
        let count = due.traces.len();
        let settled = lab.shard.settle(lab.now(), due, vec![keep(0); count]);
        assert_eq!(content(settled.released.iter().map(|released| &released.body)), content(&requests));
        // Late ones too.
        let late: Vec<_> =
            requests.iter().flat_map(|one| lab.try_take(one.clone()).expect("there is room").released).collect();
        assert_eq!(content(late.iter().map(|released| &released.body)), content(&requests));
    });
}

/// What is told of traces is what a decoder counts, and each span that is shown has its trace.
fn check_numbers(traces: &crate::tail::traces::Traces, shown: &Bytes, requests: &[Bytes]) {
    let all: Vec<Span> = requests.iter().flat_map(spans_in).collect();
    for (number, id) in traces.ids.iter().enumerate() {
        let of_it: Vec<&Span> = all.iter().filter(|span| trace_of(span) == *id).collect();
        let with_status =
            |code| of_it.iter().filter(|s| s.status.as_ref().is_some_and(|s| s.code == code)).count() as u32;
        let is_root = |span: &&&Span| span.parent_span_id.iter().all(|byte| *byte == 0);
        let marks = u8::from(of_it.iter().any(|s| is_root(&s))) | u8::from(of_it.iter().any(|s| s.flags & 1 == 1)) << 1;
        assert_eq!(traces.span_counts[number], of_it.len() as u32);
        assert_eq!((traces.error_counts[number], traces.ok_counts[number]), (with_status(2), with_status(1)));
        assert_eq!(Some(traces.starts_unix_nano[number]), of_it.iter().map(|s| s.start_time_unix_nano).min());
        assert_eq!(Some(traces.ends_unix_nano[number]), of_it.iter().map(|s| s.end_time_unix_nano).max());
        assert_eq!((traces.marks[number], traces.thresholds[number]), (marks, THRESHOLD_UNKNOWN));
    }
    let ids: Vec<_> = traces.trace_of.iter().map(|&number| traces.ids[number as usize]).collect();
    assert_eq!(ids, spans_in(shown).iter().map(trace_of).collect::<Vec<_>>());
}

fn spans_in(request: &Bytes) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(request.as_ref()).expect("is a request");
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

#[test]
fn a_trace_goes_to_one_shard_and_none_is_lost() {
    for_seeds(100, |rng| {
        let requests: Vec<Bytes> = (0..4).map(|_| odd_request(rng)).collect();
        let mut shards: Vec<Lab> = (0..3).map(|_| Lab::new(|_| {})).collect();
        for request in &requests {
            let arrivals = Arrivals::read(request.clone()).expect("is valid");
            let (spans, split) = (arrivals.spans(), arrivals.split(3));
            assert_eq!(split.iter().map(|(_, arrival)| arrival.spans()).sum::<u64>(), spans);
            for (number, arrival) in split {
                let lab = &mut shards[number];
                let (now, spans) = (lab.now(), lab.shard.load().spans);
                lab.shard.ingest(now, &arrival).expect("there is room");
                assert_eq!(lab.shard.load().spans, spans + arrival.spans());
            }
        }
        let mut all = Content::new();
        for lab in &mut shards {
            lab.shard.drain();
            let bodies: Vec<_> = lab.settle(keep).released.into_iter().map(|released| released.body).collect();
            let here = content(&bodies);
            let ids =
                |content: &Content| content.keys().map(|(id, _)| id.clone()).collect::<std::collections::BTreeSet<_>>();
            assert!(ids(&here).is_disjoint(&ids(&all)), "a trace is split between shards");
            all.extend(here);
        }
        assert_eq!(all, content(&requests));
    });
}

/// Reads bytes of any kind as prost would, and lets what can be read go through a shard.
fn check(bytes: &[u8]) {
    let read = Arrivals::read(Bytes::copy_from_slice(bytes));
    let decoded = skeleton::Request::decode(bytes);
    assert_eq!(read.is_ok(), decoded.is_ok(), "{read:?}, {decoded:?}");
    let (Ok(arrivals), Ok(decoded)) = (read, decoded) else { return };
    let scopes = || decoded.resources.iter().flat_map(|resource| &resource.scopes);
    let spans: Vec<_> = scopes().flat_map(|scope| &scope.spans).collect();
    assert_eq!(arrivals.spans(), spans.len() as u64);
    let mut lab = Lab::new(|settings| settings.records_decisions = true);
    for (_, arrival) in arrivals.split(1) {
        lab.shard.ingest(lab.now(), &arrival).expect("there is room");
    }
    lab.shard.drain();
    let Some(mut due) = lab.shard.due(lab.now()) else { return assert!(spans.is_empty()) };
    let shown = lab.shard.spans_of(&mut due);
    let indexed: Result<u32, Malformed> = Batch::index(Signal::Traces, vec![shown]).map(|batch| batch.items());
    assert_eq!(indexed, Ok(spans.len() as u32));
    let errors = spans.iter().filter(|span| span.status.as_ref().is_some_and(|status| status.code == 2)).count();
    assert_eq!(due.traces.error_counts.iter().sum::<u32>(), errors as u32);
    let count = due.traces.len();
    let settled = lab.shard.settle(lab.now(), due, vec![verdict(Vote::Keep, 1 << 55); count]);
    let left = settled.released.iter().flat_map(|released| {
        let request = skeleton::Request::decode(released.body.as_ref()).expect("is well-formed");
        request.resources.into_iter().flat_map(|resource| resource.scopes).flat_map(|scope| scope.spans)
    });
    let names = |mut names: Vec<Vec<u8>>| {
        names.sort();
        names
    };
    let left: Vec<_> = left.map(|span| span.name).collect();
    assert_eq!(names(left), names(spans.iter().map(|span| span.name.clone()).collect()));
}

#[test]
fn arbitrary_bytes_are_judged_as_by_prost_and_harm_nothing() {
    let nested = |inner: Vec<u8>| {
        let field = |number: u8, payload: &[u8]| [&[number << 3 | 2, payload.len() as u8][..], payload].concat();
        field(1, &field(2, &field(2, &inner)))
    };
    let byte = prop_oneof![
        3 => proptest::sample::select(b"\x0a\x12\x1a\x22\x2a\x30\x39\x41\x4a\x7a\x18\x02\x00\x01\x85\x0b\x0c\x80".to_vec()),
        1 => any::<u8>()
    ];
    for_values(20_000, (proptest::collection::vec(byte, 0..40), any::<bool>()), |(bytes, is_span)| {
        check(&if is_span { nested(bytes) } else { bytes });
    });
}

#[test]
fn damaged_requests_are_judged_as_by_prost_and_harm_nothing() {
    for_seeds(300, |rng| {
        let bytes = odd_request(rng);
        for _ in 0..if bytes.is_empty() { 0 } else { 6 } {
            let mut damaged = bytes.to_vec();
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..3) {
                0 => damaged.truncate(at),
                1 => damaged[at] = rng.random(),
                _ => damaged[at] ^= 1 << rng.random_range(0..8),
            }
            check(&damaged);
        }
    });
}
