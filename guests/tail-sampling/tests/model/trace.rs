//! Traces as plain structs.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use sluicebox_guest::NewValue;
use sluicebox_guest::testing::TestBatch;

/// 2^56
pub const END: u64 = 1 << 56;

#[derive(Clone, Debug)]
pub struct Trace {
    pub id: [u8; 16],
    pub bytes: u64,
    pub spans: Vec<Span>,
}

#[derive(Clone, Debug)]
pub struct Span {
    pub trace: [u8; 16],
    pub resource: Attributes,
    pub name: &'static str,
    pub is_root: bool,
    pub start: u64,
    pub end: u64,
    pub status: i64,
    pub is_sampled: bool,
    pub randomness: Option<u64>,
    pub threshold: Option<u64>,
    pub vendor: Option<&'static str>,
    pub attributes: Attributes,
    pub events: Vec<&'static str>,
}

pub type Attributes = Vec<(&'static str, Val)>;

#[derive(Clone, Debug, PartialEq)]
pub enum Val {
    Str(&'static str),
    Int(i64),
    Bool(bool),
    Double(f64),
}

/// The value of an attribute.
pub fn get<'a>(attributes: &'a [(&'static str, Val)], key: &str) -> Option<&'a Val> {
    attributes.iter().find(|(has, _)| *has == key).map(|(_, value)| value)
}

impl Trace {
    pub fn random(rng: &mut StdRng, number: u8) -> Trace {
        let mut id: [u8; 16] = rng.random();
        id[0] = number;
        let randomness = rng.random_bool(0.3).then(|| rng.random_range(0..END));
        let mut spans: Vec<Span> = (0..rng.random_range(1..6)).map(|_| Span::random(rng, id, randomness)).collect();
        if let Some(root) = spans.first_mut().filter(|_| rng.random_bool(0.8)) {
            root.is_root = true;
        }
        spans.shuffle(rng);
        Trace { id, bytes: rng.random_range(0..100), spans }
    }

    /// `rv`, or the last 7 bytes of the id.
    pub fn randomness(&self) -> u64 {
        let last = self.id[9..].iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        self.spans.iter().find_map(|span| span.randomness).unwrap_or(last)
    }

    pub fn duration_ms(&self) -> u64 {
        let start = self.spans.iter().map(|span| span.start).min().unwrap();
        let end = self.spans.iter().map(|span| span.end).max().unwrap();
        end.saturating_sub(start) / 1_000_000
    }

    /// The root that comes first, or the span that does.
    pub fn head(&self) -> &Span {
        self.spans.iter().find(|span| span.is_root).unwrap_or(&self.spans[0])
    }
}

impl Span {
    fn random(rng: &mut StdRng, trace: [u8; 16], randomness: Option<u64>) -> Span {
        let start = rng.random_range(0..5) * 500_000;
        Span {
            trace,
            resource: attributes(rng),
            name: ["a", "b"].choose(rng).unwrap(),
            is_root: false,
            start,
            end: start + rng.random_range(0..5) * 500_000,
            status: *[0, 0, 0, 1, 1, 2].choose(rng).unwrap(),
            is_sampled: rng.random_bool(0.2),
            randomness,
            threshold: rng.random_bool(0.2).then(|| rng.random_range(0..16) << 52),
            vendor: [None, None, Some("x"), Some("y")].choose(rng).copied().unwrap(),
            attributes: attributes(rng),
            events: (0..rng.random_range(0..2)).map(|_| *["e", "f"].choose(rng).unwrap()).collect(),
        }
    }

    fn trace_state(&self) -> String {
        let of_key = |key: &str, bits: Option<u64>| bits.map(|bits| format!("{key}:{bits:014x}"));
        let ot: Vec<String> = of_key("rv", self.randomness).into_iter().chain(of_key("th", self.threshold)).collect();
        let ot = (!ot.is_empty()).then(|| format!("ot={}", ot.join(";")));
        let vendor = self.vendor.map(|vendor| format!("v={vendor}"));
        vendor.into_iter().chain(ot).collect::<Vec<_>>().join(",")
    }
}

fn attributes(rng: &mut StdRng) -> Attributes {
    let keys = ["k", "l"].into_iter().filter(|_| rng.random_bool(0.4)).collect::<Vec<_>>();
    keys.into_iter().map(|key| (key, value(rng))).collect()
}

fn value(rng: &mut StdRng) -> Val {
    match rng.random_range(0..6) {
        0 => Val::Int(rng.random_range(-1..4)),
        1 => Val::Bool(rng.random_bool(0.5)),
        2 => Val::Double(1.0),
        _ => Val::Str(["", "a", "b", "ab", "ba"].choose(rng).unwrap()),
    }
}

/// Spans as a batch, each below a resource of its own.
pub fn batch<'a>(spans: impl IntoIterator<Item = &'a Span>) -> TestBatch {
    spans.into_iter().fold(TestBatch::traces(), |batch, span| {
        let batch = set(batch.resource(), &span.resource);
        let batch = batch
            .span(span.name)
            .set("trace_id", span.trace)
            .set("parent_span_id", if span.is_root { [0; 8] } else { [7; 8] })
            .set("start_time_unix_nano", span.start.cast_signed())
            .set("end_time_unix_nano", span.end.cast_signed())
            .set("status.code", span.status)
            .set("flags", i64::from(span.is_sampled))
            .set("trace_state", span.trace_state().as_str());
        span.events.iter().fold(set(batch, &span.attributes), |batch, event| batch.event(event))
    })
}

fn set(batch: TestBatch, attributes: &[(&'static str, Val)]) -> TestBatch {
    attributes.iter().fold(batch, |batch, (key, value)| {
        batch.attribute(
            key,
            match value {
                Val::Str(text) => NewValue::from(*text),
                Val::Int(int) => NewValue::from(*int),
                Val::Bool(bool) => NewValue::from(*bool),
                Val::Double(double) => NewValue::from(*double),
            },
        )
    })
}
