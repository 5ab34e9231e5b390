use std::path::Path;

use super::*;
use crate::config::model::Secret;
use crate::config::{System, load_text};
use crate::table::{Format, Table};

const BASE: &str = "\
receivers: {otlp: {protocols: {grpc: }}}
processors:
  wasm/a: {component: a.wasm, config: {x: 1}}
  filter: {error_mode: ignore}
  batch: {timeout: 1s}
exporters:
  debug:
  otlp: {endpoint: \"http://b:4317\"}
service:
  pipelines:
    traces: {receivers: [otlp], processors: [wasm/a, filter, batch], exporters: [debug, otlp]}
    logs: {receivers: [otlp], processors: [wasm/a, batch], exporters: [debug]}
";

fn config(text: &str) -> Config {
    load_text("test.yaml".into(), text.into(), Path::new("dir"), &System).unwrap().config
}

/// The base with one text replaced by another.
fn changed(from: &str, to: &str) -> Diff {
    assert!(BASE.contains(from));
    diff(&config(BASE), &config(&BASE.replace(from, to)))
}

fn others(diff: &Diff) -> Vec<(&str, Option<u32>, ChangeKind)> {
    let line = |change: &Change| change.place.map(|place| place.line);
    diff.others.iter().map(|change| (change.part.as_str(), line(change), change.kind)).collect()
}

#[test]
fn lines_and_comments_are_no_change() {
    assert!(changed("processors:\n", "# why\n\nprocessors:\n").is_empty());
}

#[test]
fn a_changed_stage_says_in_what() {
    for (from, to, expected) in [
        ("a.wasm", "b.wasm", [true, false, false, false, false, false, false]),
        ("a.wasm", &format!("a.wasm, sha256: {}", "a".repeat(64)), [true, false, false, false, false, false, false]),
        ("x: 1", "x: 2", [false, true, false, false, false, false, false]),
        ("a.wasm", "a.wasm, keys: {pii: {env: PATH}}", [false, false, true, false, false, false, false]),
        ("a.wasm", "a.wasm, grants: [log]", [false, false, false, true, false, false, false]),
        ("a.wasm", "a.wasm, limits: {deadline: 1s}", [false, false, false, false, false, true, false]),
        ("a.wasm", "a.wasm, on_fault: pass", [false, false, false, false, false, false, true]),
    ] {
        let diff = changed(from, to);
        let [change] = diff.stages.as_slice() else { panic!("{diff:?}") };
        assert_eq!((change.name.as_str(), change.place.line), ("wasm/a", 3));
        let StageChange { component, config, keys, grants, tables, limits, on_fault, .. } = *change;
        let found = [component, config, keys, grants, tables, limits, on_fault];
        assert_eq!(found, expected, "{to}");
        assert!(diff.is_of_stages_alone());
    }
}

#[test]
fn other_bytes_of_a_key_are_a_change() {
    let mut new = config(&BASE.replace("a.wasm", "a.wasm, keys: {pii: {env: PATH}}"));
    let old = new.clone();
    assert!(diff(&old, &new).is_empty());
    let stage = new.stages.iter_mut().find(|stage| stage.name == "wasm/a").unwrap();
    stage.keys[0].1 = Secret::new("another key of enough bytes");
    let diff = diff(&old, &new);
    assert!(diff.is_of_stages_alone() && diff.stages[0].keys && !diff.stages[0].config, "{diff:?}");
    assert!(!format!("{diff:?}{:?}", new.stages).contains("another key"));
}

#[test]
fn other_content_of_a_table_is_a_change() {
    let table = |text: &str| vec![("t".to_owned(), Table::load(Format::Csv, "key", text.as_bytes()).unwrap())];
    let mut old = config(BASE);
    old.stages[0].tables = table("key,x\na,1\n");
    let mut new = old.clone();
    new.stages[0].tables = table("key,x\na,1\n");
    assert!(diff(&old, &new).is_empty());
    new.stages[0].tables = table("key,x\na,2\n");
    let diff = diff(&old, &new);
    assert!(diff.is_of_stages_alone() && diff.stages[0].tables && !diff.stages[0].config, "{diff:?}");
}

#[test]
fn everything_else_is_named_with_its_line() {
    use ChangeKind::{Added, Changed, Removed};
    let endpoint = changed("b:4317", "c:4317");
    assert_eq!(others(&endpoint), [("exporter \"otlp\"", Some(8), Changed)]);
    assert!(!endpoint.is_of_stages_alone() && endpoint.restarts().next().is_none());
    let renamed = changed("wasm/a", "wasm/b");
    assert_eq!(
        others(&renamed),
        [
            ("processor \"wasm/b\"", Some(3), Added),
            ("processor \"wasm/a\"", Some(3), Removed),
            ("pipeline \"traces\"", Some(11), Changed),
            ("pipeline \"logs\"", Some(12), Changed),
        ]
    );
    assert_eq!(others(&changed("timeout: 1s", "timeout: 2s")), [("processor \"batch\"", Some(5), Changed)]);
    assert_eq!(others(&changed("grpc: ", "http: ")), [("receiver \"otlp\"", Some(1), Changed)]);
    let telemetry = "service:\n  telemetry: {logs: {level: warn}, metrics: {level: none}}\n";
    let settings = changed("service:\n", &format!("admin: {{address: \"127.0.0.1:1\"}}\n{telemetry}"));
    assert_eq!(
        others(&settings),
        [
            ("\"service.telemetry.metrics\"", Some(11), Changed),
            ("\"service.telemetry.logs.level\"", Some(11), Changed),
            ("\"admin.address\"", Some(9), Changed),
        ]
    );
    let restarts: Vec<_> = settings.restarts().map(|(change, _)| change.part.as_str()).collect();
    assert_eq!(restarts, ["\"service.telemetry.metrics\"", "\"admin.address\""]);
    let level = changed("service:\n", "service:\n  telemetry: {logs: {level: warn}}\n");
    assert!(level.is_of_stages_alone() && !level.is_empty(), "{level:?}");
    let limiter = changed("  batch: {", "  memory_limiter: {limit_mib: 100}\n  batch: {").others;
    assert_eq!(limiter, [], "a limiter that no pipeline uses changes nothing");
}

const SAMPLER: &str = "\
receivers: {otlp: {protocols: {grpc: }}}
processors:
  tail_sampling:
    decision_wait: 5s
    policies:
      - {name: errors, status_code: {status_codes: [ERROR]}}
      - {name: mine, component: mine.wasm}
exporters: {debug: }
service:
  pipelines:
    traces: {receivers: [otlp], processors: [tail_sampling], exporters: [debug]}
    traces/b: {receivers: [otlp], processors: [tail_sampling], exporters: [debug]}
";

fn sampler_changed(from: &str, to: &str) -> Diff {
    assert!(SAMPLER.contains(from));
    diff(&config(SAMPLER), &config(&SAMPLER.replace(from, to)))
}

#[test]
fn policies_are_changed_live() {
    assert!(sampler_changed("processors:\n", "# why\nprocessors:\n").is_empty());
    for (from, to, stage) in [
        ("[ERROR]", "[OK]", "tail_sampling"),
        ("      - {name: mine", "      - {name: all, type: always_sample}\n      - {name: mine", "tail_sampling"),
        ("mine.wasm", "other.wasm", "tail_sampling:mine"),
        ("mine.wasm", "mine.wasm, config: {x: 1}", "tail_sampling:mine"),
    ] {
        let diff = sampler_changed(from, to);
        let changed: Vec<_> = diff.stages.iter().map(|change| change.name.as_str()).collect();
        assert_eq!((changed.as_slice(), diff.is_of_stages_alone()), (&[stage][..], true), "{to}: {diff:?}");
    }
}

/// What holds the traces, and which stages vote, is told as a change of the sampler.
#[test]
fn the_rest_of_a_tail_sampler_is_a_change_of_its_own() {
    use ChangeKind::{Added, Changed, Removed};
    let sampler = ("processor \"tail_sampling\"", Some(3), Changed);
    for to in ["6s", "5s\n    num_traces: 5", "5s\n    record_decisions: true", "5s\n    memory_mib: 60"] {
        assert_eq!(others(&sampler_changed("5s", to)), [sampler], "{to}");
    }
    let added = sampler_changed("mine.wasm}\n", "mine.wasm}\n      - {name: theirs, component: mine.wasm}\n");
    assert_eq!(others(&added), [sampler, ("processor \"tail_sampling:theirs\"", Some(8), Added)]);
    let renamed = sampler_changed("name: mine", "name: yours");
    let stages =
        [("processor \"tail_sampling:yours\"", Some(7), Added), ("processor \"tail_sampling:mine\"", Some(7), Removed)];
    assert_eq!(others(&renamed), [&[sampler][..], &stages].concat());
    let components_only = sampler_changed("      - {name: errors, status_code: {status_codes: [ERROR]}}\n", "");
    assert_eq!(others(&components_only), [sampler], "the stage of its name is told of once");
}

/// Parts that come, go and change, as they are told. A running engine can do all of it.
#[test]
fn a_plan_names_every_part() {
    let pipelines = BASE.find("    traces:").expect("pipelines come last");
    for (traces, more, expected) in [
        ("[otlp], processors: [wasm/a, filter, batch], exporters: [debug]", "", &["changed pipeline \"traces\""][..]),
        ("[otlp], processors: [filter, wasm/a, batch], exporters: [debug, otlp]", "", &["changed pipeline \"traces\""]),
        (
            "[otlp], processors: [wasm/a, batch], exporters: [debug, otlp]",
            "",
            &["removed processor \"filter\"", "changed pipeline \"traces\""],
        ),
        (
            "[otlp/b], processors: [wasm/a, filter, batch], exporters: [debug, otlp]",
            "receivers: {otlp/b: {protocols: {http: }}, otlp: {protocols: {grpc: }}}",
            &["added receiver \"otlp/b\"", "changed pipeline \"traces\""],
        ),
        (
            "[otlp], processors: [wasm/a, filter, batch], exporters: [debug, otlp]",
            "receivers: {otlp: {protocols: {grpc: {max_concurrent_streams: 5}}}}",
            &["changed receiver \"otlp\""],
        ),
    ] {
        let logs = "    logs: {receivers: [otlp], processors: [wasm/a, batch], exporters: [debug, otlp]}\n";
        let text = |traces: &str| format!("{}    traces: {{receivers: {traces}}}\n{logs}", &BASE[..pipelines]);
        let old = text("[otlp], processors: [wasm/a, filter, batch], exporters: [debug, otlp]");
        let mut new = text(traces);
        if !more.is_empty() {
            new = new.replace("receivers: {otlp: {protocols: {grpc: }}}", more);
        }
        let diff = diff(&config(&old), &config(&new));
        assert_eq!(diff.others.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{traces} {more}");
        assert_eq!(diff.restarts().count(), 0, "{traces} {more}");
    }
}

#[test]
fn a_sampler_goes_on_with_the_threads_that_it_has() {
    let sharded = sampler_changed("5s", "5s\n    num_shards: 3");
    let restarts: Vec<_> = sharded.restarts().map(|(change, why)| (change.to_string(), why)).collect();
    assert_eq!(restarts, [("changed processor \"tail_sampling\"".to_owned(), OTHER_SHARDS)]);
    for (from, to) in [("5s", "6s"), ("[tail_sampling]", "[]")] {
        assert_eq!(sampler_changed(from, to).restarts().count(), 0, "{to}");
    }
}
