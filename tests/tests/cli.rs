//! The command line as scripts and people meet it: exit codes are a promise, texts are in tests/cases/cli.

use std::net::TcpListener;
use std::path::Path;

use sluicebox_tests::command::{Done, guest, run};
use sluicebox_tests::config::{Config, drop_spans};
use sluicebox_tests::engine::{Addresses, Engine, workspace};
use sluicebox_tests::generate::EARLY_RULE;
use sluicebox_tests::golden::golden;

fn config(condition: &str) -> String {
    let nobody = Addresses::free().unwrap().grpc;
    Config::new()
        .processor_of(sluicebox::signal::Signal::Traces, "filter/health", &drop_spans(condition))
        .sink(nobody, "")
        .text()
}

/// Writes a config with free addresses; its file name.
fn write(directory: &Path, text: &str) -> String {
    let file = directory.join("sluicebox.yaml");
    std::fs::write(&file, Addresses::free().unwrap().fill(text)).unwrap();
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn help_of_each_verb() {
    let directory = tempfile::tempdir().unwrap();
    let done = run(directory.path(), &["--help"]).await.unwrap();
    assert_eq!(done.code, Some(0));
    golden("help", &done.stdout);
    for verb in [
        "run",
        "validate",
        "components",
        "inspect",
        "status",
        "top",
        "limits",
        "graph",
        "swap",
        "shadow",
        "tap",
        "try",
        "rollback",
        "generations",
        "pause",
        "resume",
        "reload",
        "operations",
        "drain",
        "why",
        "demo",
        "completions",
    ] {
        assert!(done.stdout.contains(&format!("\n  {verb}")), "{verb} is in the list");
        let done = run(directory.path(), &[verb, "--help"]).await.unwrap();
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{verb}");
        assert!(done.stdout.contains("sluicebox ") && done.stdout.contains("Example"), "{verb} has an example");
        golden(&format!("help-{verb}"), &done.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_call_is_2_and_says_what_is_right() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["validat"], &["run"], &["--confg", "x"], &["swap"]] {
        let done = run(directory.path(), arguments).await.unwrap();
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(done.stderr.contains("Usage: sluicebox"), "{arguments:?}: {}", done.stderr);
    }
}

/// benthos#187: what `validate` accepts starts, what it refuses does not, and both say the same.
#[tokio::test(flavor = "multi_thread")]
async fn validate_equals_run() {
    let directory = tempfile::tempdir().unwrap();
    let good = write(directory.path(), &config(EARLY_RULE));
    let done = run(directory.path(), &["validate", "--config", &good]).await.unwrap();
    assert_eq!(done.code, Some(0), "{done:?}");
    Engine::start(&config(EARLY_RULE)).await.unwrap();

    let unknown_key = config(EARLY_RULE).replace("compression: none", "compresion: none");
    let unknown_exporter = config(EARLY_RULE).replace("exporters: [otlp/sink]", "exporters: [otlp/snik]");
    let bad_rule = config("attributes[\"x\"] === 1");
    let no_yaml = "receivers: [".to_owned();
    for (text, said) in
        [(unknown_key, "compresion"), (unknown_exporter, "otlp/snik"), (bad_rule, "==="), (no_yaml, "sluicebox.yaml")]
    {
        let bad = write(directory.path(), &text);
        let validated = run(directory.path(), &["validate", "--config", &bad]).await.unwrap();
        assert_eq!(validated.code, Some(3), "{said}: {validated:?}");
        let told = format!("{}{}", validated.stdout, validated.stderr);
        assert!(told.contains(said) && told.contains("error["), "{said}: {told}");
        for arguments in [&["--config", &bad][..], &["run", "--config", &bad]] {
            let started = run(directory.path(), arguments).await.unwrap();
            assert_eq!((started.code, started.stdout.as_str()), (Some(3), ""), "{said}: {started:?}");
            assert!(started.stderr.contains(said) && started.stderr.contains("error["), "{}", started.stderr);
        }
    }
    let done = run(directory.path(), &["validate", "--config", "absent.yaml"]).await.unwrap();
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(format!("{}{}", done.stdout, done.stderr).contains("absent.yaml"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_1_and_named() {
    let directory = tempfile::tempdir().unwrap();
    for place in ["$GRPC", "$HTTP", "$METRICS"] {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let file = write(directory.path(), &config(EARLY_RULE).replace(place, &address));
        let done = run(directory.path(), &["run", "--config", &file]).await.unwrap();
        assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{place}: {done:?}");
        for part in ["error[E0502]", &address, "help:"] {
            assert!(done.stderr.contains(part), "{place} should say {part:?}: {}", done.stderr);
        }
        if place != "$METRICS" {
            assert!(done.stderr.contains(&std::process::id().to_string()), "who holds it: {}", done.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_engine_is_5() {
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("rules.json");
    std::fs::write(&rules, "{}").unwrap();
    let nobody = Addresses::free().unwrap().admin.to_string();
    let arguments = ["swap", "filter/health", "--config", rules.to_str().unwrap(), "--admin", &nobody];
    // No engine has ever run here, so there is no token either.
    let done = run(directory.path(), &arguments).await.unwrap();
    assert_eq!((done.code, done.stdout.as_str()), (Some(5), ""), "{done:?}");
    assert!(done.stderr.contains(&nobody), "{}", done.stderr);

    let mut engine = Engine::start(&config(EARLY_RULE)).await.unwrap();
    assert!(engine.process.stop().unwrap().success());
    let done = engine.command(&arguments[..4]).await.unwrap();
    assert_eq!((done.code, done.stdout.as_str()), (Some(5), ""), "{done:?}");
    assert!(done.stderr.contains(&engine.addresses.admin.to_string()), "{}", done.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_of_nothing_or_of_what_cannot_be_read_is_1() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["swap", "filter/x"][..], &["swap", "filter/x", "absent.wasm"]] {
        let done = run(directory.path(), arguments).await.unwrap();
        assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{done:?}");
        assert!(done.stderr.starts_with("error"), "{done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inspect_shows_what_a_component_may_do() {
    let directory = tempfile::tempdir().unwrap();
    let Done { code, stdout, .. } = run(directory.path(), &["inspect", "filter"]).await.unwrap();
    assert_eq!(code, Some(0));
    for part in ["digest     sha256:", "role       ", "\n  dropping\n", "\non fault   pass, "] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let file = guest("misbehaving").unwrap();
    let done = run(directory.path(), &["inspect", &file, "--output", "json"]).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(json["bytes"], std::fs::metadata(&file).unwrap().len());
    assert_eq!(json["digest"].as_str().map(str::len), Some(64));
    let policy = run(directory.path(), &["inspect", &guest("misbehaving-policy").unwrap()]).await.unwrap();
    for part in
        ["\nrole       policy\n", "\n  traces\n", "\n  host-state\n", "\non fault   fallback: the sampler decides"]
    {
        assert!(policy.stdout.contains(part), "{part}: {}", policy.stdout);
    }

    let text = directory.path().join("text.wasm");
    std::fs::write(&text, "a text").unwrap();
    for wrong in [text.to_str().unwrap(), "absent.wasm"] {
        let done = run(directory.path(), &["inspect", wrong]).await.unwrap();
        assert_eq!((done.code, done.stdout.as_str()), (Some(3), ""), "{done:?}");
        assert!(done.stderr.contains(wrong), "{}", done.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn components_lists_what_this_build_has() {
    let directory = tempfile::tempdir().unwrap();
    let done = run(directory.path(), &["components"]).await.unwrap();
    assert_eq!(done.code, Some(0));
    golden("components", &done.stdout);
}

/// Files with tail sampling that users bring along, and the one to start from: `validate` configures their policies, too.
#[tokio::test(flavor = "multi_thread")]
async fn files_with_tail_sampling_are_valid() {
    let directory = tempfile::tempdir().unwrap();
    for file in [
        "tests/cases/config/collector-tail-sampling-basics/config.yaml",
        "tests/cases/config/collector-production-template-tail/config.yaml",
        "tests/cases/config/collector-quick-reference-tail/config.yaml",
        "examples/tail-sampling/sluicebox.yaml",
        "examples/lookup/sluicebox.yaml",
    ] {
        let path = workspace().join(file).display().to_string();
        let done = run(directory.path(), &["validate", "--config", &path]).await.unwrap();
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{file}: {done:?}");
        assert!(done.stdout.starts_with(&format!("{path}: valid: ")), "{file}: {}", done.stdout);
    }
}

/// Each mistake in policies is told at its line, whoever finds it.
#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_policies_are_told_at_their_lines() {
    let directory = tempfile::tempdir().unwrap();
    let filter = guest("drop-health-checks").unwrap();
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"$GRPC\"}}}}}}}}\n\
         processors:\n  tail_sampling:\n    decision_wait: 1s\n    policies:\n\
         \x20     - {{name: slow, latency: {{treshold_ms: 5}}}}\n\
         \x20     - {{name: filter, component: {filter}}}\n\
         \x20     - {{name: all, type: always_sampl}}\n\
         \x20 wasm/policy: {{component: {}}}\n\
         exporters: {{debug: }}\n\
         service: {{pipelines: {{traces: {{receivers: [otlp], processors: [wasm/policy, tail_sampling], exporters: [debug]}}}}}}\n",
        guest("tail-sampling").unwrap(),
    );
    let file = write(directory.path(), &text);
    let done = run(directory.path(), &["validate", "--config", &file, "--output", "json"]).await.unwrap();
    assert_eq!(done.code, Some(3), "{done:?}");
    let report: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let problems = report["problems"].as_array().unwrap();
    // The admin address stands in a line before the text.
    let told: Vec<_> = problems.iter().map(|problem| (problem["line"].as_u64(), problem["message"].as_str())).collect();
    let expected = [
        (Some(6), Some("processor \"tail_sampling\" refuses its configuration")),
        (Some(8), Some("policy \"tail_sampling:filter\" cannot be loaded")),
        (Some(9), Some("processor \"tail_sampling:policies-2\" refuses its configuration")),
        (Some(10), Some("processor \"wasm/policy\" cannot be loaded")),
    ];
    assert_eq!(told, expected, "{}", done.stdout);
    let said =
        |problem: usize, what: &str| problems[problem]["detail"].as_str().is_some_and(|detail| detail.contains(what));
    assert!(said(0, "threshold_ms") && said(2, "always_sample"), "{}", done.stdout);
    assert!(said(1, "processor") && said(3, "policy"), "{}", done.stdout);
}

/// What is started without a terminal writes no colours and asks nothing; what people need to know is in a few lines.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_says_what_it_promises() {
    let mut engine = Engine::start(&config(EARLY_RULE)).await.unwrap();
    assert!(engine.process.stop().unwrap().success());
    let stderr = engine.process.stderr();
    for part in [
        engine.addresses.grpc.to_string(),
        engine.addresses.http.to_string(),
        engine.addresses.metrics.to_string(),
        engine.addresses.admin.to_string(),
        "acknowledged".to_owned(),
        "byte budget".to_owned(),
        "stage filter/health".to_owned(),
    ] {
        assert!(stderr.contains(&part), "{part}: {stderr}");
    }
    assert!(!stderr.contains('\u{1b}') && stderr.lines().count() < 15, "{stderr}");
}

/// What tail samplers may hold stands in a line for each, and in `/v1/status`.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_tells_what_tail_samplers_may_hold() {
    let policies = "decision_wait: 2s, memory_mib: 64, num_shards: 1, policies: [{name: all, type: always_sample}]";
    let nobody = Addresses::free().unwrap().grpc;
    let config =
        Config::new().processor_of(sluicebox::signal::Signal::Traces, "tail_sampling/a", policies).sink(nobody, "");
    let mut engine = Engine::start(&config.text()).await.unwrap();
    let unknown = "f".repeat(32);
    let done = engine.command(&["why", &unknown]).await.unwrap();
    assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{done:?}");
    assert!(engine.process.stop().unwrap().success());
    let stderr = engine.process.stderr();
    let line = stderr.lines().find(|line| line.starts_with("  sampler tail_sampling/a")).unwrap_or_default();
    assert!(line.contains("decides after 2s; holds up to 50000 traces and 64 MiB in 1 shard, "), "{stderr}");
}

/// What all parts may take together stands in one line; what is set aside and cannot fit, in another.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_tells_the_sum_of_maxima() {
    let nobody = Addresses::free().unwrap().grpc;
    let started = async |tail_mib: u64| {
        let traces = sluicebox::signal::Signal::Traces;
        let policies = format!(
            "decision_wait: 2s, memory_mib: {tail_mib}, num_shards: 1, num_traces: 100, policies: [{{name: all, type: always_sample}}]"
        );
        let config = Config::new()
            .processor("memory_limiter", "check_interval: 1s, limit_mib: 400, spike_limit_mib: 1")
            .processor_of(traces, "filter/health", &drop_spans(EARLY_RULE))
            .processor_of(traces, "tail_sampling/a", &policies)
            .sink(nobody, "");
        let mut engine = Engine::start_with(&config.text(), &["--workers", "2"]).await.unwrap();
        assert!(engine.process.stop().unwrap().success());
        let stderr = engine.process.stderr();
        let line = |what: &str| stderr.lines().find(|line| line.starts_with(what)).map(|line| format!("{line}\n"));
        (line("  sum of maxima").unwrap_or_default(), line("  warning"))
    };
    let (sum, warning) = started(100).await;
    golden("sum-of-maxima", &sum);
    assert_eq!(warning, None);
    let (_, warning) = started(350).await;
    let warning = warning.expect("350 MiB and a quarter of 399 do not fit");
    for part in ["set aside", "399", "350 for tail samplers", "memory_mib", "memory_limiter"] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
}
