//! What a component gets only where it is granted: each interface alone, its bounds, and that nothing of telemetry gets out by it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;
use serde_json::json;
use sluicebox::batch::Drops;
use sluicebox::config::model::{Capability, Component, Grants, StageLimits};
use sluicebox::observe::metrics::Metrics;
use sluicebox::pipeline::stage::{Fault, FaultKind, Generation, Instance};
use sluicebox::table::{Format, Table};
use sluicebox::wasm::{BuildError, GenerationSpec, Step};

use crate::lab::{Lab, batch, call, guest, limits, spec, traces, wait_for};

/// Of the misbehaving enricher.
fn enricher(config: &serde_json::Value) -> GenerationSpec {
    GenerationSpec {
        component: Component::File { path: guest("misbehaving-enricher"), sha256: None },
        config: config.to_string(),
        ..spec("")
    }
}

fn build(lab: &Lab, config: &serde_json::Value) -> Arc<dyn Generation> {
    lab.runtime.build_generation(enricher(config)).expect("builds")
}

fn refused(lab: &Lab, spec: GenerationSpec) -> (Step, String) {
    let error = lab.runtime.build_generation(spec).expect_err("is refused");
    (error.step(), error.to_string())
}

fn fault(lab: &Lab, config: &serde_json::Value) -> Fault {
    let generation = build(lab, config);
    call(&mut *generation.instance().expect("is prepared"), &traces(10)).expect_err("faults")
}

/// Everything but one.
fn without(capability: Capability) -> Grants {
    let others = Capability::ALL.into_iter().filter(|&other| other != capability);
    others.fold(Grants::NONE, Grants::and)
}

fn page(lab: &Lab) -> impl Fn() -> String + use<> {
    let metrics = Metrics::new();
    metrics.show_guests(lab.runtime.guest_metrics());
    move || metrics.text()
}

/// The value of a line of the page.
fn sample(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn what_is_imported_has_to_be_granted() {
    let lab = Lab::new();
    let digest = sluicebox::wasm::digest_of_file(&guest("misbehaving-enricher")).expect("is there");
    let file = guest("misbehaving-enricher").display().to_string();
    let noop = json!({"behaviour": "count"});
    for (capability, interface) in [
        (Capability::Log, "logging"),
        (Capability::Metrics, "metering"),
        (Capability::Clock, "clock"),
        (Capability::Lookup, "lookup"),
    ] {
        let told = refused(&lab, GenerationSpec { grants: without(capability), ..enricher(&noop) });
        let expected = format!(
            "{file} (sha256:{}) imports `{interface}`, which has to be granted as `{capability}`",
            &digest[..12]
        );
        assert_eq!(told, (Step::Link, expected));
    }
    let (step, told) = refused(&lab, GenerationSpec { grants: Grants::NONE, ..enricher(&noop) });
    assert_eq!(step, Step::Link);
    assert!(
        told.contains("`logging`, which") && told.contains("`lookup`, which has to be granted as `lookup`"),
        "{told}"
    );
    lab.runtime
        .build_generation(GenerationSpec { grants: without(Capability::State), ..enricher(&noop) })
        .expect("builds");

    let stateful = GenerationSpec { grants: without(Capability::State), ..spec("noop") };
    let (step, told) = refused(&lab, stateful);
    assert!(step == Step::Link && told.ends_with("imports `host-state`, which has to be granted as `state`"), "{told}");
    lab.runtime
        .build_generation(GenerationSpec { grants: Grants::NONE.and(Capability::State), ..spec("noop") })
        .expect("builds");
    lab.runtime
        .build_generation(GenerationSpec { grants: Grants::NONE, ..crate::policies::policy_spec("take") })
        .expect("state is a policy's own");
}

fn three_metrics(behaviour: &str) -> serde_json::Value {
    json!({"behaviour": behaviour, "metrics": [
        {"kind": "counter", "name": "seen", "help": "What was seen", "labels": [["table", "owners"], ["of", "häuser"]]},
        {"kind": "gauge", "name": "level", "help": "How it stands"},
        {"kind": "histogram", "name": "size_bytes", "help": "How large", "bounds": [1, 10]},
    ]})
}

#[test]
fn metrics_are_shared_and_those_of_a_failed_call_do_not_hold() {
    let lab = Lab::new();
    let page = page(&lab);
    let first = build(&lab, &three_metrics("count"));
    let text = page();
    assert_eq!(
        sample(&text, "sluicebox_guest_seen_total{stage=\"wasm/test\",table=\"owners\",of=\"häuser\"}"),
        Some(0.0),
        "{text}"
    );
    let mut instances = [first.instance().expect("is there"), first.instance().expect("is there")];
    for call_number in 0..6 {
        call(&mut *instances[call_number % 2], &traces(3)).expect("counts");
    }
    let counted = |text: &str| {
        [
            "seen_total{stage=\"wasm/test\",table=\"owners\",of=\"häuser\"}",
            "level{stage=\"wasm/test\"}",
            "size_bytes_bucket{le=\"1.0\",stage=\"wasm/test\"}",
            "size_bytes_bucket{le=\"10.0\",stage=\"wasm/test\"}",
            "size_bytes_bucket{le=\"+Inf\",stage=\"wasm/test\"}",
            "size_bytes_count{stage=\"wasm/test\"}",
            "size_bytes_sum{stage=\"wasm/test\"}",
        ]
        .map(|series| sample(text, &format!("sluicebox_guest_{series}")))
    };
    let expected = [18.0, -1.5, 12.0, 18.0, 24.0, 24.0, 618.0].map(Some);
    let text = page();
    assert_eq!(counted(&text), expected, "{text}");
    for kind in ["# TYPE sluicebox_guest_seen counter", "# HELP sluicebox_guest_level How it stands"] {
        assert!(text.contains(kind), "{text}");
    }
    for (behaviour, kind) in [("count_and_trap", FaultKind::Trap), ("count_and_fail", FaultKind::ReturnedError)] {
        let failing = build(&lab, &three_metrics(behaviour));
        for _ in 0..3 {
            let mut instance = failing.instance().expect("is there");
            assert_eq!(call(&mut *instance, &traces(3)).expect_err("fails").kind, kind);
        }
        assert_eq!(counted(&page()), expected, "{behaviour}");
    }
    // A candidate's first calls count for nobody; what counted goes on after a swap, and goes with the last generation.
    let second = build(&lab, &three_metrics("probe_all"));
    assert_eq!(counted(&page()), expected);
    drop((first, instances));
    call(&mut *second.instance().expect("is there"), &traces(3)).expect("counts");
    assert_eq!(counted(&page())[0], Some(21.0));
    drop(second);
    // A spare instance may still be in the making.
    wait_for(|| !page().contains("sluicebox_guest_"));
}

#[test]
fn a_name_means_one_thing_in_a_process() {
    let lab = Lab::new();
    let metric = |kind: &str, bounds: &[f64]| json!({"behaviour": "count", "metrics": [{"kind": kind, "name": "size", "help": "x", "bounds": bounds}]});
    let _first = build(&lab, &metric("histogram", &[1.0, 2.0]));
    let other_stage = GenerationSpec { stage: "wasm/other".to_owned(), ..enricher(&metric("gauge", &[])) };
    let (step, told) = refused(&lab, other_stage);
    assert_eq!(step, Step::Configure);
    assert_eq!(told, "the metric `size` is a histogram of stage \"wasm/test\" already; give this one another name");
    let (_, told) = refused(&lab, enricher(&metric("histogram", &[1.0])));
    assert!(told.contains("already, with other bounds;"), "{told}");
    let other_bounds = GenerationSpec { stage: "wasm/other".to_owned(), ..enricher(&metric("histogram", &[5.0])) };
    let _beside = lab.runtime.build_generation(other_bounds).expect("another stage, another series");
    let both = page(&lab)();
    assert_eq!(both.matches("# TYPE sluicebox_guest_size histogram").count(), 1, "{both}");
}

#[test]
fn names_help_and_labels_of_metrics_are_checked() {
    let lab = Lab::new();
    let long = "x".repeat(65);
    let of = |metric: serde_json::Value| {
        let (step, told) = refused(&lab, enricher(&json!({"behaviour": "count", "metrics": [metric]})));
        assert_eq!(step, Step::Configure);
        told.strip_prefix("the component rejects its config: ").expect("what the guest was told").to_owned()
    };
    for name in ["", "Größe", "1st", "a-b", "_x", "a b", "a\"", &long] {
        let told = of(json!({"name": name, "help": "x"}));
        assert_eq!(told, "a metric's name has 1 to 64 of `a-z0-9_` and begins with a letter", "{name}");
    }
    for ending in ["_total", "_bucket", "_count", "_sum", "_created", "_info"] {
        let told = of(json!({"name": format!("x{ending}"), "help": "x"}));
        assert_eq!(told, format!("metric `x{ending}`: `{ending}` is added where it belongs, leave it out"));
    }
    for help in ["", "a\nb", "say \"x\"", "\\", &"x".repeat(257)] {
        assert!(
            of(json!({"name": "x", "help": help})).contains("its help has 1 to 256 bytes without control characters")
        );
    }
    let labels = |labels: serde_json::Value| of(json!({"name": "x", "help": "x", "labels": labels}));
    assert_eq!(
        labels(json!([["a", "1"], ["b", "1"], ["c", "1"], ["d", "1"], ["e", "1"]])),
        "metric `x`: more than 4 labels"
    );
    for key in ["", "stage", "le", "A", "__a", &long] {
        assert!(labels(json!([[key, "1"]])).starts_with("metric `x`: the key of a label has 1 to 64"), "{key}");
    }
    assert_eq!(labels(json!([["a", "1"], ["a", "2"]])), "metric `x`: label `a` is there twice");
    for value in ["", "\u{1b}[31m", "a\"b", "a\\b", &long] {
        assert!(labels(json!([["a", value]])).starts_with("metric `x`: the value of label `a` has 1 to 64"), "{value}");
    }
    for bounds in [json!([]), json!([2, 1]), json!([1, 1]), json!(["x"]), json!((0..65).collect::<Vec<_>>())] {
        let told = of(json!({"kind": "histogram", "name": "x", "help": "x", "bounds": bounds}));
        assert_eq!(told, "the bounds of a histogram are 1 to 64 finite numbers, ascending");
    }
    let many = |count: usize, name: fn(usize) -> String| {
        let metrics: Vec<_> = (0..count).map(|n| json!({"name": name(n), "help": "x"})).collect();
        enricher(&json!({"behaviour": "count", "metrics": metrics}))
    };
    assert!(refused(&lab, many(33, |n| format!("m{n}"))).1.ends_with("more than 32 metrics"));
    assert!(refused(&lab, many(2, |_| "same".to_owned())).1.ends_with("metric `same` is opened twice"));
    lab.runtime.build_generation(many(32, |n| format!("m{n}"))).expect("as many as there may be");
}

#[test]
fn misuse_of_metrics_is_a_fault() {
    let lab = Lab::new();
    for (behaviour, told) in [("set_nan", "no finite number"), ("observe_infinity", "no finite number")] {
        let fault = fault(&lab, &three_metrics(behaviour));
        assert!(fault.kind == FaultKind::BadOutput && fault.message.contains(told), "{behaviour}: {fault}");
    }
    let (step, told) = refused(&lab, enricher(&three_metrics("configure_add")));
    assert!(step == Step::Configure && told.contains("a metric was used outside of a call"), "{told}");
}

#[test]
fn the_last_lines_come_with_the_fault() {
    let lab = Lab::new();
    let lines = ["{} spans, \u{1b}[31mhalf {}\nof \u{202e}it", "{}{}"];
    let config = |behaviour: &str| json!({"behaviour": behaviour, "say": ["configured\r\nby hand"], "lines": lines});
    let fault = fault(&lab, &config("say_and_trap"));
    assert_eq!(fault.kind, FaultKind::Trap);
    let said = r"; it had said: configured\r\nby hand | 10 spans, \u{1b}[31mhalf 0.5\nof \u{202e}it | 100.5";
    assert!(fault.message.ends_with(said), "{fault}");
    let (_, told) = refused(&lab, enricher(&config("configure_trap")));
    assert!(told.ends_with(r"; it had said: configured\r\nby hand"), "{told}");
}

/// The names of spans are `name 0` to `name 9`.
#[test]
fn nothing_of_telemetry_gets_out() {
    let lab = Lab::new();
    let page = page(&lab);
    let config = |behaviour: &str| json!({"behaviour": behaviour, "lines": ["{} {}"], "metrics": [{"name": "seen", "help": "x"}]});
    for (behaviour, kind) in [
        ("say_telemetry", FaultKind::BadOutput),
        ("open_line", FaultKind::ReturnedError),
        ("open_metric", FaultKind::ReturnedError),
        ("open_table", FaultKind::ReturnedError),
        ("count_and_fail", FaultKind::ReturnedError),
        ("say_wrong", FaultKind::BadOutput),
    ] {
        let fault = fault(&lab, &config(behaviour));
        assert_eq!(fault.kind, kind, "{behaviour}: {fault}");
        assert!(!fault.message.contains("name "), "{behaviour}: {fault}");
    }
    let text = page();
    assert!(!text.contains("name ") && !text.contains("late"), "{text}");
}

#[test]
fn lines_are_bounded_and_counted() {
    let lab = Lab::new();
    let page = page(&lab);
    let counted = |text: &str| {
        ["", "_left_out"]
            .map(|what| sample(text, &format!("sluicebox_stage_log_lines{what}_total{{stage=\"wasm/test\"}}")))
    };
    let config = json!({"behaviour": "say_much", "lines": ["{} {}"], "say": ["hello"]});
    // Enough seconds pass for no line more.
    let limits = StageLimits { log_lines_per_second: 1, ..limits() };
    let generation = lab.runtime.build_generation(GenerationSpec { limits, ..enricher(&config) }).expect("builds");
    assert_eq!(counted(&page()), [Some(1.0), Some(0.0)], "of all instances one has spoken");
    let mut instances: Vec<Box<dyn Instance>> = (0..2).map(|_| generation.instance().expect("is there")).collect();
    for instance in &mut instances {
        call(&mut **instance, &traces(1)).expect("goes on");
    }
    let [written, left_out] = counted(&page()).map(|count| count.expect("is there"));
    assert_eq!(written + left_out, 201.0, "none is lost");
    assert!(left_out >= 100.0, "{written} written, {left_out} left out");
    let silent = GenerationSpec { limits: StageLimits { log_lines_per_second: 0, ..limits }, ..enricher(&config) };
    let stage = "wasm/silent".to_owned();
    let silent = lab.runtime.build_generation(GenerationSpec { stage, ..silent }).expect("builds");
    call(&mut *silent.instance().expect("is there"), &traces(1)).expect("goes on");
    let left_out = sample(&page(), "sluicebox_stage_log_lines_left_out_total{stage=\"wasm/silent\"}");
    assert!(left_out.is_some_and(|count| count >= 100.0), "{left_out:?}");
    assert_eq!(sample(&page(), "sluicebox_stage_log_lines_total{stage=\"wasm/silent\"}"), Some(0.0));
    for (lines, told) in [
        (json!(["{}{}{}{}{}{}{}{}{}"]), "a line has at most 8 numbers"),
        (json!([""]), "a line has 1 to 1024 bytes"),
        (json!(["x".repeat(1025)]), "a line has 1 to 1024 bytes"),
        (json!(vec!["x"; 65]), "more than 64 lines"),
    ] {
        let (_, text) = refused(&lab, enricher(&json!({"behaviour": "say", "lines": lines})));
        assert!(text.ends_with(told), "{text}");
    }
}

#[test]
fn a_call_sees_one_time() {
    let lab = Lab::new();
    let page = page(&lab);
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let generation =
        build(&lab, &json!({"behaviour": "clock", "metrics": [{"kind": "gauge", "name": "now_seconds", "help": "x"}]}));
    let mut instance = generation.instance().expect("is prepared");
    let mut last = seconds();
    for _ in 0..2 {
        call(&mut *instance, &traces(1)).expect("time stands still");
        let told = sample(&page(), "sluicebox_guest_now_seconds{stage=\"wasm/test\"}").expect("is there");
        // What is read within the call lies between what is read around it.
        assert!((last - 1e-3..=seconds() + 1e-3).contains(&told), "{last} {told} {}", seconds());
        last = told;
    }
}

fn table(text: &str) -> Vec<(String, Arc<Table>)> {
    vec![("owners".to_owned(), Table::load(Format::Csv, "service", text.as_bytes()).expect("a table"))]
}

fn looks_up(behaviour: &str, columns: &[&str]) -> serde_json::Value {
    json!({"behaviour": behaviour, "tables": [{"name": "owners", "columns": columns}]})
}

/// What the attribute `found` of each span is after a call.
fn found(instance: &mut dyn Instance, rows: usize) -> Vec<Option<String>> {
    let batch = batch(&traces(rows));
    let items = 0..batch.items();
    let (mut batch, effects) = instance.call(batch, items);
    batch.apply(Drops::new(&batch), effects.expect("goes on").edits).expect("can be had together");
    let bytes: Vec<u8> = batch.into_segments().expect("fits").into_iter().flat_map(|segment| segment.bytes).collect();
    let request = ExportTraceServiceRequest::decode(bytes.as_slice()).expect("is valid");
    let spans =
        request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
    let value = |attribute: &opentelemetry_proto::tonic::common::v1::KeyValue| match attribute.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        other => panic!("{other:?}"),
    };
    spans.map(|span| span.attributes.first().and_then(value)).collect()
}

#[test]
fn rows_are_found_by_key() {
    let lab = Lab::new();
    let text = "team,service,mail\nred,name 1,r@x\nblue,name 3,\n,name 5,f@x\n";
    let expected = |row: usize| match row % 10 {
        1 => Some("red".to_owned()),
        3 => Some("blue".to_owned()),
        _ => None,
    };
    let spec = GenerationSpec { tables: table(text), ..enricher(&looks_up("find", &["team", "mail"])) };
    let generation = lab.runtime.build_generation(spec).expect("builds");
    let mut instance = generation.instance().expect("is prepared");
    for rows in [0, 1, 25, 2048] {
        assert_eq!(found(&mut *instance, rows), (0..rows).map(expected).collect::<Vec<_>>());
    }
    let odd = GenerationSpec { tables: table(text), ..enricher(&looks_up("find_odd_kinds", &["team"])) };
    let odd = lab.runtime.build_generation(odd).expect("builds");
    call(&mut *odd.instance().expect("is prepared"), &traces(10)).expect("no row, no fault");
}

#[test]
fn tables_are_opened_by_names_that_there_are() {
    let lab = Lab::new();
    let told = |columns: &[&str], tables: Vec<(String, Arc<Table>)>| {
        let (step, told) = refused(&lab, GenerationSpec { tables, ..enricher(&looks_up("find", columns)) });
        assert_eq!(step, Step::Configure);
        told.strip_prefix("the component rejects its config: ").expect("what the guest was told").to_owned()
    };
    let owners = || table("service,team\na,b\n");
    assert_eq!(told(&["team"], Vec::new()), "no table is named `owners`: the stage has no `tables`");
    let other = vec![("other".to_owned(), owners().remove(0).1)];
    assert_eq!(told(&["team"], other), "no table is named `owners`; `tables` has: other");
    assert_eq!(told(&["team", "mail"], owners()), "table `owners` has no column `mail`; it has: service, team");
    assert_eq!(told(&[], owners()), "between 1 and 16 columns can be opened, not 0");
    assert_eq!(told(&["team"; 17], owners()), "between 1 and 16 columns can be opened, not 17");
    let many: Vec<_> = (0..65).map(|_| json!({"name": "owners", "columns": ["team"]})).collect();
    let many = enricher(&json!({"behaviour": "find", "tables": many}));
    assert!(refused(&lab, GenerationSpec { tables: owners(), ..many }).1.ends_with("more than 64 tables"));
}

#[test]
fn misuse_of_tables_is_a_fault() {
    let lab = Lab::new();
    let long = format!("service,team\nlong,{}\n", "x".repeat(4000));
    for (behaviour, kind, told) in [
        ("find_without_offsets", FaultKind::BadOutput, "offsets are not one more"),
        ("find_past_the_end", FaultKind::BadOutput, "offsets do not fit"),
        ("find_backwards", FaultKind::BadOutput, "offsets do not fit"),
        ("find_short_int", FaultKind::BadOutput, "not of its kind"),
        ("find_large", FaultKind::HostCallBudget, "limits.output_mib"),
        ("find_often", FaultKind::HostCallBudget, "too many host calls"),
    ] {
        let spec = GenerationSpec { tables: table(&long), ..enricher(&looks_up(behaviour, &["team"])) };
        let generation = lab.runtime.build_generation(spec).expect("builds");
        let fault = call(&mut *generation.instance().expect("is prepared"), &traces(10)).expect_err("faults");
        assert!(fault.kind == kind && fault.message.contains(told), "{behaviour}: {fault}");
        assert!(!fault.message.contains("name "), "{behaviour}: {fault}");
    }
    let spec = GenerationSpec { tables: table(&long), ..enricher(&looks_up("configure_find", &["team"])) };
    assert!(refused(&lab, spec).1.contains("outside of a call"));
}

#[test]
fn tables_are_charged_once_and_given_back() {
    let lab = Lab::new();
    let rows: String = (0..50_000).map(|n| format!("service {n},team {n}\n")).collect();
    let owners = table(&format!("service,team\n{rows}"));
    let bytes = owners[0].1.memory_bytes();
    assert!(bytes > 1 << 20, "{bytes}");
    let spec = |stage: &str| GenerationSpec {
        stage: stage.to_owned(),
        tables: owners.clone(),
        ..enricher(&looks_up("find", &["team"]))
    };
    let without = lab.runtime.build_generation(enricher(&json!({"behaviour": "count"}))).expect("builds");
    let generation_bytes = lab.budget.bytes_used();
    let one = lab.runtime.build_generation(spec("wasm/a")).expect("builds");
    let with_one = lab.budget.bytes_used() - generation_bytes;
    let other = lab.runtime.build_generation(spec("wasm/b")).expect("builds");
    let with_both = lab.budget.bytes_used() - generation_bytes;
    assert_eq!(with_one, (with_both - with_one) + bytes, "the second one costs its instances alone");
    drop((one, other));
    assert_eq!(lab.budget.bytes_used(), generation_bytes);
    drop(without);

    let tight = Lab::with_budget(bytes - 1);
    let error = tight.runtime.build_generation(spec("wasm/a")).expect_err("does not fit");
    assert!(matches!(error, BuildError::Configure(_)), "{error}");
    assert!(
        error.to_string().starts_with(&format!("the table `owners` takes {bytes} bytes, more than is left")),
        "{error}"
    );
    assert_eq!(tight.budget.bytes_used(), 0);
}
