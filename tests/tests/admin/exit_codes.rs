//! Exit codes are a promise to scripts: one test for each, through the real program. 4 is kept for a verb that runs tests, which there is
//! none of yet.

use serde_json::json;
use sluicebox_tests::command::run;
use sluicebox_tests::config::drop_spans_json;
use sluicebox_tests::engine::{Addresses, Engine};

use crate::support::{STAGE, change, engine, generation, hanging_swap};

fn rules(engine: &Engine, name: &str, condition: &str) -> String {
    let file = engine.directory().join(name);
    std::fs::write(&file, drop_spans_json(condition)).unwrap();
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn done_is_0() {
    let engine = engine().await;
    let good = rules(&engine, "good.json", "name == \"x\"");
    let verbs = [
        &["swap", STAGE, "--config", &good][..],
        &["rollback", STAGE],
        &["generations"],
        &["reload"],
        &["operations"],
        &["operations", "1"],
    ];
    for verb in verbs {
        let done = engine.command(verb).await.unwrap();
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{verb:?}");
        assert!(!done.stdout.is_empty(), "{verb:?}");
    }
    let watched = engine.command(&["operations", "1", "--watch"]).await.unwrap();
    assert_eq!(watched.code, Some(0), "{watched:?}");
    assert!(
        watched.stdout.starts_with("  build\n  probe\n  commit\n  drain\n1  swap of filter/health  succeeded"),
        "{watched:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_failed_is_1() {
    let engine = engine().await;
    for verb in [&["swap", STAGE, "absent.wasm"][..], &["generations", "nobody"], &["operations", "7"]] {
        let done = engine.command(verb).await.unwrap();
        assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{verb:?}: {done:?}");
        assert!(done.stderr.starts_with("error"), "{verb:?}: {done:?}");
    }
    let swapped = change(&engine, "POST", "/v1/swap?wait=true", &json!({ "stage": STAGE })).await;
    assert_eq!(swapped.status, 200);
    let late = engine.command(&["operations", "1", "--cancel"]).await.unwrap();
    assert_eq!(late.code, Some(1), "it had ended: {late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_call_is_2() {
    let directory = tempfile::tempdir().unwrap();
    let calls = [
        &["operations", "one"][..],
        &["operations", "--watch"],
        &["operations", "1", "--watch", "--cancel"],
        &["drain", "now"],
        &["generations", "--admin", "10.0.0.1:13131"],
        &["generations", "--admin", "unix:"],
    ];
    for call in calls {
        let done = run(directory.path(), call).await.unwrap();
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{call:?}: {done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_valid_is_3() {
    let engine = engine().await;
    let text = std::fs::read_to_string(engine.config_file()).unwrap();
    std::fs::write(engine.config_file(), text.replace("processors:", "procesors:")).unwrap();
    let done = engine.command(&["reload"]).await.unwrap();
    assert_eq!((done.code, done.stdout.as_str()), (Some(3), ""), "{done:?}");
    assert!(done.stderr.contains("error[E0201]") && done.stderr.contains("procesors"), "{done:?}");
    let rules = engine.directory().join("broken.yaml");
    std::fs::write(&rules, "traces: [").unwrap();
    let done = engine.command(&["swap", STAGE, "--config", rules.to_str().unwrap()]).await.unwrap();
    assert_eq!(done.code, Some(3), "{done:?}");
    assert_eq!(generation(&engine, STAGE).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_not_there_is_5() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = Addresses::free().unwrap().admin.to_string();
    let absent = format!("unix:{}", directory.path().join("absent.sock").display());
    for admin in [&nobody, &absent] {
        for verb in
            [&["generations"][..], &["rollback", STAGE], &["operations"], &["operations", "1", "--watch"], &["drain"]]
        {
            let done = run(directory.path(), &[verb, &["--admin", admin]].concat()).await.unwrap();
            assert_eq!((done.code, done.stdout.as_str()), (Some(5), ""), "{verb:?}: {done:?}");
            assert!(done.stderr.starts_with("error[E0506]") && done.stderr.contains(admin.as_str()), "{done:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_or_cancelled_is_6_and_what_served_serves() {
    let engine = engine().await;
    let bad = rules(&engine, "bad.json", "name === 1");
    let refused = engine.command(&["swap", STAGE, "--config", &bad]).await.unwrap();
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(6), ""), "{refused:?}");
    assert!(refused.stderr.contains("step configure; generation 1 is still serving"), "{refused:?}");
    let back = engine.command(&["rollback", STAGE]).await.unwrap();
    assert_eq!(back.code, Some(6), "there is nothing to return to: {back:?}");
    let id = hanging_swap(&engine, STAGE).await.to_string();
    let conflict =
        engine.command(&["swap", STAGE, "--config", &rules(&engine, "good.json", "name == \"x\"")]).await.unwrap();
    assert_eq!(conflict.code, Some(6), "{conflict:?}");
    assert!(
        conflict.stderr.starts_with("error[E0526]: operation ") && conflict.stderr.contains("help:"),
        "{conflict:?}"
    );
    let cancelled = engine.command(&["operations", &id, "--cancel"]).await.unwrap();
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    assert!(cancelled.stdout.contains("cancelled  by api"), "{cancelled:?}");
    let watched = engine.command(&["operations", &id, "--watch"]).await.unwrap();
    assert_eq!(watched.code, Some(6), "{watched:?}");
    assert!(watched.stderr.contains("was cancelled; what served before serves"), "{watched:?}");
    assert_eq!(generation(&engine, STAGE).await, 1);
}
