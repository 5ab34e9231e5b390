//! Before a candidate sees anything new: its component's own cases, and the last batches.

use sluicebox_tests::command::guest;
use sluicebox_tests::config::Config;

use crate::lab::{FILTER, HEALTH, Lab, OTHERS, REDACTOR, filter, redactor, shop};

/// A component with a section of its own behind it (WebAssembly core specification 5.5.3).
fn with_cases(component: &str, cases: &serde_json::Value) -> Vec<u8> {
    let mut bytes = std::fs::read(component).unwrap();
    let section =
        wasm_encoder::CustomSection { name: "sluicebox:cases".into(), data: cases.to_string().into_bytes().into() };
    wasm_encoder::ComponentSection::append_to_component(&section, &mut bytes);
    bytes
}

fn case(expected: &str) -> serde_json::Value {
    let span = |name: &str| serde_json::json!({ "traceId": "00000000000000000000000000000001", "spanId": "0000000000000001", "name": name });
    let request = |name: &str| serde_json::json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span(name)] }] }] });
    serde_json::json!([{ "sluicebox_case": 1, "name": "keeps names", "signal": "traces", "input": request("checkout"), "expected": request(expected) }])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_does_not_what_its_cases_say_is_refused() {
    let component = guest("drop-health-checks").unwrap();
    let lab = Lab::start_with("off", Config::new().processor("wasm/mine", &format!("component: {component}"))).await;
    let file = lab.engine.directory().join("candidate.wasm");
    let path = file.to_str().unwrap().to_owned();
    std::fs::write(&file, with_cases(&component, &case("cart"))).unwrap();
    let done = lab.command(&["swap", "wasm/mine", &path]).await;
    assert_eq!(done.code, Some(6), "{}", done.stderr);
    for told in [
        "refused at step probe",
        "its case \"keeps names\" expects something else",
        r#"span.name of record 0 is "checkout", not "cart""#,
    ] {
        assert!(done.stderr.contains(told), "{told}:\n{}", done.stderr);
    }
    assert_eq!(lab.history("wasm/mine").await.last().unwrap()["result"], "refused at probe");
    assert_eq!(lab.generation("wasm/mine").await, 1);

    let forced = lab.command(&["swap", "wasm/mine", &path, "--force"]).await;
    assert_eq!(forced.code, Some(0), "{}", forced.stderr);
    assert!(forced.stdout.contains("forced, although: probe: its case"), "{}", forced.stdout);
    let history = lab.history("wasm/mine").await;
    assert!(history.last().unwrap()["forced"].as_str().unwrap().contains("keeps names"), "{history:?}");

    std::fs::write(&file, with_cases(&component, &case("checkout"))).unwrap();
    let done = lab.command(&["swap", "wasm/mine", &path]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    std::fs::write(&file, with_cases(&component, &serde_json::json!([{ "name": "no case" }]))).unwrap();
    let done = lab.command(&["swap", "wasm/mine", &path]).await;
    assert!(done.code == Some(6) && done.stderr.contains("its cases cannot be read"), "{}", done.stderr);
    // Nothing forces what cannot be built.
    std::fs::write(&file, b"\0asm no component").unwrap();
    let done = lab.command(&["swap", "wasm/mine", &path, "--force"]).await;
    assert_eq!(done.code, Some(6), "{}", done.stderr);
    assert_eq!(lab.generation("wasm/mine").await, 3);
}

/// Components that ship in the binary pass their own.
#[tokio::test(flavor = "multi_thread")]
async fn bundled_components_pass_their_own_cases() {
    let attributes = "actions: [{ key: k, value: v, action: insert }]";
    let processors = Config::new()
        .processor(FILTER, &filter(HEALTH))
        .processor(REDACTOR, &redactor("email"))
        .processor("attributes/a", attributes);
    let lab = Lab::start_with("off", processors).await;
    for (stage, keys) in
        [(FILTER, filter(OTHERS)), (REDACTOR, redactor("card")), ("attributes/a", attributes.to_owned())]
    {
        let bundled = sluicebox_tests::engine::workspace()
            .join(format!("host/bundled/{}.wasm", stage.split('/').next().unwrap()));
        let has_cases = wasmparser::Parser::new(0).parse_all(&std::fs::read(bundled).unwrap()).any(|payload| {
            matches!(payload.unwrap(), wasmparser::Payload::CustomSection(section) if section.name() == "sluicebox:cases")
        });
        assert!(has_cases, "{stage}");
        let candidate = lab.file("candidate.yaml", &format!("{{ {keys} }}"));
        let done = lab.command(&["swap", stage, "--config", &candidate]).await;
        assert_eq!(done.code, Some(0), "{stage}: {}", done.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_batches_refuse_what_is_worse_on_them() {
    let lab = Lab::start("full").await;
    let sender = lab.sender(shop).await;
    sender.goes_on(30).await;
    for (stage, keys, told) in
        [(REDACTOR, redactor("card"), "refused at step probe: edits of"), (FILTER, filter(OTHERS), "edits of")]
    {
        let candidate = lab.file("candidate.yaml", &format!("{{ {keys} }}"));
        let done = lab.command(&["swap", stage, "--config", &candidate]).await;
        if stage == REDACTOR {
            assert_eq!(done.code, Some(6), "{}", done.stderr);
            assert!(done.stderr.contains(told), "{}", done.stderr);
            assert_eq!(lab.generation(stage).await, 1);
            let forced = lab.command(&["swap", stage, "--config", &candidate, "--force"]).await;
            assert_eq!(forced.code, Some(0), "{}", forced.stderr);
            assert!(forced.stdout.contains("forced, although: probe: edits of"), "{}", forced.stdout);
            let history = lab.history(stage).await;
            assert!(history.last().unwrap()["forced"].as_str().unwrap().contains("detectors.email"), "{history:?}");
            assert_eq!(lab.generation(stage).await, 2);
        } else {
            // Eight batches of ten: too few records for a word on drops.
            assert_eq!(done.code, Some(0), "{}", done.stderr);
        }
    }
    sender.finish().await;
}

/// Stages that a changed file leaves as they are go on being watched.
#[tokio::test(flavor = "multi_thread")]
async fn after_changes_of_the_file_the_last_batches_refuse_as_before() {
    let lab = Lab::start("full").await;
    for (old, new) in [("\"/health\"", "\"/healthz\""), ("\"/healthz\"", "\"/livez\"")] {
        let text = std::fs::read_to_string(lab.engine.config_file()).unwrap();
        assert!(text.contains(old), "{text}");
        std::fs::write(lab.engine.config_file(), text.replace(old, new)).unwrap();
        let reload = lab.command(&["reload"]).await;
        assert_eq!(reload.code, Some(0), "{}", reload.stderr);
    }
    assert_eq!((lab.generation(FILTER).await, lab.generation(REDACTOR).await), (3, 1));
    let sender = lab.sender(shop).await;
    sender.goes_on(30).await;
    let candidate = lab.file("candidate.yaml", &format!("{{ {} }}", redactor("card")));
    let done = lab.command(&["swap", REDACTOR, "--config", &candidate]).await;
    assert_eq!(done.code, Some(6), "{}", done.stderr);
    assert!(done.stderr.contains("refused at step probe: edits of"), "{}", done.stderr);
    sender.finish().await;
}

/// Without access to telemetry nothing of it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn without_data_access_no_batch_is_kept() {
    let lab = Lab::start("off").await;
    let sender = lab.sender(shop).await;
    sender.goes_on(30).await;
    let candidate = lab.file("candidate.yaml", &format!("{{ {} }}", redactor("card")));
    let done = lab.command(&["swap", REDACTOR, "--config", &candidate]).await;
    assert_eq!(done.code, Some(0), "nothing was there to compare: {}", done.stderr);
    sender.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_the_plan_and_changes_nothing() {
    let lab = Lab::start("full").await;
    let sender = lab.sender(shop).await;
    sender.goes_on(30).await;
    let swaps = async || lab.engine.metrics().await.unwrap().sum("stage_swaps", &[]);
    let (generation, history, before) = (lab.generation(REDACTOR).await, lab.history(REDACTOR).await, swaps().await);
    let good = lab.file("good.yaml", &format!("{{ {} }}", redactor("email, card, iban")));
    let done = lab.command(&["swap", REDACTOR, "--config", &good, "--dry-run", "--canary", "5%"]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for told in [
        "plan: generation 1",
        "changes: configuration",
        "probe: both judged the last ",
        "then: canary -> commit -> drain",
        "nothing was changed",
    ] {
        assert!(done.stdout.contains(told), "{told}:\n{}", done.stdout);
    }
    let bad = lab.file("bad.yaml", &format!("{{ {} }}", redactor("card")));
    let done = lab.command(&["swap", REDACTOR, "--config", &bad, "--dry-run"]).await;
    assert!(done.code == Some(6) && done.stdout.contains("refused at probe: edits of"), "{}", done.stdout);
    let wrong = lab.file("wrong.yaml", "detectors: [none_of_this_name]");
    let done = lab.command(&["swap", REDACTOR, "--config", &wrong, "--dry-run"]).await;
    assert!(done.code == Some(6) && done.stderr.contains("configure"), "{}", done.stderr);
    assert_eq!(
        (lab.generation(REDACTOR).await, lab.history(REDACTOR).await, swaps().await),
        (generation, history, before)
    );
    sender.finish().await;
}
