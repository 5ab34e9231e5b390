//! Requests made up from a seed: spans of many traces mixed, out of order, late, odd, with envelopes that hold more than a schema knows.

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use rand::Rng;
use rand::rngs::StdRng;

use crate::tracestate::{POLICY, PROBABILITY};

/// Traces that may still get spans.
const OPEN_MAX: usize = 60;
/// Ended ones of which late spans come.
const ENDED_MAX: usize = 200;

/// What requests look like, different in each run.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub spans_per_request_max: usize,
    pub spans_per_trace_max: usize,
    /// Of each span's padding.
    pub padding_bytes_max: usize,
    /// Once in a while a span has as much.
    pub huge_bytes: usize,
    /// Of 100 spans so many belong to traces that had all theirs.
    pub late_percent: u32,
    /// Of 100 new traces so many come with tracestates.
    pub tracestate_percent: u32,
}

/// Makes requests.
#[derive(Debug)]
pub struct Traffic {
    shape: Shape,
    open: Vec<Trace>,
    ended: Vec<Trace>,
    span_ids: u64,
}

#[derive(Clone, Debug)]
struct Trace {
    id: Vec<u8>,
    left: usize,
    begins_unix_nano: u64,
    lasts_nano: u64,
    has_root: bool,
    fails: bool,
    tracestate: Vec<String>,
}

impl Traffic {
    pub fn new(shape: Shape) -> Self {
        Self { shape, open: Vec::new(), ended: Vec::new(), span_ids: 0 }
    }

    /// The next request.
    pub fn request(&mut self, rng: &mut StdRng, unix_nano: u64) -> Bytes {
        let mut left = rng.random_range(0..=self.shape.spans_per_request_max);
        let mut request = Vec::new();
        loop {
            let mut scopes = Vec::new();
            for _ in 0..rng.random_range(0..3) {
                let count = rng.random_range(0..=left);
                left -= count;
                let spans: Vec<_> = (0..count).map(|_| self.span(rng, unix_nano)).collect();
                let header = scope_header(rng.random_range(0..3));
                scopes.push(message(rng, &header, &spans));
            }
            let header = resource_header(rng.random_range(0..4));
            let resource = message(rng, &header, &scopes);
            field(&mut request, 1, &resource);
            if rng.random_ratio(1, 20) {
                future_field(&mut request);
            }
            if left == 0 {
                return Bytes::from(request);
            }
        }
    }

    /// A request with one span of this trace, to learn which shard has it.
    pub fn probe(trace_id: [u8; 16]) -> Bytes {
        let span = Span { trace_id: trace_id.to_vec(), span_id: vec![1; 8], ..Span::default() };
        let (mut scope, mut resource, mut request) = (Vec::new(), Vec::new(), Vec::new());
        field(&mut scope, 2, &span.encode_to_vec());
        field(&mut resource, 2, &scope);
        field(&mut request, 1, &resource);
        Bytes::from(request)
    }

    fn span(&mut self, rng: &mut StdRng, unix_nano: u64) -> Vec<u8> {
        if !self.ended.is_empty() && rng.random_ratio(self.shape.late_percent, 100) {
            let trace = self.ended[rng.random_range(0..self.ended.len())].clone();
            return self.span_of(rng, &trace);
        }
        if self.open.is_empty() || (self.open.len() < OPEN_MAX && rng.random_ratio(1, 4)) {
            self.open.push(new_trace(rng, &self.shape, unix_nano));
        }
        let index = rng.random_range(0..self.open.len());
        self.open[index].left -= 1;
        let trace = self.open[index].clone();
        if trace.left == 0 {
            if self.ended.len() == ENDED_MAX {
                self.ended.remove(0);
            }
            self.ended.push(self.open.swap_remove(index));
        }
        self.span_of(rng, &trace)
    }

    fn span_of(&mut self, rng: &mut StdRng, trace: &Trace) -> Vec<u8> {
        self.span_ids += 1;
        let start = trace.begins_unix_nano + rng.random_range(0..=trace.lasts_nano);
        let is_root = trace.has_root && rng.random_ratio(1, 4);
        let mut attributes = vec![text("http.route", ["/", "/cart"][rng.random_range(0..2)])];
        if rng.random_ratio(1, 8) {
            attributes.push(text(POLICY, "from upstream"));
            attributes.push(text(PROBABILITY, "not a number"));
            attributes.push(text("after", "x"));
        }
        let padding = match rng.random_range(0..400) {
            0 => self.shape.huge_bytes,
            _ => rng.random_range(0..=self.shape.padding_bytes_max),
        };
        attributes.push(text("padding", &"p".repeat(padding)));
        let code = if trace.fails && rng.random_ratio(1, 3) { 2 } else { rng.random_range(0..2) };
        let span = Span {
            trace_id: trace.id.clone(),
            span_id: self.span_ids.to_be_bytes().to_vec(),
            trace_state: trace.tracestate[rng.random_range(0..trace.tracestate.len())].clone(),
            // Both ways of having no parent are in use.
            parent_span_id: if is_root { vec![0; 8 * rng.random_range(0..2)] } else { vec![7; 8] },
            flags: [0, 1, 0x100, 0x101][rng.random_range(0..4)],
            name: "GET".to_owned(),
            start_time_unix_nano: start,
            // Some clocks go backwards.
            end_time_unix_nano: (start + rng.random_range(0..=trace.lasts_nano)).saturating_sub(rng.random_range(0..2)),
            attributes,
            status: rng.random_ratio(3, 4).then(|| Status { code, message: String::new() }),
            ..Span::default()
        };
        let mut bytes = Vec::new();
        if rng.random_ratio(1, 10) {
            // Parts of a message are merged, and the last of a scalar wins.
            let part = Span {
                trace_id: vec![9; 16],
                trace_state: "overruled=1".to_owned(),
                status: span.status.is_some().then(|| Status { code: 2, message: "first".to_owned() }),
                attributes: vec![text("early", "1")],
                ..Span::default()
            };
            bytes = if span.trace_state.is_empty() || trace.id.is_empty() { bytes } else { part.encode_to_vec() };
        }
        span.encode(&mut bytes).expect("grows");
        if rng.random_ratio(1, 10) {
            future_field(&mut bytes);
        }
        bytes
    }
}

fn new_trace(rng: &mut StdRng, shape: &Shape, unix_nano: u64) -> Trace {
    let mut id: Vec<u8> = rng.random::<[u8; 16]>().to_vec();
    match rng.random_range(0..60) {
        0 => id.clear(),
        1 => id.truncate(8),
        2 => id.push(1),
        3 => id = vec![0; 16],
        _ => {}
    }
    let lasts_nano = 1 << rng.random_range(10..34);
    Trace {
        id,
        left: rng.random_range(1..=shape.spans_per_trace_max),
        begins_unix_nano: unix_nano.saturating_sub(lasts_nano),
        lasts_nano,
        has_root: rng.random_ratio(3, 4),
        fails: rng.random_ratio(1, 5),
        tracestate: tracestates(rng, shape),
    }
}

/// What a trace's spans carry; one of them each.
fn tracestates(rng: &mut StdRng, shape: &Shape) -> Vec<String> {
    if !rng.random_ratio(shape.tracestate_percent, 100) {
        return vec![String::new()];
    }
    let th = {
        let digits = format!("{:014x}", rng.random::<u64>() >> 8);
        digits[..rng.random_range(1..=14)].to_owned()
    };
    let rv = format!("{:014x}", rng.random::<u64>() >> 8);
    let many: Vec<_> = (0..rng.random_range(29..33)).map(|n| format!("m{n}={}", "x".repeat(n % 5 + 1))).collect();
    let long = "l".repeat(rng.random_range(200..248));
    let wide = format!("v1={long},v2={long}");
    match rng.random_range(0..14) {
        0 => vec![format!("ot=th:{th}")],
        1 => vec![format!("ot=th:{th};rv:{rv}")],
        2 => vec![format!("vendor=1,ot=rv:{rv};th:{th},other=2"), format!("ot=rv:{rv}")],
        3 => vec![format!(" a=1 , ot=th:{th} ,, t@v/x=z")],
        4 => vec![format!("ot=p:8;th:{th};xyz:1"), String::new()],
        5 => vec![format!("ot=rv:{rv};abc:de")],
        6 => vec!["ot=th:0".to_owned(), "ot=th:8".to_owned()],
        7 => {
            vec!["ot=rv:12;th:8".to_owned(), format!("a=b,ot=rv:{}", rv.to_uppercase().replace(char::is_numeric, "A"))]
        }
        8 => vec![many.join(",")],
        9 => vec![wide],
        10 => vec!["no value".to_owned(), "=x".to_owned(), "a=1,b".to_owned()],
        11 => vec!["a=\u{1}".to_owned(), "Grüße=1".to_owned(), "ot".to_owned()],
        12 => vec![format!("x=1,ot=th:{th};rv:00000000000000")],
        _ => vec!["vendor=only".to_owned()],
    }
}

/// Header fields and children in an order of its own.
fn message(rng: &mut StdRng, header: &[Vec<u8>], children: &[Vec<u8>]) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = header.to_vec();
    let (first, step) = (rng.random_range(0..=parts.len()), rng.random_ratio(1, 2));
    for (index, child) in children.iter().enumerate() {
        let mut part = Vec::new();
        field(&mut part, 2, child);
        // All between two fields of the header, or some after it.
        let at = if step && index % 2 == 1 { parts.len() } else { (first + index).min(parts.len()) };
        parts.insert(at, part);
    }
    parts.concat()
}

fn resource_header(which: usize) -> Vec<Vec<u8>> {
    let resource =
        Resource { attributes: vec![text("service.name", &format!("service-{which}"))], ..Resource::default() };
    let mut fields = vec![Vec::new()];
    match which {
        0 => return Vec::new(),
        1 => field(&mut fields[0], 1, &resource.encode_to_vec()),
        _ => {
            field(&mut fields[0], 1, &resource.encode_to_vec());
            let mut more = Vec::new();
            field(&mut more, 3, format!("https://example.com/schema/{which}").as_bytes());
            future_field(&mut more);
            fields.push(more);
        }
    }
    fields
}

fn scope_header(which: usize) -> Vec<Vec<u8>> {
    let scope = InstrumentationScope { name: format!("scope-{which}"), ..InstrumentationScope::default() };
    let mut fields = vec![Vec::new()];
    if which == 0 {
        return Vec::new();
    }
    field(&mut fields[0], 1, &scope.encode_to_vec());
    if which == 2 {
        let mut more = Vec::new();
        field(&mut more, 3, b"https://example.com/schema/scope");
        future_field(&mut more);
        fields.push(more);
    }
    fields
}

/// Fields that no schema has.
fn future_field(out: &mut Vec<u8>) {
    encode_key(901, WireType::Varint, out);
    encode_varint(300, out);
    field(out, 903, b"from a later schema");
    encode_key(904, WireType::ThirtyTwoBit, out);
    out.extend_from_slice(&[9, 9, 9, 9]);
}

fn field(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}
