//! What is written loads to what is wanted, and nothing else of any file changes by a byte.

use std::fs;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::json;

use super::*;
use crate::config::System;

/// Before and after the stage's block, so that a change of either shows.
const BEFORE: &str =
    "# owner: é team\nreceivers: {otlp: {protocols: {grpc: }}}   # in\nprocessors:\n  # health checks are noise\n";
const AFTER: &str = "  batch: {timeout: \"1s\"}   # after\n\nexporters: {debug: }\nservice:\n  pipelines:\n    traces: {receivers: [otlp], \
                     processors: ['STAGE', batch], exporters: [debug]}\n";

struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        Self(folder)
    }

    fn of_stage(name: &str, block: &str) -> Self {
        Self::new(&[("config.yaml", &format!("{BEFORE}{block}{}", AFTER.replace("STAGE", name)))])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("there")
    }

    fn stage(&self, name: &str) -> Stage {
        let loaded = load_in(&self.path("config.yaml"), &System).unwrap_or_else(|report| panic!("{report}"));
        loaded.config.stages.into_iter().find(|stage| stage.name == name).expect("there")
    }

    fn rewrite(&self, stage: &Stage, text: Option<&str>) -> Result<(), RewriteError> {
        let rewritten = rewrite(&self.path("config.yaml"), &System, stage, &"0".repeat(64), text)?;
        rewritten.write()
    }

    /// Has the stage be configured by a text, as `swap --config FILE --write` does.
    fn configure(&self, name: &str, text: &str) -> Result<(), RewriteError> {
        let file = self.0.path().join("new-rules");
        fs::write(&file, text).expect("written");
        let value = crate::config::read_value(&file).unwrap_or_else(|report| panic!("{report}"));
        let stage = self.stage(name);
        let config = crate::config::replaced(&stage, value.to_string()).expect("may be swapped");
        self.rewrite(&Stage { config, ..stage }, Some(text))
    }
}

/// The stage's block after the edit.
fn edited(name: &str, block: &str, text: &str) -> String {
    let files = Files::of_stage(name, block);
    files.configure(name, text).unwrap_or_else(|error| panic!("{error}\n{block}"));
    let (after, now) = (AFTER.replace("STAGE", name), files.text("config.yaml"));
    let block = now.strip_prefix(BEFORE).and_then(|rest| rest.strip_suffix(&after));
    block.unwrap_or_else(|| panic!("something else changed:\n{now}")).to_owned()
}

const NEW: &str = "# new rules\nerror_mode: ignore   # as before\ntraces:\n  span:\n    - 'name == \"x\"'\n";

#[test]
fn a_block_takes_the_text_as_it_was_written_in_its_place() {
    let expected = "  filter/health:\n    # new rules\n    error_mode: ignore   # as before\n    traces:\n      span:\n        - 'name == \"x\"'\n";
    for block in [
        "  filter/health:\n    traces: {span: ['name == \"y\"']}   # old\n",
        "  filter/health: {traces: {span: ['name == \"y\"']}}\n",
        "  filter/health:\n    traces:\n      span:\n        - |\n          name == \"y\"\n",
        "  filter/health:\n    traces:\n      span: [\n        'name == \"y\"',\n        ]\n",
    ] {
        assert_eq!(edited("filter/health", block, NEW), expected, "{block}");
    }
    let deeper = edited("filter/health", "  filter/health:\n      traces: {span: ['name == \"y\"']}\n", NEW);
    assert_eq!(deeper, expected.replace("\n    ", "\n      "));
    let kept = edited("filter/health", "  \"filter/health\":   # noise\n    traces: {span: ['a == 1']}\n", NEW);
    assert_eq!(kept, expected.replace("  filter/health:", "  \"filter/health\":   # noise"));
}

#[test]
fn text_in_brackets_stays_on_its_line() {
    let text = "{\"traces\": {\"span\": [\"name == \\\"x\\\"\"]}}\n";
    let block = "  filter/health: {traces: {span: ['name == \"y\"']}}  # noise\n";
    assert_eq!(edited("filter/health", block, text), format!("  filter/health: {}  # noise\n", text.trim()));
}

#[test]
fn keys_of_the_engine_stay_where_they_are() {
    let block = "  filter/health:\n    # bounds\n    limits: {deadline: 20ms}   # enough\n    error_mode: propagate\n    on_fault: reject\n    traces:\n      span: ['a == 1']   # old\n";
    let expected = "  filter/health:\n    # bounds\n    limits: {deadline: 20ms}   # enough\n    # new rules\n    error_mode: ignore   # as before\n    traces:\n      span:\n        - 'name == \"x\"'\n    on_fault: reject\n";
    assert_eq!(edited("filter/health", block, NEW), expected);
    let block = "  filter/health: {limits: {deadline: 20ms}, traces: {span: ['a == 1']}}\n";
    let now = edited("filter/health", block, NEW);
    assert!(now.contains("limits: {deadline: 20ms} }") && now.contains("name == \\\"x\\\""), "{now}");
}

#[test]
fn policies_are_all_that_is_written_of_a_sampler() {
    let block = "  tail_sampling:\n    decision_wait: 10s   # patience\n    policies:\n      - {name: all, type: always_sample}\n    num_traces: 7\n";
    let text = "# incident\npolicies:\n  # everything slow\n  - name: slow\n    type: latency\n    latency: {threshold_ms: 5}\n";
    let expected = "  tail_sampling:\n    decision_wait: 10s   # patience\n    policies:\n      - name: slow\n        type: latency\n        latency: {threshold_ms: 5}\n    num_traces: 7\n";
    assert_eq!(edited("tail_sampling", block, text), expected);
}

#[test]
fn a_file_of_its_own_is_written_where_the_value_stands() {
    let rules = "# security's\r\nerror_mode: propagate\r\ntraces: {span: ['a == 1']}\r\n";
    let main = format!("{BEFORE}  filter/health: ${{file:rules.yaml}}\n{}", AFTER.replace("STAGE", "filter/health"));
    let files = Files::new(&[("config.yaml", &main), ("rules.yaml", rules)]);
    files.configure("filter/health", "traces:\n  span: ['b == 1']\n").expect("written");
    assert_eq!(files.text("config.yaml"), main);
    assert_eq!(files.text("rules.yaml"), "# security's\r\ntraces:\r\n  span: ['b == 1']\r\n");
}

#[test]
fn a_component_is_named_by_its_path_and_pin() {
    let pin = "f".repeat(64);
    let block = format!("  wasm/mine:\n    component: 'old.wasm'   # built by CI\n    sha256: {pin}\n");
    let files = Files::of_stage("wasm/mine", &block);
    let stage = files.stage("wasm/mine");
    let component = |path: PathBuf| Component::File { path, sha256: None };
    for (path, written) in [
        (files.path("new.wasm"), "./new.wasm".to_owned()),
        (PathBuf::from("/opt/new rules.wasm"), "\"/opt/new rules.wasm\"".to_owned()),
    ] {
        files.rewrite(&Stage { component: component(path), ..stage.clone() }, None).expect("written");
        let now = files.text("config.yaml");
        let expected = format!("    component: {written}   # built by CI\n    sha256: \"{}\"\n", "0".repeat(64));
        assert!(now.contains(&expected), "{now}");
    }
    let config = json!({"a": ["$x", {"b": "${env:HOME} \u{85}"}], "é \n": null}).to_string();
    files.rewrite(&Stage { config: config.clone(), ..files.stage("wasm/mine") }, None).expect("a key is added");
    assert_eq!(super::json(&files.stage("wasm/mine").config), super::json(&config));
}

#[test]
fn what_is_not_safe_is_refused_and_nothing_is_written() {
    let shared = "processors:\n  filter/a: ${file:rules.yaml}\n  filter/b: ${file:rules.yaml}\n  filter/c: &c {traces: {span: ['a == 1']}}\n  \
         filter/d: *c\n  filter/e: {error_mode: \"${file:mode}\", traces: {span: ['a == 1']}}\nreceivers: {otlp: {protocols: {grpc: }}}\n\
         exporters: {debug: }\nservice: {pipelines: {traces: {receivers: [otlp], processors: [filter/a, filter/b, filter/c, filter/d, filter/e], exporters: [debug]}}}\n";
    let files =
        Files::new(&[("config.yaml", shared), ("rules.yaml", "traces: {span: ['a == 1']}\n"), ("mode", "ignore")]);
    for (stage, why) in [("filter/a", "other parts"), ("filter/c", "anchor or a tag")] {
        let refused = files.configure(stage, "traces: {span: ['b == 1']}\n").expect_err("not safe").to_string();
        assert!(refused.contains(why), "{stage}: {refused}");
        assert!(!refused.contains("b == 1"), "no text of a configuration: {refused}");
    }
    let document = files.configure("filter/e", "---\ntraces: {span: ['b == 1']}\n");
    document.expect("marks of a document are left out");
    assert!(!files.text("config.yaml").contains("---") && files.stage("filter/e").config.contains("b == 1"));
    let now = files.text("config.yaml");
    files.configure("filter/d", "traces: {span: ['b == 1']}\n").expect("an alias is written out");
    let expected = now.replace("filter/d: *c", "filter/d:\n    traces: {span: ['b == 1']}");
    assert_eq!(files.text("config.yaml"), expected);
    assert_eq!(files.text("rules.yaml"), "traces: {span: ['a == 1']}\n");
}

#[test]
fn mode_and_links_stay_and_others_writes_are_noticed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let block = "  filter/health: {traces: {span: ['name == \"y\"']}}\n";
    let files = Files::of_stage("filter/health", block);
    fs::rename(files.path("config.yaml"), files.path("real.yaml")).expect("renamed");
    symlink("real.yaml", files.path("config.yaml")).expect("linked");
    fs::set_permissions(files.path("real.yaml"), fs::Permissions::from_mode(0o640)).expect("changed");
    files.configure("filter/health", NEW).expect("written");
    assert!(fs::symlink_metadata(files.path("config.yaml")).expect("there").is_symlink());
    assert_eq!(fs::metadata(files.path("real.yaml")).expect("there").permissions().mode() & 0o777, 0o640);
    let stage = Stage { config: "{}".to_owned(), ..files.stage("filter/health") };
    let planned = rewrite(&files.path("config.yaml"), &System, &stage, "", None).expect("planned");
    fs::write(files.path("real.yaml"), "# somebody else's").expect("written");
    assert!(matches!(planned.write(), Err(RewriteError::Changed { .. })));
    assert_eq!(files.text("config.yaml"), "# somebody else's");
}

/// JSON that a configuration may be.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[ -~]{0,12}",
        "[\\PC]{0,6}",
        prop::sample::select(vec![
            "",
            "~",
            "null",
            "1",
            "- a",
            "a: b",
            "#",
            "$",
            "$$",
            "${A}",
            "$${",
            "é\n\t\u{1}\u{2028}",
            "'",
            "\"",
            "|",
            "---"
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let key = prop_oneof!["[a-z_]{1,6}", text.clone()]
            .prop_filter("keys are not empty, nor merged", |key| !key.is_empty() && key != "<<");
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn map() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-z]{1,4}", value(), 1..4).prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// Blocks of `wasm/mine` with a `config` in every style, and comments.
fn block(style: usize, old: &Value) -> String {
    let flow = old.to_string().replace('$', "$$");
    match style % 6 {
        0 => format!("  wasm/mine: {{component: a.wasm, config: {flow}, limits: {{deadline: 9ms}}}}   # end\n"),
        1 => format!("  wasm/mine:\n    component: a.wasm\n    config: {flow}   # end\n    # within\n    limits: {{deadline: 9ms}}\n"),
        2 => format!("  wasm/mine:\n    config:   # rules\n      {flow}\n    component: \"a.wasm\"  # end\n"),
        3 => "  wasm/mine:\n    component: a.wasm   # no config\n".to_owned(),
        4 => "  wasm/mine:\n    component: a.wasm\n    config:\n    limits: {deadline: 9ms}\n".to_owned(),
        _ => "  wasm/mine:\n    config:\n      a:\n      - b\n      - c: |\n          text\n          more\n      d: 'x'   # old\n    # between\n    component: a.wasm\n".to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_read_and_nothing_else_changes(style in 0_usize..6, old in map(), new in map(), as_text in any::<bool>(), crlf in any::<bool>()) {
        let text = format!("{BEFORE}{}{}", block(style, &old), AFTER.replace("STAGE", "wasm/mine"));
        let text = if crlf { text.replace('\n', "\r\n") } else { text };
        let files = Files::new(&[("config.yaml", &text)]);
        let stage = Stage { config: new.to_string(), ..files.stage("wasm/mine") };
        // Only values are looked at for references, so an author would have to escape them alone.
        let written = Some(new.to_string()).filter(|text| as_text && !text.contains('$'));
        files.rewrite(&stage, written.as_deref()).unwrap_or_else(|error| panic!("{error}\n{text}\n{new}"));
        let now = files.text("config.yaml");
        prop_assert_eq!(super::json(&files.stage("wasm/mine").config), new, "{}", now);
        prop_assert_eq!(files.stage("wasm/mine").limits, stage.limits);
        let (before, after) = (BEFORE, AFTER.replace("STAGE", "wasm/mine"));
        let (before, after) = if crlf { (before.replace('\n', "\r\n"), after.replace('\n', "\r\n")) } else { (before.to_owned(), after) };
        prop_assert!(now.starts_with(&before) && now.ends_with(&after), "{now}");
        for comment in ["# end", "# within", "# between", "# rules", "# no config"] {
            prop_assert_eq!(now.contains(comment), text.contains(comment), "{}\n{}", comment, now);
        }
    }
}
