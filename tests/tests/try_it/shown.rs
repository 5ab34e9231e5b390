//! What people see.

use sluicebox_tests::command::run;
use sluicebox_tests::engine::workspace;
use sluicebox_tests::golden::golden;

use crate::lab::write;

const LOGS: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}}]},
"scopeLogs":[{"logRecords":[
  {"body":{"stringValue":"paid with 4111111111111111"},"attributes":[{"key":"card","value":{"stringValue":"4111111111111111"}}]},
  {"body":{"stringValue":"\u001b[2Jcleared \u202e"},"attributes":[{"key":"card","value":{"stringValue":"4111111111111111"}}]},
  {"body":{"stringValue":"nothing here"}}
]}]}]}"#;

/// Digests, times and memory differ from build to build and from run to run.
fn steady(text: &str) -> String {
    let steady = |line: &str| match line.split_once("(sha256:") {
        Some((name, rest)) => format!("{name}(sha256:...{}", rest.split_at(12).1),
        None if line.starts_with("  cost:") => "  cost: ...".to_owned(),
        None => line.to_owned(),
    };
    text.lines().map(|line| steady(line) + "\n").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_of_a_redactor() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (input, config) = (write(at, "input.json", LOGS), workspace().join("tests/cases/try/redaction/config.yaml"));
    let config = config.display().to_string();
    let arguments = ["try", "redaction", "--config", &config, "--input", &input];
    let done = run(at, &arguments).await.unwrap();
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    // Not a terminal: no colours, and nothing of the telemetry steers one.
    assert!(done.stdout.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", done.stdout);
    golden("try-redaction", &steady(&done.stdout));
    let both = run(at, &[&arguments[..], &["--show", "both"]].concat()).await.unwrap();
    let out = run(at, &[&arguments[..], &["--show", "out"]].concat()).await.unwrap();
    assert_eq!(steady(&both.stdout), steady(&done.stdout) + &out.stdout);
    let request: serde_json::Value = serde_json::from_str(&out.stdout).unwrap();
    assert!(!request.to_string().contains("4111"), "{request}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_help() {
    let directory = tempfile::tempdir().unwrap();
    let done = run(directory.path(), &["try", "--help"]).await.unwrap();
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    golden("help-try", &done.stdout);
}

/// A terminal shows colours, unless the user does not want any (no-color.org).
#[test]
fn colours_are_for_terminals_that_want_them() {
    let directory = tempfile::tempdir().unwrap();
    let input = write(directory.path(), "input.json", LOGS);
    let config = workspace().join("tests/cases/try/redaction/config.yaml");
    let binary = sluicebox_tests::engine::binary().unwrap();
    // A terminal made by the script of util-linux.
    let shown = |no_color: &str| {
        let line = format!("{} try redaction --config {} --input {input}", binary.display(), config.display());
        let mut command = std::process::Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("NO_COLOR", no_color);
        command.envs(sluicebox_tests::engine::environment(directory.path()));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (colored, plain) = (shown(""), shown("1"));
    assert!(colored.contains("\u{1b}[31m") && colored.contains("\u{1b}[32m"), "{colored:?}");
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    assert!(plain.contains("- log."), "{plain:?}");
}
