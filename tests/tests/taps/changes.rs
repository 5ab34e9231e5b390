//! Taps stay with their stage: through swaps and through files that change around it; and end with it.

use serde_json::json;
use sluicebox::signal::Signal;
use sluicebox_tests::config::Config;

use crate::support::{EDITOR, FILTER, Tap, all_of, filter_and_editor, keeping, reload, send, spans, start};

const NONE: &[(&str, &str)] = &[];

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_goes_on_through_a_swap_and_a_reload_and_ends_with_its_stage() {
    let sink = keeping().await;
    let engine = start(&filter_and_editor(sink.address), "full").await;
    let (mut tap, _) = Tap::open(&engine, all_of(FILTER, 600)).await;
    let (mut editor, _) = Tap::open(&engine, all_of(EDITOR, 600)).await;
    let mut seen = async |name: &str| {
        send(&engine, spans([(name, NONE)])).await;
        let (shown, also) = (tap.found().await.unwrap(), editor.found().await.unwrap());
        assert_eq!((&shown["before"]["span.name"], &also["before"]["span.name"]), (&json!(name), &json!(name)));
        (shown["generation"].as_u64().unwrap(), also["generation"].as_u64().unwrap())
    };
    assert_eq!(seen("first").await, (1, 1));
    let swap = json!({ "stage": FILTER, "config": { "traces": { "span": ["name == \"other\""] } } });
    let (status, answer) =
        engine.post("/v1/swap?wait=true", "application/json", swap.to_string().into()).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(seen("swapped").await, (2, 1));
    let done = engine.command(&["rollback", FILTER]).await.unwrap();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(seen("rolled back").await, (3, 1));
    // Another stage between them, and another receiver's key: pipelines are assembled anew.
    let config = filter_and_editor(sink.address).processor_of(
        Signal::Traces,
        "filter/third",
        "traces: { span: ['name == \"x\"'] }",
    );
    reload(&engine, &config, "full").await;
    assert_eq!(seen("reloaded").await, (3, 1));

    let keys = "actions: [{ key: edit, value: edited, action: update }]";
    reload(&engine, &Config::new().processor_of(Signal::Traces, EDITOR, keys).sink(sink.address, ""), "full").await;
    let (_, end) = tap.rest().await;
    assert_eq!(end["end"], "stage_gone", "{end}");
    send(&engine, spans([("without the filter", NONE)])).await;
    assert_eq!(editor.found().await.unwrap()["before"]["span.name"], "without the filter");
}
