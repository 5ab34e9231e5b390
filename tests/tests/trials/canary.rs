//! A share is judged by the candidate, for real, and no more of it than that.

use sluicebox_tests::command::guest;
use sluicebox_tests::config::Config;

use crate::lab::{FILTER, HEALTH, Lab, REDACTOR, SPANS, filter, redactor, shop};

fn block(keys: &str) -> String {
    format!("{{ {keys} }}")
}

/// A redactor that misses one detector: some of its share leaks, then it is stopped, and nothing leaks any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_redactor_that_misses_a_detector_is_rolled_back() {
    let lab = Lab::start("off").await;
    let sender = lab.sender(shop).await;
    sender.goes_on(20).await;
    let candidate = lab.file("candidate.yaml", &block(&redactor("card")));
    let (began, swap) =
        (sender.sent(), lab.begin(&["swap", REDACTOR, "--config", &candidate, "--canary", "20%", "--hold", "10m"]));
    let done = swap.await.unwrap();
    let ended = sender.sent();
    assert_eq!(done.code, Some(6), "{}\n{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("error[E0550]") && done.stderr.contains("refused at step canary"), "{}", done.stderr);
    assert!(done.stderr.contains("edits of rule detectors.email: 0 in"), "{}", done.stderr);
    assert!(done.stderr.contains("generation 1 serves on"), "{}", done.stderr);
    sender.goes_on(100).await;
    let sent = sender.finish().await;

    let arrived = lab.arrived().await;
    assert_eq!(arrived.len() as u64, sent * (SPANS - 1), "all but the health checks, each once");
    let leaked: std::collections::BTreeSet<_> =
        arrived.values().filter(|span| span.has_address).map(|span| span.request).collect();
    let judged = leaked.len() as u64;
    assert!(judged > 0, "the candidate judged something");
    // One request may be on its way when it begins, another one when it ends.
    assert!(judged <= (ended + 2 - began) / 5 + 2, "{judged} of {} requests", ended - began);
    let by_request = |request| arrived.values().filter(move |span| span.request == request && span.has_address).count();
    assert!(leaked.iter().all(|&request| by_request(request) as u64 == SPANS - 1), "a batch is judged by one");
    let after = ended + 2;
    assert!(leaked.iter().all(|&request| request < after), "{leaked:?} after {after}");

    assert_eq!(lab.generation(REDACTOR).await, 1);
    let history = lab.history(REDACTOR).await;
    assert_eq!(history.last().unwrap()["result"], "refused at canary", "{history:?}");
    let operation = lab.operation(REDACTOR, "ended", |operation| operation["state"] == "failed").await;
    let numbers = &operation["numbers"];
    assert!(numbers["serving"]["edits"]["rule detectors.email"].as_u64().unwrap() >= 10, "{numbers}");
    assert_eq!(numbers["candidate"]["edits"]["rule detectors.email"], serde_json::Value::Null, "{numbers}");
    assert!(!numbers.to_string().contains("note"), "keys of attributes are not shown: {numbers}");
    let steps: Vec<_> =
        operation["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["build", "probe", "canary"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_drops_too_much_is_rolled_back() {
    let lab = Lab::start("off").await;
    let sender = lab.sender(shop).await;
    let candidate = lab.file("candidate.yaml", &block(&filter(r#"attributes["route"] != "/none""#)));
    let began = sender.sent();
    let done = lab.command(&["swap", FILTER, "--config", &candidate, "--canary", "10%", "--hold", "10m"]).await;
    let ended = sender.sent();
    assert_eq!(done.code, Some(6), "{}\n{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("refused at step canary: drops:"), "{}", done.stderr);
    sender.goes_on(50).await;
    let sent = sender.finish().await;
    let arrived = lab.arrived().await;
    let missing = (0..sent).filter(|request| !arrived.contains_key(&(request * SPANS + 1))).collect::<Vec<_>>();
    assert!(
        !missing.is_empty() && missing.len() as u64 <= (ended + 2 - began) / 10 + 2,
        "{missing:?} of {}",
        ended - began
    );
    for request in 0..sent {
        let left = (1..SPANS).filter(|place| arrived.contains_key(&(request * SPANS + place))).count() as u64;
        assert!(left == 0 || left == SPANS - 1, "request {request} was judged by halves");
    }
    assert!(missing.iter().all(|&request| request < ended + 2), "{missing:?} after {ended}");
    assert_eq!(lab.generation(FILTER).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_candidate_commits_by_itself_at_the_end() {
    let lab = Lab::start("off").await;
    let sender = lab.sender(shop).await;
    let candidate = lab.file("candidate.yaml", &block(&redactor("email, card, iban")));
    let done = lab
        .command(&["swap", REDACTOR, "--config", &candidate, "--shadow", "1s", "--canary", "50%", "--hold", "2s"])
        .await;
    assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
    for told in
        ["shadow: 10 %", "canary: 50 %", "redaction/pii: generation 1", "undo: sluicebox rollback redaction/pii"]
    {
        assert!(done.stdout.contains(told), "{told}:\n{}", done.stdout);
    }
    sender.goes_on(20).await;
    let sent = sender.finish().await;
    let arrived = lab.arrived().await;
    assert_eq!(arrived.len() as u64, sent * (SPANS - 1));
    assert!(arrived.values().all(|span| !span.has_address));
    assert_eq!(lab.generation(REDACTOR).await, 2);
    let metrics = lab.engine.metrics().await.unwrap();
    assert_eq!(metrics.sum("stage_swaps", &[("stage", REDACTOR), ("result", "committed")]), 1);
    let back = lab.command(&["rollback", REDACTOR]).await;
    assert_eq!(back.code, Some(0), "{}", back.stderr);
}

/// A candidate that traps at every batch of its share: what serves judges them, its breaker stays closed, and the engine ready.
#[tokio::test(flavor = "multi_thread")]
async fn faults_of_a_candidate_cost_nobody_anything() {
    let component = guest("misbehaving").unwrap();
    let keys =
        |behaviour: &str| format!("component: {component}, grants: [state], config: {{ behaviour: {behaviour} }}");
    let processors = Config::new().processor(FILTER, &filter(HEALTH)).processor("wasm/bad", &keys("noop"));
    let lab = Lab::start_with("off", processors).await;
    let sender = lab.sender(shop).await;
    let candidate = lab.file("candidate.yaml", "behaviour: trap");
    let done = lab.command(&["swap", "wasm/bad", "--config", &candidate, "--canary", "50%", "--hold", "2s"]).await;
    assert_eq!(done.code, Some(6), "{}\n{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("refused at step canary: faults: "), "{}", done.stderr);
    // The same, and nobody stops it before its time.
    let forced =
        lab.begin(&["swap", "wasm/bad", "--config", &candidate, "--canary", "50%", "--hold", "10m", "--force"]);
    let operation = lab.at_step("wasm/bad", "canary").await;
    sender.goes_on(200).await;
    assert!(lab.is_ready().await);
    let metrics = lab.engine.metrics().await.unwrap();
    assert_eq!(metrics.sum("stage_state", &[("stage", "wasm/bad"), ("state", "ok")]), 1);
    assert_eq!(metrics.sum("stage_breaker_open", &[("stage", "wasm/bad")]), 0);
    let cancel = lab.command(&["operations", &operation["id"].to_string(), "--cancel"]).await;
    assert_eq!(cancel.code, Some(0), "{}", cancel.stderr);
    assert_eq!(forced.await.unwrap().code, Some(6));
    let sent = sender.finish().await;
    assert_eq!(lab.arrived().await.len() as u64, sent * (SPANS - 1), "nothing was lost, and nothing came twice");
    assert_eq!(lab.generation("wasm/bad").await, 1);
}
