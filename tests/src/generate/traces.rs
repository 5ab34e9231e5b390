//! Spans: traces of eight, about 548 bytes each, twelve attributes.

use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use prost::Message;
use rand::Rng;
use rand::rngs::StdRng;

use super::values::{self, EPOCH, int, text};
use super::{SPANS_PER_TRACE, Shape, envelope};

/// The next span, encoded; whether it matches is pushed.
pub fn span(rng: &mut StdRng, shape: &Shape, matches: &mut Vec<bool>) -> Vec<u8> {
    let place = matches.len() as u64 % SPANS_PER_TRACE;
    let (matched, route) = values::route(rng, shape);
    let start = EPOCH + rng.random_range(0..3_600_000_000_000_u64);
    let status = if rng.random_range(0..50) == 0 { 500 } else { 200 };
    let mut attributes = vec![
        text("http.request.method", ["GET", "POST", "PUT"][rng.random_range(0..3)]),
        int("http.response.status_code", status),
        text("http.route", &route),
        text("url.path", &format!("{route}?session={}", values::hex(rng, 12))),
        text("server.address", "api.shop.example.com"),
        int("server.port", 8443),
        text("client.address", &format!("10.{}.{}.7", rng.random_range(0..256), rng.random_range(0..256))),
        text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101"),
        text("enduser.id", &values::hex(rng, 16)),
        int("http.response.body.size", rng.random_range(0..100_000)),
        text("thread.name", "worker-pool-3-17"),
    ];
    if shape.odd && rng.random_range(0..4) == 0 {
        attributes.extend(values::odd(rng));
    }
    attributes.push(values::ring(rng, matched));
    if shape.fresh {
        values::freshen(rng, &mut attributes);
    }
    let mut span = Span {
        // Identities are patched in; here only their places.
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        parent_span_id: if place == 0 { Vec::new() } else { vec![1; 8] },
        flags: 0x101,
        name: if shape.fresh { format!("GET {}", values::hex(rng, route.len())) } else { format!("GET {route}") },
        kind: 2,
        start_time_unix_nano: start,
        end_time_unix_nano: start + rng.random_range(100_000..80_000_000),
        attributes,
        status: (status == 500).then(|| Status { code: 2, message: "upstream failed".to_owned() }),
        ..Span::default()
    };
    if rng.random_range(0..8) == 0 {
        span.events.push(Event {
            time_unix_nano: start + 50_000,
            name: "cache.miss".to_owned(),
            attributes: vec![text("cache.key", &values::hex(rng, 20))],
            ..Event::default()
        });
    }
    if shape.odd && rng.random_range(0..4) == 0 {
        span.trace_state = "ot=th:8,vendor=x".to_owned();
        span.links.push(Link { trace_id: vec![2; 16], span_id: vec![2; 8], ..Link::default() });
        span.dropped_attributes_count = 3;
    }
    matches.push(matched && !shape.fresh);
    let mut bytes = span.encode_to_vec();
    if shape.odd && rng.random_range(0..4) == 0 {
        envelope::future_fields(&mut bytes);
    }
    bytes
}
