//! Each misdeed in editing is a fault of the right class, says nothing of the data, and has no effect.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use sluicebox::config::model::StageLimits;
use sluicebox::pipeline::stage::{Effects, Fault, FaultKind};
use sluicebox::wasm::{BuildError, ConfigureError, GenerationSpec};

use crate::lab::{Lab, MIB, call, limits, redactor, request, traces};

/// Misdeeds of guests/misbehaving-redactor, what they are called, and what is said of them.
const MISDEEDS: [(&str, FaultKind, &str); 45] = [
    ("leaf_out_of_range", FaultKind::BadOutput, "leaf"),
    ("leaf_twice", FaultKind::BadOutput, "twice"),
    ("too_few_values", FaultKind::BadOutput, "one value for each"),
    ("too_many_values", FaultKind::BadOutput, "one value for each"),
    ("list_as_leaf", FaultKind::BadOutput, ""),
    ("number_as_name", FaultKind::BadOutput, ""),
    ("unread_leaves", FaultKind::BadOutput, "not read in this call"),
    ("unread_rows", FaultKind::BadOutput, "not read in this call"),
    ("leaf_rows_out_of_range", FaultKind::BadOutput, "leaf"),
    ("leaf_counts_of_no_level", FaultKind::BadOutput, "level"),
    ("key_counts_out_of_range", FaultKind::BadOutput, "key"),
    ("key_out_of_range", FaultKind::BadOutput, "key"),
    ("key_twice", FaultKind::BadOutput, "twice"),
    ("key_not_utf8", FaultKind::BadOutput, ""),
    ("key_of_bytes", FaultKind::BadOutput, ""),
    ("descending_offsets", FaultKind::BadOutput, "offsets"),
    ("offsets_past_the_end", FaultKind::BadOutput, "offsets"),
    ("no_offsets", FaultKind::BadOutput, "offsets"),
    ("two_values_for_rows", FaultKind::BadOutput, "one value for each"),
    ("not_utf8", FaultKind::BadOutput, ""),
    ("short_int", FaultKind::BadOutput, ""),
    ("bool_of_two", FaultKind::BadOutput, ""),
    ("unknown_kind", FaultKind::BadOutput, ""),
    ("list_as_name", FaultKind::BadOutput, ""),
    ("bad_any_value", FaultKind::BadOutput, ""),
    ("deep_any_value", FaultKind::BadOutput, ""),
    ("rows_of_another_level", FaultKind::BadOutput, "level"),
    ("entry_out_of_range", FaultKind::BadOutput, "entry"),
    ("entry_twice", FaultKind::BadOutput, "twice"),
    ("by_a_level_below", FaultKind::BadOutput, "level"),
    ("read_only_field", FaultKind::BadOutput, "not opened to be written"),
    ("insert_read_only_field", FaultKind::BadOutput, "not opened to be written"),
    ("open_to_write_late", FaultKind::ReturnedError, ""),
    ("open_key_late", FaultKind::ReturnedError, ""),
    ("flood", FaultKind::HostCallBudget, ""),
    ("giant_output", FaultKind::HostCallBudget, ""),
    ("amplify", FaultKind::HostCallBudget, "output_mib"),
    ("many_removals", FaultKind::HostCallBudget, "output_mib"),
    ("hash_offsets", FaultKind::BadOutput, "offsets"),
    ("much_to_hash", FaultKind::HostCallBudget, "output_mib"),
    ("forged_rule", FaultKind::BadOutput, ""),
    ("forged_field", FaultKind::BadOutput, ""),
    ("field_as_rule", FaultKind::BadOutput, ""),
    ("no such behaviour", FaultKind::ReturnedError, ""),
    ("trap_on_poison", FaultKind::Trap, "unreachable"),
];

/// Spans with texts that no fault may tell.
fn texts() -> Bytes {
    let text = AnyValue { value: Some(Value::StringValue("planted poison".to_owned())) };
    let route = KeyValue { key: "route".to_owned(), value: Some(text), ..KeyValue::default() };
    let span = |n| Span { name: format!("planted {n}"), attributes: vec![route.clone()], ..Span::default() };
    request(None, (0..100).map(span).collect())
}

fn patient() -> StageLimits {
    StageLimits { deadline: Duration::from_secs(10), ..limits() }
}

#[test]
fn each_is_called_by_its_name_and_changes_nothing() {
    let lab = Lab::new();
    let bytes = texts();
    for (behaviour, kind, said) in MISDEEDS {
        let spec = GenerationSpec { limits: patient(), ..redactor(behaviour) };
        let generation = lab.runtime.build_generation(spec).expect("builds");
        for _ in 0..2 {
            let mut instance = generation.instance().expect("there is one");
            // That the batch is as it was is looked at by `call`.
            let fault = call(&mut *instance, &bytes).expect_err(behaviour);
            assert_eq!(fault.kind, kind, "{behaviour}: {fault}");
            assert!(fault.message.contains(said), "{behaviour}: {fault}");
            assert!(!fault.message.contains("planted"), "{behaviour} leaks telemetry: {fault}");
            assert!(instance.wants_recycling(), "{behaviour}");
        }
    }
}

/// The host hashes for longer than the guest may run, in one call.
#[test]
fn hashing_is_on_the_guests_time() {
    let lab = Lab::new();
    let hash = |deadline| -> Result<Effects, Fault> {
        let spec = GenerationSpec { limits: StageLimits { deadline, ..limits() }, ..redactor("many_hashes") };
        let generation = lab.runtime.build_generation(spec).expect("builds");
        call(&mut *generation.instance().expect("is prepared"), &traces(1))
    };
    assert_eq!(hash(Duration::from_millis(1)).expect_err("takes longer").kind, FaultKind::Deadline);
    hash(Duration::from_secs(20)).expect("is allowed");
}

#[test]
fn what_cannot_be_opened_is_told_while_configuring() {
    let lab = Lab::new();
    let told = |spec| match lab.runtime.build_generation(spec) {
        Err(BuildError::Configure(ConfigureError::Rejected(text))) => text,
        other => panic!("{other:?}"),
    };
    let text = told(redactor("write_an_id"));
    assert!(text.contains("span.trace_id"), "{text}");
    let text = told(redactor("unknown_key"));
    assert!(text.contains("`pepper`") && text.contains("salt") && !text.contains("a key"), "{text}");
    let text = told(GenerationSpec { keys: Vec::new(), ..redactor("unknown_key") });
    assert!(text.contains("no `keys`"), "{text}");
    assert!(told(redactor("many_keys")).contains("64"));
}

/// The most that a slice can ask of the host: lists of the smallest numbers and texts that are all different, lists of nothing, and
/// the smallest attributes; all of them replaced.
#[test]
fn no_batch_is_too_much_by_itself() {
    let list = |values: Vec<Option<Value>>| {
        let values = values.into_iter().map(|value| AnyValue { value }).collect();
        AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) }
    };
    let one_span = |value: AnyValue| {
        let attribute = KeyValue { key: "k".to_owned(), value: Some(value), ..KeyValue::default() };
        request(None, vec![Span { name: "n".to_owned(), attributes: vec![attribute], ..Span::default() }])
    };
    let numbers = one_span(list((0..180_000).map(|n| Some(Value::IntValue(n))).collect()));
    let texts = one_span(list((0..120_000).map(|n| Some(Value::StringValue(format!("{n:x}")))).collect()));
    let nothing = one_span(list(vec![None; 500_000]));
    let attributes = request(
        None,
        (0..2048)
            .map(|row| Span { attributes: (0..48).map(|n| small_attribute(row * 48 + n)).collect(), ..Span::default() })
            .collect(),
    );
    let lab = Lab::new();
    let spec = GenerationSpec { limits: patient(), ..redactor("replace_all") };
    let generation = lab.runtime.build_generation(spec).expect("builds");
    for (bytes, leaves) in [(numbers, 180_000), (texts, 120_000), (nothing, 500_000), (attributes, 2048 * 48)] {
        assert!(bytes.len() as u64 > MIB * 9 / 10, "{} bytes", bytes.len());
        let effects = call(&mut *generation.instance().expect("is prepared"), &bytes).expect("is a usual batch");
        let places: u64 = effects.edited.iter().map(|&(_, places)| places).sum();
        assert!(places >= leaves, "{places}");
    }
}

fn small_attribute(number: i64) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::IntValue(number)) });
    KeyValue { key: "k".to_owned(), value, ..KeyValue::default() }
}
