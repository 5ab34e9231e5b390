//! Candidates on copies: everything is told, and nothing of it serves.

use crate::lab::{FILTER, Lab, REDACTOR, SPANS, filter, redactor, shop};

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_tells_what_a_redactor_misses_and_leaks_nothing() {
    let lab = Lab::start("off").await;
    let sender = lab.sender(shop).await;
    let candidate = lab.file("candidate.yaml", &format!("{{ {} }}", redactor("card")));
    let arguments = ["shadow", REDACTOR, "--config", &candidate, "--percent", "50%", "--for", "2s", "--output", "json"];
    let done = lab.command(&arguments).await;
    assert_eq!(done.code, Some(6), "{}\n{}", done.stdout, done.stderr);
    let report: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let shadow = &report["shadow"];
    let [serving, tried] = ["serving", "candidate"].map(|side| shadow[side].clone());
    let records = serving["records"].as_u64().unwrap();
    assert!(records > 0 && tried["records"] == records, "{shadow}");
    // Each span has one text with an address and a card: a place that is edited counts for the first rule that finds something.
    assert_eq!(serving["edits"]["rule detectors.email"], records, "{shadow}");
    assert_eq!(tried["edits"]["rule detectors.email"], serde_json::Value::Null, "{shadow}");
    assert_eq!(tried["edits"]["rule detectors.card"], records, "{shadow}");
    assert_eq!(
        (shadow["different"]["fields"].as_u64(), shadow["different"]["compared"].as_u64()),
        (Some(records), Some(records))
    );
    assert!(shadow["findings"].to_string().contains("edits of rule detectors.email"), "{shadow}");
    assert!(!done.stdout.contains("note"), "{}", done.stdout);

    let human = lab.command(&["shadow", REDACTOR, "--config", &candidate, "--percent", "50%", "--for", "1s"]).await;
    for told in ["shadow: 50 % for 1.", "worse: edits of rule detectors.email", "nothing was changed"] {
        assert!(human.stdout.contains(told), "{told}:\n{}", human.stdout);
    }
    let sent = sender.finish().await;
    let arrived = lab.arrived().await;
    assert_eq!(arrived.len() as u64, sent * (SPANS - 1));
    assert!(arrived.values().all(|span| !span.has_address), "a shadow serves nothing");
    assert_eq!(lab.generation(REDACTOR).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_with_a_shadow_stops_there() {
    let lab = Lab::start("off").await;
    let sender = lab.sender(shop).await;
    for (stage, keys, told) in [
        (REDACTOR, redactor("card"), "refused at step shadow: edits of"),
        (FILTER, filter(r#"attributes["route"] != "/none""#), "refused at step shadow: drops:"),
    ] {
        let candidate = lab.file("candidate.yaml", &format!("{{ {keys} }}"));
        let done = lab.command(&["swap", stage, "--config", &candidate, "--shadow", "10m", "--canary", "5%"]).await;
        assert_eq!(done.code, Some(6), "{}", done.stderr);
        assert!(done.stderr.contains(told), "{}", done.stderr);
        assert_eq!(lab.history(stage).await.last().unwrap()["result"], "refused at shadow");
    }
    let sent = sender.finish().await;
    let arrived = lab.arrived().await;
    assert_eq!(arrived.len() as u64, sent * (SPANS - 1));
    assert!(arrived.values().all(|span| !span.has_address));
}

/// The same candidate as what serves: nothing differs, whatever there is to redact.
#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_of_the_same_finds_nothing() {
    let lab = Lab::start("off").await;
    let sender = lab.sender(shop).await;
    let same = lab.file("candidate.yaml", &format!("{{ {} }}", redactor("email, card")));
    let done = lab.command(&["shadow", REDACTOR, "--config", &same, "--percent", "50", "--for", "1s"]).await;
    assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("  0 of "), "{}", done.stdout);
    assert!(!done.stdout.contains("worse"), "{}", done.stdout);
    sender.finish().await;
}
