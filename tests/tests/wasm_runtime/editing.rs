//! A component that edits: what it wants takes effect as a whole or not at all. What should come out is said on decoded messages.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, span::Event};
use prost::Message as _;
use sluicebox::batch::{Drops, EditError};
use sluicebox::config::model::OnFault;
use sluicebox::pipeline::stage::{FaultKind, Instance};
use sluicebox::wasm::{Interface, Role};

use crate::lab::{Lab, batch, call, redactor, request};

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn resource(team: &str) -> Option<Resource> {
    Some(Resource { attributes: vec![attribute("team", text(team))], ..Resource::default() })
}

fn span(name: &str, attributes: Vec<KeyValue>) -> Span {
    Span { trace_id: vec![1; 16], span_id: vec![1; 8], name: name.to_owned(), attributes, ..Span::default() }
}

/// What a call makes of all rows, decoded; and how many places it edited.
fn edited(instance: &mut dyn Instance, bytes: &Bytes) -> (ExportTraceServiceRequest, u64) {
    let batch = batch(bytes);
    let items = 0..batch.items();
    let (mut batch, effects) = instance.call(batch, items);
    let effects = effects.expect("is allowed");
    assert!(effects.edited.iter().all(|&(rule, _)| rule == 0), "it has one rule");
    let places = effects.edited.iter().map(|&(_, places)| places).sum();
    batch.apply(Drops::new(&batch), effects.edits).expect("can be had together");
    let segments = batch.into_segments().expect("fits");
    assert_eq!(segments.len(), 1);
    (ExportTraceServiceRequest::decode(segments[0].bytes.clone()).expect("is valid"), places)
}

fn decoded(bytes: &Bytes) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(bytes.clone()).expect("is valid")
}

/// What a behaviour makes of these spans of a resource of team `a`.
fn of_spans(behaviour: &str, spans: Vec<Span>) -> (Vec<Span>, u64) {
    let lab = Lab::new();
    let generation = lab.runtime.build_generation(redactor(behaviour)).expect("builds");
    let mut instance = generation.instance().expect("is prepared");
    let (mut left, places) = edited(&mut *instance, &request(resource("a"), spans));
    assert_eq!(left.resource_spans[0].resource, resource("a"));
    (left.resource_spans.swap_remove(0).scope_spans.swap_remove(0).spans, places)
}

fn map(entries: Vec<KeyValue>) -> AnyValue {
    AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: entries })) }
}

fn list(values: Vec<AnyValue>) -> AnyValue {
    AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) }
}

#[test]
fn says_what_it_may_do_and_lets_nothing_go_round_it() {
    let lab = Lab::new();
    let info = lab.runtime.describe(&redactor("mask").component).expect("is a component");
    let imports = [
        Interface::Fields,
        Interface::Batches,
        Interface::Contents,
        Interface::Adding,
        Interface::Editing,
        Interface::HostHash,
    ];
    assert_eq!((info.role, info.imports.as_slice()), (Role::Processor, imports.as_slice()));
    let built = |on_fault| {
        let spec = sluicebox::wasm::GenerationSpec { on_fault, ..redactor("mask") };
        lab.runtime.build_generation(spec).expect("builds").on_fault()
    };
    assert_eq!(built(None), OnFault::Reject);
    assert_eq!(built(Some(OnFault::Pass)), OnFault::Pass);
}

/// A request with `secret` in all sorts of places, and what a redactor leaves of it.
fn secrets(secret: &str, key: &str, password: bool) -> Bytes {
    let mut attributes = vec![
        attribute("plain", text("text")),
        attribute("said", text(&format!("the {secret} word"))),
        attribute("nested", map(vec![attribute("list", list(vec![text(secret), text("text"), text(secret)]))])),
        attribute(key, text("value")),
        attribute("number", AnyValue { value: Some(Value::IntValue(200)) }),
    ];
    if password {
        attributes.insert(2, attribute("password", text("hunter2")));
    }
    let event = Event { name: format!("{secret} event"), attributes: attributes.clone(), ..Event::default() };
    let spans = (0..50).map(|n| {
        let name = if n % 5 == 0 { secret.to_owned() } else { format!("name {n}") };
        Span { events: vec![event.clone()], ..span(&name, attributes.clone()) }
    });
    request(resource(&format!("{secret} team")), spans.collect())
}

#[test]
fn masks_removes_and_renames_wherever_it_is() {
    let lab = Lab::new();
    let generation = lab.runtime.build_generation(redactor("mask")).expect("builds");
    assert_eq!(generation.rules(), ["edits"]);
    let mut instance = generation.instance().expect("is prepared");
    // Buffers are reused: a small batch after a large one, and one with nothing to do, which is not touched.
    for _ in 0..3 {
        let (left, places) = edited(&mut *instance, &secrets("secret", "old", true));
        assert_eq!(left, decoded(&secrets("***", "new", false)));
        // In a resource, 10 names, 50 event names, and attributes of spans and of events: three masked, one gone, one renamed.
        assert_eq!(places, 1 + 10 + 50 + 100 * 5);
        let (left, places) = edited(&mut *instance, &secrets("plain", "other", false));
        assert_eq!((left, places), (decoded(&secrets("plain", "other", false)), 0));
    }
}

#[test]
fn after_a_fault_nothing_of_its_edits_holds() {
    let lab = Lab::new();
    let kinds = [
        ("trap", FaultKind::Trap),
        ("spin", FaultKind::Deadline),
        ("allocate", FaultKind::Memory),
        ("error", FaultKind::ReturnedError),
    ];
    let poisoned = secrets("secret poison", "old", true);
    for (what, kind) in kinds {
        let generation = lab.runtime.build_generation(redactor(&format!("{what}_on_poison"))).expect("builds");
        for _ in 0..2 {
            let mut instance = generation.instance().expect("there is one");
            let (left, _) = edited(&mut *instance, &secrets("secret", "old", true));
            assert_eq!(left, decoded(&secrets("***", "new", false)), "{what}");
            let fault = call(&mut *instance, &poisoned).expect_err("faults");
            assert_eq!(fault.kind, kind, "{what}: {fault}");
            assert!(!fault.message.contains("poison") || !fault.message.contains("secret"), "{fault}");
            assert!(instance.wants_recycling(), "{what}");
        }
    }
}

#[test]
fn values_are_set_by_values_of_their_own_and_of_levels_above() {
    let spans = || vec![span("a", vec![]), span("", vec![]), span("b", vec![]), span("a", vec![])];
    let named = |names: [&str; 4]| -> Vec<Span> { names.iter().map(|name| span(name, vec![])).collect() };
    // Which entry is absent and which is empty: names are always there.
    assert_eq!(of_spans("set", spans()), (named(["a!", "!", "b!", "a!"]), 4));
    assert_eq!(of_spans("set_by_resource", spans()), (named(["of a", "of a", "of a", "of a"]), 4));
}

#[test]
fn what_is_absent_is_added_and_what_is_there_stays() {
    let added = |value: &str| attribute("added", text(value));
    let route = || attribute("route", text("/cart"));
    let spans = vec![span("a", vec![added("before")]), span("b", vec![route()]), span("c", vec![])];
    let (left, places) = of_spans("insert", spans.clone());
    let expected =
        vec![span("a", vec![added("before")]), span("b", vec![route(), added("yes")]), span("c", vec![added("yes")])];
    assert_eq!((left, places), (expected, 2));
    let (left, places) = of_spans("insert_by", spans.clone());
    let expected = vec![span("a", vec![added("before")]), span("b", vec![route()]), span("c", vec![added("no route")])];
    assert_eq!((left, places), (expected, 1));
    let (left, places) = of_spans("remove", spans.clone());
    assert_eq!((left, places), (vec![span("a", vec![]), spans[1].clone(), spans[2].clone()], 1));
}

#[test]
fn rows_are_found_and_counted_by_leaves_and_keys() {
    let deep = Event { attributes: vec![attribute("said", list(vec![text("a secret")]))], ..Event::default() };
    let spans = || {
        vec![
            span("a", vec![attribute("said", text("secret")), attribute("also", text("no secret"))]),
            Span { events: vec![deep.clone()], ..span("b", vec![]) },
            span("c", vec![attribute("password", text("x"))]),
            span("d", vec![]),
        ]
    };
    let added = |rows: &[usize], value: &str| {
        let mut spans = spans();
        rows.iter().for_each(|&row| spans[row].attributes.push(attribute("added", text(value))));
        (spans, rows.len() as u64)
    };
    assert_eq!(of_spans("mark_secret", spans()), added(&[0, 1], "secret"));
    assert_eq!(of_spans("mark_password", spans()), added(&[2], "password"));
    // The event's secret is not in the span itself.
    let (left, _) = of_spans("count", spans());
    let names: Vec<&str> = left.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["2 and 0", "0 and 0", "0 and 1", "0 and 0"]);
}

/// The hashes are what Python's hmac says: `hmac.new(b"a key", b"name 0", hashlib.sha256)`.
#[test]
fn hashes_are_keyed_by_a_key_that_nobody_sees() {
    let (left, places) = of_spans("hash", vec![span("name 0", vec![]), span("name 1", vec![])]);
    assert_eq!(left[0].name, "9f87adef31ad2bff25161545ca5e254e413616a5edc10f0d6c7e1fc7b4d9a269");
    assert_eq!(left[1].name, "72787ba3712c13ffefea2a009fb80413c2f6fb9281a1570c34cb57bf69b44ad4");
    assert_eq!(places, 2);
    let spec = redactor("hash");
    let printed = format!("{spec:?}");
    let generation = Lab::new().runtime.build_generation(spec).expect("builds");
    assert!(!format!("{printed} {generation:?}").contains("a key"));
}

/// A field that OTLP does not have, within a span: nobody could say what it holds.
#[test]
fn what_nobody_can_judge_is_removed_and_counted() {
    let whole = span("name", vec![attribute("said", text("secret"))]).encode_to_vec();
    let unknown = b"\xfa\x06\x06secret";
    let bytes = |unknown: &[u8]| {
        let wrapped = |tag: u8, message: &[u8]| [&[tag, message.len() as u8], message].concat();
        let spans = wrapped(0x12, &[&whole, unknown].concat());
        Bytes::from(wrapped(0x0a, &wrapped(0x12, &spans)))
    };
    let lab = Lab::new();
    let of = |behaviour: &str| {
        let generation = lab.runtime.build_generation(redactor(behaviour)).expect("builds");
        let (mut batch, effects) = generation.instance().expect("is prepared").call(batch(&bytes(unknown)), 0..1);
        let effects = effects.expect("is allowed");
        batch.apply(Drops::new(&batch), effects.edits).expect("can be had together");
        (batch.into_segments().expect("fits")[0].bytes.clone(), effects.unjudgeable)
    };
    let (left, removed) = of("mask");
    assert_eq!((decoded(&left).resource_spans.len(), removed), (1, 1));
    assert!(!left.windows(6).any(|found| found == b"secret"));
    // Who does not read contents passes it on.
    let (left, removed) = of("remove");
    assert_eq!((left, removed), (bytes(unknown), 0));
}

/// A resource's field is one for all its rows, also if they are shown in two calls.
#[test]
fn slices_that_contradict_each_other_are_found_out() {
    let lab = Lab::new();
    let generation = lab.runtime.build_generation(redactor("numbered")).expect("builds");
    let mut instance = generation.instance().expect("is prepared");
    let mut whole = batch(&request(resource("a"), (0..10).map(|_| span("name", vec![])).collect()));
    let mut edits = sluicebox::batch::Edits::default();
    for slice in [0..5, 5..10] {
        let (same, effects) = instance.call(whole, slice);
        whole = same;
        edits.append(effects.expect("each alone is right").edits);
    }
    let error = whole.apply(Drops::new(&whole), edits).expect_err("contradicts itself");
    assert!(matches!(error, EditError::Conflict(_)), "{error}");
}
