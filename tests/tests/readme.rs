//! What README.md shows is true: its commands run, its code compiles, its messages are printed.

use std::fs;
use std::process::{Command, Output};

use sluicebox_tests::engine::{Engine, binary, workspace};
use sluicebox_tests::sink::{Behaviour, Sink};

/// Blocks of one language, without their fences.
fn blocks(language: &str) -> Vec<String> {
    let text = fs::read_to_string(workspace().join("README.md")).expect("README.md");
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

/// The `yaml` block that holds a text.
fn processors(with: &str) -> String {
    blocks("yaml").into_iter().find(|block| block.contains(with)).expect("a block of README.md")
}

/// The commands of all `sh` blocks that begin with the binary, without their comments.
fn commands() -> Vec<Vec<String>> {
    let lines: Vec<_> = blocks("sh").concat().lines().map(str::to_owned).collect();
    let arguments = |line: &String| {
        let line = line.split('#').next()?.trim().strip_prefix("target/release/sluicebox ")?.to_owned();
        Some(line.split_whitespace().map(str::to_owned).collect())
    };
    lines.iter().filter_map(arguments).collect()
}

fn run(arguments: &[String]) -> Output {
    Command::new(binary().expect("built")).args(arguments).current_dir(workspace()).output().expect("runs")
}

#[test]
fn what_it_validates_is_valid() {
    let commands: Vec<_> = commands().into_iter().filter(|arguments| arguments[0] == "validate").collect();
    assert_eq!(commands.len(), 1);
    let output = run(&commands[0]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_error_it_shows_is_what_is_printed() {
    let shown = &blocks("text")[0];
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("config.yaml");
    let text = "receivers:\n  otlp: {protocols: {grpc: }}\nprocessors:\n  batch:\n\nexporters:\n  otlp: {endpoint: http://127.0.0.1:1}\nservice:\n  pipelines:\n    traces: {receivers: [otlp], processors: [bach], exporters: [otlp]}\n";
    fs::write(&file, text).expect("written");
    let name = file.display().to_string();
    let output = run(&["validate".to_owned(), "--config".to_owned(), name.clone()]);
    let printed = String::from_utf8(output.stdout).expect("UTF-8").replace(&name, "config.yaml");
    assert!(printed.contains(shown.as_str()), "README.md shows\n{shown}\nbut this is printed\n{printed}");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn the_component_it_shows_is_the_one_in_examples() {
    let shown = &blocks("rust")[0];
    let example = fs::read_to_string(workspace().join("examples/rust-filter/src/lib.rs")).expect("the example");
    assert!(example.contains(shown.as_str()), "README.md and examples/rust-filter differ");
}

/// Rules in a file of their own and a key, with the files that they name.
#[test]
fn the_files_it_shows_are_read() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = |path: &str| folder.path().join(path);
    let shown = processors("${file:").replace("/run/secrets/pii", "pii.key");
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: }}}}}}\n{shown}exporters: {{debug: }}\n\
         service: {{pipelines: {{traces: {{receivers: [otlp], processors: [redaction, attributes/users], exporters: [debug]}}}}}}\n"
    );
    fs::create_dir(at("policy")).expect("made");
    for (file, text) in [
        ("config.yaml", text.as_str()),
        ("policy/redaction.yaml", "allow_all_keys: true\n"),
        ("pii.key", "0123456789abcdef\n"),
    ] {
        fs::write(at(file), text).expect("written");
    }
    let loaded = sluicebox::config::load(&at("config.yaml")).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.report.problems(), []);
    let [redaction, users] = loaded.config.stages.as_slice() else { panic!("two stages") };
    assert_eq!(redaction.config, r#"{"allow_all_keys":true}"#);
    assert_eq!(users.keys[0].0, "pii");
    assert!(users.config.contains("user.email") && !users.config.contains("keys"), "{}", users.config);
}

/// Grants and a table, with the file that it names.
#[test]
fn the_table_it_shows_is_read() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let shown = processors("wasm/owners");
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: }}}}}}\n{shown}exporters: {{debug: }}\n\
         service: {{pipelines: {{traces: {{receivers: [otlp], processors: [wasm/owners], exporters: [debug]}}}}}}\n"
    );
    fs::write(folder.path().join("config.yaml"), text).expect("written");
    fs::copy(workspace().join("examples/lookup/owners.csv"), folder.path().join("owners.csv")).expect("copied");
    let loaded =
        sluicebox::config::load(&folder.path().join("config.yaml")).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.report.problems(), []);
    let [stage] = loaded.config.stages.as_slice() else { panic!("one stage") };
    assert_eq!((stage.tables[0].0.as_str(), stage.tables[0].1.rows()), ("owners", 3));
    assert_eq!(format!("{:?}", stage.grants), r#"{"log", "metrics", "lookup"}"#);
}

/// The start of what `sluicebox why` prints of a kept trace, less the trace's own line and the lines after it.
#[test]
fn what_it_shows_of_a_trace_is_what_is_printed() {
    let shown = &blocks("text")[1];
    let printed = fs::read_to_string(workspace().join("tests/cases/cli/why-kept.txt")).expect("the golden");
    assert!(printed.contains(shown.as_str()), "README.md shows\n{shown}\nbut this is printed\n{printed}");
}

/// Every swap as printed, from a folder that holds the files they name; the stage is configured as the `yaml` block says.
#[tokio::test(flavor = "multi_thread")]
async fn the_swaps_it_shows_swap() {
    let sink = Sink::start(Behaviour::default()).await.expect("sink");
    let component = workspace().join("target/guests/drop-health-checks.wasm");
    let sampler = processors("tail_sampling").replace("processors:\n", "");
    let mine = processors("wasm/mine").replace("./mine.wasm", &component.display().to_string());
    let config = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"$GRPC\"}}}}}}}}\n{mine}\n{sampler}\n  filter/health: {{traces: {{span: ['name == \"y\"']}}}}\n\
         exporters: {{otlp: {{endpoint: {}, tls: {{insecure: true}}}}}}\n\
         service:\n  {}\n  pipelines: {{traces: {{receivers: [otlp], processors: [wasm/mine, filter/health, tail_sampling], exporters: [otlp]}}}}\n",
        sink.address,
        sluicebox_tests::engine::TELEMETRY,
    );
    let engine = Engine::start(&config).await.expect("starts");
    let file = engine.config_file();
    let folder = file.parent().expect("a folder");
    fs::copy(&component, folder.join("mine.wasm")).expect("run `make guests` first");
    fs::write(folder.join("new-rules.yaml"), "traces: {span: ['name == \"x\"']}\n").expect("written");
    fs::create_dir_all(folder.join("examples/tail-sampling")).expect("made");
    let incident = "examples/tail-sampling/incident.yaml";
    fs::copy(workspace().join(incident), folder.join(incident)).expect("copied");
    let swaps: Vec<_> = commands().into_iter().filter(|arguments| arguments[0] == "swap").collect();
    assert_eq!(swaps.len(), 3);
    for swap in swaps {
        let arguments: Vec<&str> = swap.iter().map(String::as_str).collect();
        let done = engine.command(&arguments).await.expect("runs");
        assert_eq!(done.code, Some(0), "{swap:?}: {done:?}");
        assert!(done.stdout.starts_with(&format!("{}: generation 1 sha256:", swap[1])), "{}", done.stdout);
    }
    for (verb, printed) in [("generations", "filter/health\n"), ("rollback", "filter/health: generation 2 sha256:")] {
        let shown = commands().into_iter().find(|arguments| arguments[0] == verb).expect("it is shown");
        let arguments: Vec<&str> = shown.iter().map(String::as_str).collect();
        let done = engine.command(&arguments).await.expect("runs");
        assert!(done.code == Some(0) && done.stdout.starts_with(printed), "{shown:?}: {done:?}");
    }
}
