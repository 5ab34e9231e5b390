//! The verb `tap`: what people and programs see, what is saved, what is written down.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use sluicebox_tests::command::{Done, run};
use sluicebox_tests::engine::{Engine, get};

use crate::support::{EDITOR, FILTER, filter_and_editor, keeping, send, spans, start};

const SECRET: &str = "hush-0123456789";

/// Runs `tap` while spans keep coming.
async fn tap(engine: &Engine, arguments: &[&str]) -> Done {
    let arguments = [&["tap"], arguments].concat();
    let command = engine.command(&arguments);
    let keeps_sending = async {
        loop {
            let body = spans([
                ("stays", &[("note", SECRET)][..]),
                ("leaves", &[("note", SECRET), ("drop", "yes")][..]),
                ("changes", &[("note", SECRET), ("edit", "raw")][..]),
            ]);
            send(engine, body).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        done = command => done.unwrap(),
        () = keeps_sending => unreachable!("it never ends"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_programs_see_the_same() {
    let sink = keeping().await;
    let engine = start(&filter_and_editor(sink.address), "full").await;
    let done = tap(&engine, &[FILTER, "--only", "dropped", "--limit", "2"]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for part in [
        "tapping filter/drops (diff) in traces",
        "#1 traces dropped by traces.span[0], generation 1",
        "  span \"leaves\"",
        "    span.name \"leaves\"\n",
        "2 shown",
    ] {
        assert!(done.stdout.contains(part), "{part}\n{}", done.stdout);
    }
    let done = tap(&engine, &[EDITOR, "--only", "changed", "--limit", "1"]).await;
    for part in [
        "  span \"changes\"",
        "    - span.attributes[\"edit\"] \"raw\"\n",
        "    + span.attributes[\"edit\"] \"edited\"\n",
    ] {
        assert!(done.stdout.contains(part), "{part}\n{}", done.stdout);
    }
    let done = tap(&engine, &[EDITOR, "--after", "--limit", "3", "--output", "ndjson"]).await;
    let lines: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["tap"]["stage"], lines.last().unwrap()["end"].as_str()), (&json!(EDITOR), Some("limit")));
    assert_eq!(lines.iter().filter(|line| line["match"]["after"].is_object()).count(), 3);
    let done = tap(&engine, &[EDITOR, "--limit", "3", "--where", "span.name == \"stays\"", "--output", "json"]).await;
    let told: Value = serde_json::from_str(&done.stdout).unwrap();
    let names: Vec<_> = told["matches"].as_array().unwrap().iter().map(|one| &one["before"]["span.name"]).collect();
    assert_eq!((names, &told["end"]["sent"]), (vec![&json!("stays"); 3], &json!(3)));

    let done = engine.command(&["tap", "filter/none"]).await.unwrap();
    assert!(
        done.code == Some(1) && done.stderr.contains("error[E0536]") && done.stderr.contains(FILTER),
        "{}",
        done.stderr
    );
    let help = run(engine.directory(), &["tap", "--help"]).await.unwrap();
    assert!(help.stdout.contains("Examples:") && help.stdout.contains("--save case.json"), "{}", help.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_file_is_a_test_case_that_only_its_owner_reads() {
    let sink = keeping().await;
    let engine = start(&filter_and_editor(sink.address), "full").await;
    let file = engine.directory().join("case.json");
    let save = ["--limit", "4", "--rate", "1000", "--save", "case.json"];
    let done = tap(&engine, &[&[FILTER][..], &save].concat()).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let case: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&case["sluicebox_case"], &case["signal"], &case["stage"]),
        (&json!(1), &json!("traces"), &json!(FILTER))
    );
    let names = |request: &Value| {
        let spans = request["resourceSpans"].as_array().into_iter().flatten().flat_map(|resource| {
            resource["scopeSpans"].as_array().unwrap().iter().flat_map(|scope| scope["spans"].as_array().unwrap())
        });
        spans.map(|span| span["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let input = names(&case["input"]);
    assert_eq!(input.len(), 4);
    let left: Vec<_> = input.iter().filter(|name| *name != "leaves").cloned().collect();
    assert_eq!(names(&case["expected"]), left, "what the filter keeps");

    // What is there stays, unless it is told otherwise.
    let done = tap(&engine, &[&[FILTER][..], &save].concat()).await;
    assert!(done.code == Some(1) && done.stderr.contains("E0541"), "{}", done.stderr);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let done = tap(&engine, &[&[EDITOR, "--force"][..], &save].concat()).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_ne!(std::fs::read_to_string(&file).unwrap(), text);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Each tap is written down at its beginning and at its end, in the log and in the history; nothing of what was looked for or shown is.
#[tokio::test(flavor = "multi_thread")]
async fn each_tap_leaves_audit_lines_without_telemetry() {
    let sink = keeping().await;
    let engine = start(&filter_and_editor(sink.address).verbose(), "full").await;
    let condition = format!("span.attributes[\"note\"] == \"{SECRET}\"");
    let done = tap(&engine, &[FILTER, "--before", "--limit", "2", "--where", &condition]).await;
    assert!(done.code == Some(0) && done.stdout.contains(SECRET), "{}{}", done.stdout, done.stderr);
    let stderr = engine.process.stderr();
    let lines: Vec<_> = stderr.lines().filter(|line| line.contains("a tap ")).collect();
    let [opened, ended] = lines[..] else { panic!("{stderr}") };
    for part in [
        "a tap was opened",
        "stage=\"filter/drops\"",
        "point=\"before\"",
        "who=api (",
        &format!("where_bytes={}", condition.len()),
    ] {
        assert!(opened.contains(part), "{part}: {opened}");
    }
    for part in ["a tap ended", "end=\"limit\"", "sent=2", "lost=0"] {
        assert!(ended.contains(part), "{part}: {ended}");
    }
    let history = get(engine.addresses.admin, "/v1/generations").await.unwrap();
    let changes: Value = serde_json::from_str(&history).unwrap();
    let of_taps = |entry: &&Value| entry["part"].as_str().is_some_and(|part| part.starts_with("tap 1 of"));
    let results: Vec<_> = changes["changes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(of_taps)
        .map(|entry| entry["result"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(results.len(), 2, "{results:?}");
    assert!(
        results[0].starts_with("opened before, data access full") && results[1].starts_with("ended: limit, 2 of "),
        "{results:?}"
    );
    assert!(!stderr.contains(SECRET) && !history.contains(SECRET), "{stderr}");
}
