//! `admin.data_access`: what may be shown at which point, and that it is followed at once.

use serde_json::{Value, json};
use sluicebox::signal::Signal;
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::Engine;

use crate::support::{Tap, all_of, keeping, send, spans, start, with};

const SECRET: &str = "tok_0123456789abcdef";
const BEFORE: &str = "filter/before";
const REDACTOR: &str = "redaction";
const BEHIND: &str = "filter/behind";
const SAMPLER: &str = "tail_sampling";

/// A redactor in the middle, and a sampler behind it.
fn config(sink: std::net::SocketAddr) -> Config {
    let keeps = "error_mode: ignore, traces: { span: ['name == \"nothing\"'] }";
    Config::new()
        .processor_of(Signal::Traces, BEFORE, keeps)
        .processor_of(Signal::Traces, REDACTOR, "allow_all_keys: true, blocked_values: ['tok_[0-9a-f]+']")
        .processor_of(Signal::Traces, BEHIND, keeps)
        .processor_of(Signal::Traces, SAMPLER, "decision_wait: 10ms, policies: [{ name: all, type: always_sample }]")
        .sink(sink, "")
}

/// What is shown of a request with a secret; None where the tap is refused.
async fn shown(engine: &Engine, stage: &str, point: &str, number: &mut u8) -> Option<String> {
    let asked = with(all_of(stage, 600), &json!({ "point": point, "limit": 1, "requests": stage != SAMPLER }));
    let (mut tap, begun) = match Tap::try_open(engine, asked).await {
        Ok(mut tap) => {
            let first = tap.next().await.unwrap();
            (tap, first)
        }
        Err((status, refusal)) => {
            assert_eq!((status, &refusal["code"]), (403, &json!("E0535")), "{refusal}");
            assert!(refusal["help"].as_str().unwrap().contains("data_access"), "{refusal}");
            return None;
        }
    };
    *number += 1;
    // Each time another trace: a sampler decides each once.
    let name = format!("span {number}");
    let rows: Vec<_> = (0..*number).map(|_| (name.as_str(), &[("token", SECRET)][..])).collect();
    send(engine, spans(rows)).await;
    let found = tap.found().await.unwrap();
    assert!(found.to_string().contains("token"), "{found}");
    let (_, end) = tap.rest().await;
    Some(format!("{begun}{found}{end}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_shown_only_where_all_is_allowed() {
    let sink = keeping().await;
    let mut number = 0;
    for access in ["off", "redacted", "full"] {
        let engine = start(&config(sink.address), access).await;
        let points = [
            // Stage, point, what access it takes, whether the secret is there.
            (BEFORE, "before", "full", true),
            (BEFORE, "after", "full", true),
            (BEFORE, "diff", "full", true),
            (REDACTOR, "before", "full", true),
            (REDACTOR, "after", "redacted", false),
            (REDACTOR, "diff", "full", true),
            (BEHIND, "before", "redacted", false),
            (BEHIND, "after", "redacted", false),
            (BEHIND, "diff", "redacted", false),
            (SAMPLER, "diff", "redacted", false),
        ];
        for (stage, point, takes, has_secret) in points {
            let may = match access {
                "off" => false,
                "redacted" => takes == "redacted",
                _ => true,
            };
            let shown = shown(&engine, stage, point, &mut number).await;
            assert_eq!(shown.is_some(), may, "{access}: {stage} {point}");
            if let Some(shown) = shown {
                assert_eq!(shown.contains(SECRET), has_secret, "{access}: {stage} {point}: {shown}");
                assert!(has_secret || shown.contains("****"), "{shown}");
            }
        }
        if access == "redacted" {
            // What is not there is told as such, whatever may be shown.
            let (status, _) = Tap::try_open(&engine, all_of("redaction/none", 1)).await.err().unwrap();
            assert_eq!(status, 404);
        }
        let (stderr, stdout) = (engine.process.stderr(), engine.process.stdout());
        assert!(!stderr.contains(SECRET) && !stdout.contains(SECRET), "{stderr}{stdout}");
    }
}

/// A file that allows less ends what is no longer allowed, and only that; one that allows more is enough to begin.
#[tokio::test(flavor = "multi_thread")]
async fn lowering_it_ends_taps_at_once() {
    let sink = keeping().await;
    let engine = start(&config(sink.address), "full").await;
    let open = |stage: &'static str| Tap::open(&engine, all_of(stage, 600));
    let ((all, _), (mut redacted, _)) = (open(BEFORE).await, open(BEHIND).await);
    crate::support::reload(&engine, &config(sink.address), "redacted").await;
    let ended = |end: &Value| assert_eq!(end["end"], "data_access", "{end}");
    let (found, end) = all.rest().await;
    ended(&end);
    assert_eq!(found.len(), 0);
    send(&engine, spans([("after", &[("token", SECRET)][..])])).await;
    let shown = redacted.found().await.unwrap();
    assert!(!shown.to_string().contains(SECRET), "{shown}");
    assert!(Tap::try_open(&engine, all_of(BEFORE, 1)).await.is_err(), "no new one either");

    crate::support::reload(&engine, &config(sink.address), "off").await;
    let (_, end) = redacted.rest().await;
    ended(&end);
    crate::support::reload(&engine, &config(sink.address), "full").await;
    let (mut tap, _) = open(BEFORE).await;
    send(&engine, spans([("again", &[][..])])).await;
    assert_eq!(tap.found().await.unwrap()["before"]["span.name"], "again");
    assert_eq!(sink.connections(), 1, "none of it touched anything else");
}

/// A swap after which a stage edits that did not: what stands before it is no longer redacted.
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_begins_to_edit_ends_what_was_shown_before_it() {
    let sink = keeping().await;
    let wasm = |guest: &str, behaviour: &str| {
        let component = sluicebox_tests::command::guest(guest).unwrap();
        format!("component: {component}, grants: [state], config: {{ behaviour: {behaviour} }}")
    };
    let config = config(sink.address);
    let with_last = |keys: &str| config.clone().processor_of(Signal::Traces, "wasm/last", keys);
    let engine = start(&with_last(&wasm("misbehaving", "noop")), "redacted").await;
    let (mut behind, _) = Tap::open(&engine, with(all_of(BEHIND, 600), &json!({ "point": "after" }))).await;
    send(&engine, spans([("one", &[("token", SECRET)][..])])).await;
    assert_eq!(behind.found().await.unwrap()["after"]["span.name"], "one");
    crate::support::reload(&engine, &with_last(&wasm("misbehaving-redactor", "mask")), "redacted").await;
    let (found, end) = behind.rest().await;
    assert_eq!((found.len(), &end["end"]), (0, &json!("data_access")), "{end}");
}
