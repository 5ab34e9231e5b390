//! The verbs that show, as scripts and people meet them.

use serde_json::Value;
use sluicebox::signal::Signal;
use sluicebox_tests::command::run;
use sluicebox_tests::config::{Config, drop_spans};
use sluicebox_tests::engine::{Addresses, Engine};
use sluicebox_tests::generate::EARLY_RULE;

use crate::lab::sink;

const LIVE: [&[&str]; 9] = [
    &["status"],
    &["limits"],
    &["graph"],
    &["generations"],
    &["operations"],
    &["reload"],
    &["pause", "filter/health"],
    &["resume", "filter/health"],
    &["rollback", "filter/health"],
];

#[tokio::test(flavor = "multi_thread")]
async fn every_live_verb_prints_json_for_programs() {
    let sink = sink().await;
    let config =
        Config::new().processor_of(Signal::Traces, "filter/health", &drop_spans(EARLY_RULE)).sink(sink.address, "");
    let engine = Engine::start(&config.text()).await.unwrap();
    let rules = engine.directory().join("rules.json");
    std::fs::write(&rules, sluicebox_tests::config::drop_spans_json("name == \"x\"")).unwrap();
    let swap = ["swap", "filter/health", "--config", rules.to_str().unwrap()];
    for arguments in std::iter::once(&swap[..]).chain(LIVE) {
        let json = [arguments, &["--output", "json"]].concat();
        let done = engine.command(&json).await.unwrap();
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{json:?}");
        let answer: Value =
            serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{json:?}: {error}: {}", done.stdout));
        assert!(answer.is_object(), "{json:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_engine_every_live_verb_is_5() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = Addresses::free().unwrap().admin.to_string();
    for arguments in LIVE {
        let done = run(directory.path(), &[arguments, &["--admin", &nobody]].concat()).await.unwrap();
        assert_eq!((done.code, done.stdout.as_str()), (Some(5), ""), "{arguments:?}: {done:?}");
        assert!(done.stderr.contains("E0506"), "{arguments:?}: {}", done.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_a_page_for_people() {
    let sink = sink().await;
    let config =
        Config::new().processor_of(Signal::Traces, "filter/health", &drop_spans(EARLY_RULE)).sink(sink.address, "");
    let engine = Engine::start(&config.text()).await.unwrap();
    let done = engine.command(&["status"]).await.unwrap();
    for part in [
        "sluicebox 0.",
        ", serving, ready, up ",
        "\nmemory ",
        "\ndata access off\n",
        "\npipelines, in the last ",
        "filter/health  ok",
    ] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
    assert!(!done.stdout.contains('\u{1b}'));
    let status: Value =
        serde_json::from_str(&engine.command(&["status", "--output", "json"]).await.unwrap().stdout).unwrap();
    assert_eq!(
        (&status["ready"], &status["phase"], &status["data_access"]),
        (&true.into(), &"serving".into(), &"off".into())
    );
    assert_eq!(status["pipelines"].as_array().unwrap().len(), 3);
    assert_eq!(
        (&status["paused"], &status["drifted"], &status["operations"]),
        (&Value::from(Vec::<Value>::new()), &Value::from(Vec::<Value>::new()), &Value::from(Vec::<Value>::new()))
    );
    assert!(status["memory"]["limit_bytes"].as_u64() > status["memory"]["used_bytes"].as_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn top_needs_a_terminal_and_says_what_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let done = run(directory.path(), &["top"]).await.unwrap();
    assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{done:?}");
    assert!(
        done.stderr.starts_with("error[E0534]: ") && done.stderr.contains("sluicebox status --output json"),
        "{}",
        done.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_can_complete_every_verb() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let done = run(directory.path(), &["completions", shell]).await.unwrap();
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{shell}");
        for verb in ["status", "rollback", "completions"] {
            assert!(done.stdout.contains(verb), "{shell}: {verb}");
        }
    }
    let done = run(directory.path(), &["completions", "tcsh"]).await.unwrap();
    assert_eq!(done.code, Some(2), "{done:?}");
}
