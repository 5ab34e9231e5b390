use std::path::Path;

use super::{FIRST_MATCH, SAMPLER_KEYS};
use crate::config::model::{Component, Config, Step};
use crate::config::{Loaded, System, load_text};

fn load(block: &str) -> Loaded {
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: }}}}}}\nprocessors:\n  tail_sampling/x:\n{block}\nexporters: {{debug: }}\n\
         service: {{pipelines: {{traces: {{receivers: [otlp], processors: [tail_sampling/x], exporters: [debug]}}}}}}\n"
    );
    let loaded = load_text("test.yaml".into(), text, Path::new("dir"), &System);
    loaded.unwrap_or_else(|report| panic!("{report}"))
}

fn config(block: &str) -> Config {
    load(block).config
}

fn threshold(percentage: &str) -> u64 {
    let config =
        config(&format!("    policies: [{{name: all, always_sample: }}]\n    fallback_percentage: {percentage}"));
    let Step::Sample(sampler) = &config.pipelines[0].steps[0] else { panic!("it samples") };
    sampler.fallback_threshold
}

/// Policies that stand together are one stage; what a component gets is what stands in the file, and nothing else.
#[test]
fn policies_are_stages_in_their_order() {
    let config = config(
        r"    sample_on_first_match: true
    decision_wait: 1s
    limits: {deadline: 1s}
    policies:
      - {name: a, latency: {threshold_ms: 1}}
      - {name: b, type: and, and: {and_sub_policy: [{name: c, always_sample: {}}]}}
      - {name: mine, component: sub/mine.wasm, config: {tenants: [1]}, limits: {deadline: 2s}}
      - {name: theirs, component: theirs.wasm}
      - {name: d, type: always_sample}",
    );
    let stages: Vec<_> = config.stages.iter().map(|stage| (stage.name.as_str(), stage.config.as_str())).collect();
    let first = r#"{"policies":[{"name":"a","latency":{"threshold_ms":1}},{"name":"b","type":"and","and":{"and_sub_policy":[{"name":"c","always_sample":{}}]}}],"sample_on_first_match":true}"#;
    let last = r#"{"policies":[{"name":"d","type":"always_sample"}],"sample_on_first_match":true}"#;
    let expected = [
        ("tail_sampling/x", first),
        ("tail_sampling/x:mine", r#"{"tenants":[1]}"#),
        ("tail_sampling/x:theirs", "{}"),
        ("tail_sampling/x:policies-2", last),
    ];
    assert_eq!(stages, expected);
    let [built_in, mine, _, more] = config.stages.as_slice() else { panic!("four stages") };
    assert_eq!(built_in.component, Component::Bundled("tail-sampling".to_owned()));
    assert_eq!(more.component, built_in.component);
    assert_eq!(mine.component, Component::File { path: Path::new("dir/sub/mine.wasm").to_owned(), sha256: None });
    let deadlines: Vec<_> = config.stages.iter().map(|stage| stage.limits.deadline.as_millis()).collect();
    assert_eq!(deadlines, [1000, 2000, 50, 1000]);
    let lines: Vec<_> = config.stages.iter().map(|stage| stage.place.line).collect();
    assert_eq!(lines, [7, 10, 11, 12], "the list, then each policy that begins a stage");
    let Step::Sample(sampler) = &config.pipelines[0].steps[0] else { panic!("it samples") };
    assert_eq!(sampler.units, expected.map(|(name, _)| name));
}

/// A place in a run is counted from where the run begins, wherever that is.
#[test]
fn a_run_is_told_of_at_its_first_policy() {
    let config = config(
        r"    policies:
      - {name: mine, component: mine.wasm}
      - {name: a, type: always_sample}
      - {name: b, type: always_sample}",
    );
    let told: Vec<_> = config.stages.iter().map(|stage| (stage.name.as_str(), stage.place.line)).collect();
    assert_eq!(told, [("tail_sampling/x:mine", 5), ("tail_sampling/x", 6)]);
}

/// A trace is kept where its randomness is not below the threshold: 10 % of 2^56 numbers are at or above 90 % of it.
#[test]
fn a_percentage_is_a_threshold() {
    assert_eq!(threshold("100"), 0);
    assert_eq!(threshold("0"), 1 << 56);
    assert_eq!(threshold("50"), 1 << 55);
    assert_eq!(threshold("6.25"), (1 << 56) / 16 * 15);
    let tenth = (1_u64 << 56) - threshold("10");
    assert!(tenth.abs_diff((1 << 56) / 10) <= 8, "{tenth}");
}

/// 1000 traces of 1 KiB and 20,000 decisions of 40 bytes: 1.74 MiB. Fewer decisions leave room for more traces.
#[test]
fn room_is_told_to_be_short_only_where_it_is() {
    let warnings = |keys: &str| {
        let loaded = load(&format!("    policies: [{{name: all, always_sample: }}]\n    num_traces: 1000\n{keys}"));
        loaded.report.problems().len()
    };
    assert_eq!(warnings("    memory_mib: 1"), 1);
    assert_eq!(warnings("    memory_mib: 2"), 0);
    assert_eq!(
        warnings("    memory_mib: 1\n    decision_cache: {sampled_cache_size: 300, non_sampled_cache_size: 300}"),
        0
    );
}

/// What a swap must not change is every key that is read, but those that make the component's configuration.
#[test]
fn the_keys_of_the_block_are_listed() {
    let text = "processors: {tail_sampling: {x: 1, expected_new_traces_per_sec: 1, tail_storage: 1}}\n";
    let report = load_text("test.yaml".into(), text.into(), Path::new("dir"), &System).expect_err("an unknown key");
    let unknown = report.problems().iter().find(|problem| problem.message.starts_with("unknown key \"x\""));
    let (_, keys) = unknown.and_then(|problem| problem.help.split_once("valid keys: ")).expect("names the keys");
    let mut known: Vec<_> = keys.split(", ").chain(["expected_new_traces_per_sec", "tail_storage"]).collect();
    known.sort_unstable();
    let mut listed: Vec<_> = SAMPLER_KEYS.into_iter().chain(["policies", FIRST_MATCH, "limits"]).collect();
    listed.sort_unstable();
    assert_eq!(known, listed);
}
