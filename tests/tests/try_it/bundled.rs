//! Each bundled processor with a case of its own, and what comes of a case that expects something else.

use std::path::PathBuf;

use serde_json::{Value, json};
use sluicebox_tests::command::run;
use sluicebox_tests::engine::workspace;

use crate::lab::{printed, write};

fn folder() -> PathBuf {
    workspace().join("tests/cases/try")
}

/// Types of processors that are components.
fn bundled() -> Vec<String> {
    let processors = sluicebox::config::supported_components().find(|(section, _)| *section == "processors");
    let own = ["batch", "memory_limiter", "wasm"];
    processors.unwrap().1.iter().filter(|kind| !own.contains(kind)).map(|kind| (*kind).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bundled_processor_does_what_its_case_expects() {
    let directory = tempfile::tempdir().unwrap();
    for kind in bundled() {
        let folder = folder().join(&kind);
        let file = |name: &str| folder.join(name).display().to_string();
        let (config, case) = (file("config.yaml"), file("case.json"));
        let done = run(&folder, &["try", &kind, "--config", &config, "--input", &case]).await.unwrap();
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{kind}: {}", done.stdout);
        assert!(done.stdout.contains("as the case expects"), "{kind}: {}", done.stdout);

        // The same case that expects what came in.
        let mut wrong: Value = serde_json::from_str(&std::fs::read_to_string(&case).unwrap()).unwrap();
        wrong["expected"] = wrong["input"].clone();
        let wrong = write(directory.path(), "wrong.json", &wrong.to_string());
        let arguments = ["try", &kind, "--config", &config, "--input", &wrong, "--output", "json"];
        let done = run(&folder, &arguments).await.unwrap();
        assert_eq!(done.code, Some(4), "{kind}: {done:?}");
        assert_ne!(printed(&done)["mismatches"], json!([]), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_is_a_case_that_holds_and_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let folder = folder().join("redaction");
    let file = |name: &str| folder.join(name).display().to_string();
    let case: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("case.json")).unwrap()).unwrap();
    let input = write(directory.path(), "input.json", &case["input"].to_string());
    let saved = directory.path().join("saved.json").display().to_string();
    let config = file("config.yaml");
    let arguments = ["try", "redaction", "--config", &config, "--input", &input, "--save", &saved];
    let done = run(directory.path(), &arguments).await.unwrap();
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    assert_eq!(std::fs::metadata(&saved).unwrap().permissions().mode() & 0o777, 0o600);
    let again = run(directory.path(), &arguments).await.unwrap();
    assert_eq!(again.code, Some(1), "what is there is not replaced");
    assert!(again.stderr.contains("is there already") && again.stderr.contains("--force"), "{}", again.stderr);
    let forced = run(directory.path(), &[&arguments[..], &["--force"]].concat()).await.unwrap();
    assert_eq!(forced.code, Some(0));
    let held = run(directory.path(), &["try", "redaction", "--config", &config, "--input", &saved]).await.unwrap();
    assert_eq!(held.code, Some(0), "{held:?}");
    assert!(held.stdout.contains("as the case expects"), "{}", held.stdout);
    let text: Value = serde_json::from_str(&std::fs::read_to_string(&saved).unwrap()).unwrap();
    assert_eq!(
        (&text["sluicebox_case"], &text["stage"], &text["signal"]),
        (&json!(1), &json!("redaction"), &json!("logs"))
    );
    assert_ne!(text["expected"], text["input"]);
}
