//! What is said of each record is what became of it: compared with what the sink got.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use sluicebox::signal::Signal;
use sluicebox_tests::client::Answer;
use sluicebox_tests::command::guest;
use sluicebox_tests::config::Config;

use crate::support::{
    EDITOR, FILTER, Tap, all_of, arrived, check_counts, filter_and_editor, keeping, names, send, spans, start, with,
};

#[tokio::test(flavor = "multi_thread")]
async fn only_dropped_or_changed_is_what_the_sink_did_not_get_or_got_changed() {
    const REQUESTS: usize = 20;
    let sink = keeping().await;
    let engine = start(&filter_and_editor(sink.address), "full").await;
    let only = |stage: &str, only: &str| with(all_of(stage, 12), &json!({ "only": only }));
    let (dropped, _) = Tap::open(&engine, only(FILTER, "dropped")).await;
    let (changed, _) = Tap::open(&engine, only(EDITOR, "changed")).await;
    let (nothing, _) = Tap::open(&engine, only(EDITOR, "dropped")).await;
    let (all, _) = Tap::open(&engine, all_of(FILTER, 12)).await;
    let mut sent = BTreeMap::new();
    for request in 0..REQUESTS {
        let rows: Vec<(String, &[(&str, &str)])> = (0..30)
            .map(|row: usize| {
                let attributes: &[(&str, &str)] = match (request * 7 + row * 3) % 5 {
                    0 => &[("drop", "yes"), ("edit", "raw")],
                    1 | 2 => &[("edit", "raw")],
                    3 => &[("edit", "edited")],
                    _ => &[],
                };
                (format!("{request}.{row}"), attributes)
            })
            .collect();
        sent.extend(rows.iter().map(|(name, attributes)| (name.clone(), attributes.to_vec())));
        let answer = send(&engine, spans(rows.iter().map(|(name, attributes)| (name.as_str(), *attributes)))).await;
        assert_eq!(answer, Answer::Accepted { warning: None });
    }
    let (dropped, dropped_end) = dropped.rest().await;
    let (changed, changed_end) = changed.rest().await;
    let (nothing, nothing_end) = nothing.rest().await;
    let (all, all_end) = all.rest().await;
    let got: BTreeMap<_, _> = arrived(&sink).into_iter().collect();

    let missing: BTreeSet<_> = sent.keys().filter(|name| !got.contains_key(*name)).cloned().collect();
    assert!(!missing.is_empty());
    assert_eq!(names(&dropped, "before").into_iter().collect::<BTreeSet<_>>(), missing);
    assert!(
        dropped
            .iter()
            .all(|one| one["fate"] == "dropped" && one["rule"] == "traces.span[0]" && one.get("after").is_none())
    );
    let is_other = |(name, attributes): &(&String, &Vec<(String, String)>)| {
        let before: Vec<_> = sent[*name].iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        **attributes != before
    };
    let others: BTreeSet<_> = got.iter().filter(is_other).map(|(name, _)| name.clone()).collect();
    assert!(!others.is_empty() && others.len() < got.len());
    assert_eq!(names(&changed, "after").into_iter().collect::<BTreeSet<_>>(), others);
    assert_eq!((changed.len(), dropped.len(), nothing.len()), (others.len(), missing.len(), 0), "each once");

    let items = (REQUESTS * 30) as u64;
    for (end, found, seen) in [
        (&dropped_end, dropped.len(), items),
        (&all_end, all.len(), items),
        (&changed_end, changed.len(), items - missing.len() as u64),
        (&nothing_end, 0, items - missing.len() as u64),
    ] {
        assert_eq!(end["seen"].as_u64().unwrap() + end["lost"].as_u64().unwrap(), seen, "{end}");
        assert_eq!((end["lost"].as_u64(), end["matched"].as_u64()), (Some(0), Some(found as u64)), "{end}");
        check_counts(found, end);
    }
    assert_eq!(all.len() as u64, items);
}

/// What a stage fails on is shown with how it failed, whether it goes on or not.
#[tokio::test(flavor = "multi_thread")]
async fn only_faulted_is_what_the_stage_failed_on() {
    let sink = keeping().await;
    for on_fault in ["pass", "reject"] {
        let keys = format!(
            "component: {}, grants: [state], config: {{ behaviour: trap }}, on_fault: {on_fault}",
            guest("misbehaving").unwrap()
        );
        let config = Config::new().processor_of(Signal::Traces, "wasm/bad", &keys).sink(sink.address, "");
        let engine = start(&config, "full").await;
        let (mut tap, _) =
            Tap::open(&engine, with(all_of("wasm/bad", 600), &json!({ "only": "faulted", "limit": 2 }))).await;
        let answer = send(&engine, spans([("one", &[][..]), ("two", &[][..])])).await;
        assert_eq!(matches!(answer, Answer::Accepted { .. }), on_fault == "pass", "{answer:?}");
        for name in ["one", "two"] {
            let shown = tap.found().await.unwrap();
            let fate = if on_fault == "pass" { "passed" } else { "failed" };
            assert_eq!((&shown["fate"], &shown["fault"]["kind"]), (&json!(fate), &json!("trap")), "{shown}");
            assert_eq!(shown["before"]["span.name"], name);
            assert_eq!(shown.get("after").is_some(), on_fault == "pass", "{shown}");
        }
    }
}
