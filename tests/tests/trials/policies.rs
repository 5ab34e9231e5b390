//! A policy on trial: whole traces, each decided by one.

use std::collections::BTreeMap;

use sluicebox::signal::Signal;
use sluicebox_tests::command::guest;
use sluicebox_tests::config::Config;

use crate::lab::{BOUND, Lab, SPANS, shop};

const STAGE: &str = "tail_sampling:mine";

fn sampler(behaviour: &str) -> Config {
    let component = guest("misbehaving-policy").unwrap();
    let policy = format!("{{ name: mine, component: {component}, config: {{ behaviour: {behaviour} }} }}");
    Config::new().processor_of(Signal::Traces, "tail_sampling", &format!("decision_wait: 10ms, policies: [{policy}]"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_faults_is_rolled_back_and_costs_no_trace() {
    let lab = Lab::start_with("off", sampler("keep")).await;
    let sender = lab.sender(shop).await;
    sender.goes_on(20).await;
    let candidate = lab.file("candidate.yaml", "behaviour: trap");
    let done = lab.command(&["swap", STAGE, "--config", &candidate, "--canary", "20%", "--hold", "10m"]).await;
    assert_eq!(done.code, Some(6), "{}\n{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("refused at step canary: faults: "), "{}", done.stderr);
    let shadow = lab.command(&["shadow", STAGE, "--config", &candidate, "--percent", "50%", "--for", "2s"]).await;
    assert!(shadow.code == Some(6) && shadow.stdout.contains("worse: faults"), "{}\n{}", shadow.stdout, shadow.stderr);
    sender.goes_on(20).await;
    let sent = sender.finish().await;
    until_decided(&lab, sent).await;
    let arrived = lab.arrived().await;
    assert_eq!(arrived.len() as u64, sent * SPANS, "what serves keeps all, of the candidate's share too");
    let metrics = lab.engine.metrics().await.unwrap();
    assert_eq!(metrics.sum("tail_fallback_traces", &[]), 0, "the fallback stood in for nobody");
    assert_eq!(metrics.sum("stage_breaker_open", &[]), 0);
    assert_eq!(lab.generation(STAGE).await, 1);
}

/// A candidate that votes for nothing: its share of traces goes, each as a whole, until the guards see it.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_keeps_nothing_is_rolled_back() {
    let bundled = |keys: &str| {
        let policy = format!("{{ name: mine, type: string_attribute, string_attribute: {{ {keys} }} }}");
        Config::new().processor_of(
            Signal::Traces,
            "tail_sampling",
            &format!("decision_wait: 10ms, policies: [{policy}]"),
        )
    };
    let lab = Lab::start_with("off", bundled("key: route, values: [/cart]")).await;
    let stages = lab.get("/v1/status").await["stages"].clone();
    let stage = stages
        .as_array()
        .unwrap()
        .iter()
        .find_map(|stage| stage["stage"].as_str().filter(|name| name.starts_with("tail_sampling")));
    let stage = stage.unwrap().to_owned();
    let sender = lab.sender(shop).await;
    sender.goes_on(20).await;
    let keys =
        r#"{ policies: [{ name: mine, type: string_attribute, string_attribute: { key: route, values: [/none] } }] }"#;
    let candidate = lab.file("candidate.yaml", keys);
    let began = sender.sent();
    let done = lab.command(&["swap", &stage, "--config", &candidate, "--canary", "20%", "--hold", "10m"]).await;
    let ended = sender.sent();
    assert_eq!(done.code, Some(6), "{}\n{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("refused at step canary: drops:"), "{}", done.stderr);
    sender.goes_on(50).await;
    let sent = sender.finish().await;
    until_decided(&lab, sent).await;
    let arrived = lab.arrived().await;
    let mut by_request = BTreeMap::<u64, u64>::new();
    arrived.values().for_each(|span| *by_request.entry(span.request).or_default() += 1);
    assert!(by_request.values().all(|&spans| spans == SPANS), "whole traces");
    let dropped = (0..sent).filter(|request| !by_request.contains_key(request)).collect::<Vec<_>>();
    // By their randomness: a share of 20 %, not a count.
    assert!(
        !dropped.is_empty() && (dropped.len() as u64) < (ended - began + 40) / 2,
        "{dropped:?} of {began}..{ended}"
    );
    assert!(dropped.iter().all(|&request| request < ended + 20), "{dropped:?} after {ended}");
}

async fn until_decided(lab: &Lab, traces: u64) {
    let is_decided =
        move |metrics: &sluicebox_tests::account::Metrics| metrics.sum("tail_decided_spans", &[]) >= traces * SPANS;
    lab.engine.until(BOUND, "all are decided", is_decided).await.unwrap();
}
