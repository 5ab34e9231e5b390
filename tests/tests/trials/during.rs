//! What else happens while a candidate is tried.

use std::time::Duration;

use sluicebox_tests::config::Config;

use crate::lab::{FILTER, HEALTH, Lab, OTHERS, REDACTOR, SPANS, filter, redactor, shop};

fn block(keys: &str) -> String {
    format!("{{ {keys} }}")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trial_of_a_stage_at_a_time_and_others_beside() {
    let lab = Lab::start("off").await;
    let sender = lab.sender(shop).await;
    let candidate = lab.file("candidate.yaml", &block(&redactor("email, card, iban")));
    let swap = lab.begin(&["swap", REDACTOR, "--config", &candidate, "--canary", "50%", "--hold", "10m"]);
    let id = lab.at_step(REDACTOR, "canary").await["id"].to_string();
    // The same stage: told who is in the way, and how to go on.
    for arguments in [
        &["swap", REDACTOR, "--config", &candidate][..],
        &["rollback", REDACTOR],
        &["shadow", REDACTOR, "--config", &candidate],
    ] {
        let done = lab.command(arguments).await;
        assert_eq!(done.code, Some(6), "{arguments:?}: {}", done.stderr);
        for told in [format!("operation {id} (swap of {REDACTOR}"), format!("sluicebox operations {id} --cancel")] {
            assert!(done.stderr.contains(&told), "{told}:\n{}", done.stderr);
        }
    }
    // Another stage: at once, and the canary goes on.
    let other = lab.file("other.yaml", &block(&filter(OTHERS)));
    let done = lab.command(&["swap", FILTER, "--config", &other, "--force"]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let running = lab.operation(REDACTOR, "runs", |_| true).await;
    assert_eq!(running["state"], "running", "{running}");
    let cancel = lab.command(&["operations", &id, "--cancel"]).await;
    assert_eq!(cancel.code, Some(0), "{}", cancel.stderr);
    assert_eq!(swap.await.unwrap().code, Some(6));
    let ended = lab.operation(REDACTOR, "ended", |operation| operation["state"] != "running").await;
    assert_eq!(ended["state"], "cancelled", "{ended}");
    assert_eq!((lab.generation(REDACTOR).await, lab.generation(FILTER).await), (1, 2));
    assert_eq!(lab.history(REDACTOR).await.last().unwrap()["result"], "cancelled");
    // The next one works at once.
    let done = lab.command(&["swap", REDACTOR, "--config", &candidate]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    sender.finish().await;
}

/// A changed file ends the trials of stages that it changes, and says so; those of others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_ends_trials_of_what_it_changes() {
    let lab = Lab::start("off").await;
    let sender = lab.sender(shop).await;
    let candidate = lab.file("candidate.yaml", &block(&redactor("email, card, iban")));
    let narrower = lab.file("narrower.yaml", &block(&filter(HEALTH)));
    let canary = lab.begin(&["swap", REDACTOR, "--config", &candidate, "--canary", "50%", "--hold", "10m"]);
    let shadow = lab.begin(&["shadow", FILTER, "--config", &narrower, "--for", "10m"]);
    lab.at_step(REDACTOR, "canary").await;
    lab.at_step(FILTER, "shadow").await;
    lab.rewrite(Config::new().processor(FILTER, &filter(HEALTH)).processor(REDACTOR, &redactor("email, card, ipv4")));
    let reload = lab.command(&["reload"]).await;
    assert_eq!(reload.code, Some(0), "{}", reload.stderr);
    let done = canary.await.unwrap();
    assert_eq!(done.code, Some(6), "{}", done.stderr);
    assert!(
        done.stderr.contains("E0551") && done.stderr.contains("the changed file says something else"),
        "{}",
        done.stderr
    );
    let ended = lab.operation(REDACTOR, "ended", |operation| operation["state"] != "running").await;
    assert_eq!(ended["state"], "cancelled", "{ended}");
    let running = lab.operation(FILTER, "runs", |_| true).await;
    assert_eq!(running["state"], "running", "the file says nothing new of it");
    lab.rewrite(Config::new().processor(FILTER, &filter(OTHERS)).processor(REDACTOR, &redactor("email, card, ipv4")));
    assert_eq!(lab.command(&["reload"]).await.code, Some(0));
    assert_eq!(shadow.await.unwrap().code, Some(6));
    assert_eq!((lab.generation(REDACTOR).await, lab.generation(FILTER).await), (2, 2));
    sender.finish().await;
}

/// An engine that stops does so in time, and hands over what it has.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_stops_in_the_midst_of_trials() {
    let lab = Lab::start("off").await;
    let sender = lab.sender(shop).await;
    let candidate = lab.file("candidate.yaml", &block(&redactor("email, card, iban")));
    let same = lab.file("same.yaml", &block(&filter(HEALTH)));
    let canary = lab.begin(&["swap", REDACTOR, "--config", &candidate, "--canary", "50%", "--hold", "10m"]);
    let shadow = lab.begin(&["shadow", FILTER, "--config", &same, "--percent", "50%", "--for", "10m"]);
    lab.at_step(REDACTOR, "canary").await;
    lab.at_step(FILTER, "shadow").await;
    sender.goes_on(50).await;
    let sent = sender.finish().await;
    assert_eq!(lab.arrived().await.len() as u64, sent * (SPANS - 1));
    let drain = lab.begin(&["drain"]);
    for ended in [canary, shadow, drain] {
        let done = tokio::time::timeout(Duration::from_secs(50), ended).await;
        assert!(done.is_ok(), "a command outlived its engine");
    }
}
