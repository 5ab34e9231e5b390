//! The contract in JavaScript and Python: the filters of examples/, built by `make polyglot`, judge like any other.

#[allow(dead_code, reason = "shared with the tests of the runtime")]
#[path = "wasm_runtime/lab.rs"]
mod lab;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use sluicebox::config::model::Component;
use sluicebox::pipeline::stage::{FaultKind, Instance};
use sluicebox::wasm::{BuildError, ConfigureError, GenerationSpec, Interface};

use lab::{Lab, MIB, call, guest, request, spec};

const ROUTES: [&str; 4] = ["/health", "/cart", "/häuser/\u{1f3e0}", "/checkout"];

fn spec_of(name: &str, config: &str) -> GenerationSpec {
    GenerationSpec {
        component: Component::File { path: guest(name), sha256: None },
        config: config.to_owned(),
        ..spec("")
    }
}

/// Spans of which every fifth has no route, the others one of [`ROUTES`] in turn.
fn traces(rows: usize) -> bytes::Bytes {
    let span = |row: usize| {
        let route = ROUTES[row % ROUTES.len()].to_owned();
        let value = Some(AnyValue { value: Some(Value::StringValue(route)) });
        let attribute = KeyValue { key: "http.route".to_owned(), value, ..KeyValue::default() };
        Span { attributes: if row % 5 == 4 { Vec::new() } else { vec![attribute] }, ..Span::default() }
    };
    request(None, (0..rows).map(span).collect())
}

fn dropped(instance: &mut dyn Instance, rows: usize) -> Vec<u32> {
    let effects = call(instance, &traces(rows)).expect("judges");
    effects.drops.iter().flat_map(|drop| drop.rows.iter()).collect()
}

fn judges(name: &str) {
    let lab = Lab::new();
    let config = r#"{"routes": ["/health", "/häuser/\ud83c\udfe0", "/nowhere"]}"#;
    let generation = lab.runtime.build_generation(spec_of(name, config)).expect("builds");
    assert_eq!(generation.rules(), ["by-route"]);
    let info = lab.runtime.describe(&spec_of(name, "").component).expect("is a component");
    assert_eq!(info.imports, [Interface::Fields, Interface::Batches, Interface::Dropping], "no WASI");
    // Beside a worker's and a spare, which were prepared, one more is made.
    for _ in 0..3 {
        let mut instance = generation.instance().expect("there is one");
        for rows in [0, 1, 512, 2048, 7] {
            let expected: Vec<u32> = (0..rows).filter(|row| row % 2 == 0 && row % 5 != 4).collect();
            assert_eq!(dropped(&mut *instance, rows as usize), expected, "{rows} rows");
        }
        assert!(instance.memory_bytes() < 256 * MIB, "{} bytes", instance.memory_bytes());
    }
}

fn tells_what_is_wrong_with_its_config(name: &str) {
    let error = Lab::new().runtime.build_generation(spec_of(name, r#"{"routes": "/health"}"#)).expect_err("is refused");
    match error {
        BuildError::Configure(ConfigureError::Rejected(text)) => {
            assert_eq!(text, r#""routes" must be a list of texts, such as ["/health"]"#);
        }
        other => panic!("{other}"),
    }
    // An exception that nobody meant to be seen.
    match Lab::new().runtime.build_generation(spec_of(name, "no JSON")).expect_err("is refused") {
        BuildError::Configure(ConfigureError::Faulted(fault)) => assert_eq!(fault.kind, FaultKind::Trap, "{fault}"),
        other => panic!("{other}"),
    }
}

/// Neither its memory nor the handles it keeps make an instance fault, however long it lives.
fn lives_long(name: &str) {
    let lab = Lab::new();
    let generation = lab.runtime.build_generation(spec_of(name, r#"{"routes": ["/health"]}"#)).expect("builds");
    let mut instance = generation.instance().expect("is prepared");
    let bytes = traces(100);
    for _ in 0..20_000 {
        if instance.wants_recycling() {
            instance = generation.instance().expect("is made");
        }
        assert_eq!(call(&mut *instance, &bytes).expect("judges").drops.len(), 1);
    }
}

#[test]
fn javascript_lives_long() {
    lives_long("javascript-filter");
}

#[test]
fn python_lives_long() {
    lives_long("python-filter");
}

#[test]
fn javascript_judges() {
    judges("javascript-filter");
}

#[test]
fn javascript_tells_what_is_wrong_with_its_config() {
    tells_what_is_wrong_with_its_config("javascript-filter");
}

#[test]
fn python_judges() {
    judges("python-filter");
}

#[test]
fn python_tells_what_is_wrong_with_its_config() {
    tells_what_is_wrong_with_its_config("python-filter");
}
