//! What leaves: thresholds in tracestates, recorded decisions, envelopes, sizes.

use super::*;
use crate::tail::verdict::{THRESHOLD_END, THRESHOLD_UNKNOWN};

const HALF: u64 = THRESHOLD_END / 2;

fn with_state(state: &str) -> Span {
    Span { trace_state: state.to_owned(), ..span(1, 1) }
}

/// The span as it is released with this threshold.
fn released(span: Span, threshold: u64, records_decisions: bool) -> Span {
    let mut lab = Lab::new(|settings| settings.records_decisions = records_decisions);
    lab.take(vec![span]);
    lab.shard.drain();
    spans(&lab.settle(|_| verdict(Vote::Keep, threshold)).released).pop().expect("is kept")
}

#[test]
fn the_threshold_is_written_into_the_tracestate() {
    // The trace id ends with 01 01 01 01 01 01 01.
    let state = |state: &str, threshold| released(with_state(state), threshold, false).trace_state;
    let random = ";rv:f0000000000000";
    assert_eq!(state("", 0), "");
    assert_eq!(state("a=b,ot=th:4;rv:f0000000000000", 0), "a=b,ot=th:4;rv:f0000000000000");
    assert_eq!(state("", HALF), "ot=th:8");
    assert_eq!(state("a=b", HALF), "ot=th:8,a=b");
    assert_eq!(state(&format!("a=b,ot=th:4{random}"), HALF), format!("ot=th:8{random},a=b"));
    assert_eq!(state(&format!("a=b,ot=th:c{random}"), HALF), format!("a=b,ot=th:c{random}"));
    assert_eq!(state(&format!("a=b,ot=th:c{random}"), THRESHOLD_UNKNOWN), format!("ot=rv:f0000000000000,a=b"));
    assert_eq!(state("a=b,ot=th:c", THRESHOLD_UNKNOWN), "a=b");
    assert_eq!(state("a=b", THRESHOLD_UNKNOWN), "a=b");
    // It came with a threshold above its randomness.
    assert_eq!(state("a=b,ot=th:c", HALF), "a=b");
    assert_eq!(state("ot=th:8,=", HALF), "ot=th:8,=");
}

#[test]
fn nothing_else_of_a_span_changes() {
    let other =
        Span { attributes: vec![text("k", "v"), text("k", "v")], kind: 3, dropped_links_count: 4, ..with_state("a=b") };
    let expected = Span { trace_state: "ot=th:8,a=b".to_owned(), ..other.clone() };
    assert_eq!(released(other, HALF, false), expected);
}

#[test]
fn decisions_are_recorded_in_attributes() {
    let upstream =
        vec![text("tailsampling.policy", "theirs"), text("mine", "1"), text("sluicebox.sampling.probability", "?")];
    let recorded = |threshold, state: &str| {
        let span = Span { attributes: upstream.clone(), ..with_state(state) };
        let attributes = released(span, threshold, true).attributes;
        let told =
            attributes.into_iter().map(|attribute| (attribute.key, attribute.value.and_then(|value| value.value)));
        told.collect::<Vec<_>>()
    };
    let string = |text: &str| Some(Value::StringValue(text.to_owned()));
    let mut expected = vec![
        ("mine".to_owned(), string("1")),
        ("tailsampling.policy".to_owned(), string("errors")),
        ("sluicebox.sampling.generation".to_owned(), Some(Value::IntValue(3))),
        ("sluicebox.sampling.trigger".to_owned(), string("shutdown")),
    ];
    assert_eq!(recorded(THRESHOLD_UNKNOWN, ""), expected);
    let mut with = |probability| {
        expected.truncate(4);
        expected.push(("sluicebox.sampling.probability".to_owned(), Some(Value::DoubleValue(probability))));
        expected.clone()
    };
    assert_eq!(recorded(0, ""), with(1.0));
    assert_eq!(recorded(HALF, ""), with(0.5));
    assert_eq!(recorded(HALF, "ot=th:c;rv:f0000000000000"), with(0.25));
}

#[test]
fn late_spans_are_written_as_the_others_were() {
    let mut lab = Lab::new(|settings| settings.records_decisions = true);
    lab.take(vec![with_state("a=b")]);
    lab.millis = 10_000;
    let first = spans(&lab.settle(|_| verdict(Vote::Keep, HALF)).released);
    let late = spans(&lab.take(vec![with_state("a=b"), with_state("a=b")]).released);
    assert_eq!(late, [&first[..], &first[..]].concat());
    assert_eq!(late[0].trace_state, "ot=th:8,a=b");
    assert_eq!(late[0].attributes.len(), 4);
}

#[test]
fn spans_leave_grouped_by_resource_and_scope() {
    let mut lab = Lab::new(|_| {});
    for (number, service) in (0..).zip(["shop", "cart", "shop", "shop", "cart"]) {
        lab.try_take(request(service, vec![span(1, number), span(2, number)])).expect("there is room");
    }
    lab.shard.drain();
    let settled = lab.settle(keep);
    assert_eq!(settled.released.len(), 1);
    let request = ExportTraceServiceRequest::decode(settled.released[0].body.as_ref()).expect("is a request");
    let scopes: Vec<_> = request.resource_spans.iter().map(|resource| &resource.scope_spans[..]).collect();
    let [[shop], [cart]] = scopes[..] else { panic!("two resources of a scope each: {request:?}") };
    let numbers = |scope: &ScopeSpans, id| {
        let of_it = scope.spans.iter().filter(|span| span.trace_id[0] == id);
        of_it.map(|span| span.span_id[0]).collect::<Vec<_>>()
    };
    assert_eq!([numbers(shop, 1), numbers(shop, 2)], [[0, 2, 3], [0, 2, 3]]);
    assert_eq!([numbers(cart, 1), numbers(cart, 2)], [[1, 4], [1, 4]]);
    assert_eq!((shop.schema_url.as_str(), request.resource_spans[0].schema_url.as_str()), ("scopes", "all"));
}

#[test]
fn requests_have_at_most_a_mebibyte() {
    for threshold in [0, HALF] {
        let mut lab = Lab::new(|_| {});
        let sized = |number: u8, bytes: usize| Span { name: "x".repeat(bytes), ..span(1, number) };
        let sent: Vec<_> =
            (0..60).map(|number| sized(number, 50_000)).chain([sized(60, 2 << 20), span(1, 61)]).collect();
        lab.take(sent.clone());
        lab.shard.drain();
        let settled = lab.settle(|_| verdict(Vote::Keep, threshold));
        let left = spans(&settled.released);
        assert_eq!(left.iter().map(|span| span.span_id[0]).collect::<Vec<_>>(), (0..62).collect::<Vec<_>>());
        assert!(left.iter().zip(&sent).all(|(left, sent)| left.name == sent.name));
        for request in &settled.released {
            assert!(request.body.len() <= 1 << 20 || request.spans == 1, "{} bytes", request.body.len());
        }
        assert!(settled.released.len() <= 6, "{} requests", settled.released.len());
    }
}
