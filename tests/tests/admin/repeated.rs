//! `Idempotency-Key`: what is asked for again is done once.

use serde_json::json;
use sluicebox_tests::engine::Engine;

use crate::support::{Answer, OTHER, STAGE, ask, bearer, engine, generation, hanging_swap};

async fn swap(engine: &Engine, key: &str, stage: &str) -> Answer {
    let headers =
        [bearer(engine), ("content-type", "application/json".to_owned()), ("idempotency-key", key.to_owned())];
    ask(engine, "POST", "/v1/swap?wait=true", &headers, &json!({ "stage": stage }).to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gets_the_same_answer_and_does_nothing_more() {
    let engine = engine().await;
    let first = swap(&engine, "once", STAGE).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (200, ""), "{first:?}");
    let again = swap(&engine, "once", STAGE).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"), "{again:?}");
    assert_eq!(again.text, first.text);
    assert_eq!(generation(&engine, STAGE).await, 2, "swapped once");
    let other = swap(&engine, "once", OTHER).await;
    assert_eq!(other.refused(), (422, "E0527".to_owned()));
    assert_eq!(generation(&engine, OTHER).await, 1);
    assert_eq!(swap(&engine, "twice", STAGE).await.status, 200);
    assert_eq!(generation(&engine, STAGE).await, 3);
}

/// Sent twice at once, as a client does that lost patience: both get the one answer.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_again_at_once_waits_for_the_first() {
    let engine = engine().await;
    let (one, two) = tokio::join!(swap(&engine, "both", STAGE), swap(&engine, "both", STAGE));
    assert_eq!((one.status, two.status), (200, 200), "{one:?} {two:?}");
    assert_eq!(one.text, two.text);
    assert_eq!(generation(&engine, STAGE).await, 2);
}

/// What was in the way once may not be the next time.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_not_remembered() {
    let engine = engine().await;
    let id = hanging_swap(&engine, STAGE).await;
    assert_eq!(swap(&engine, "later", STAGE).await.refused(), (409, "E0526".to_owned()));
    crate::support::ended(&engine, id).await;
    assert_eq!(swap(&engine, "later", STAGE).await.status, 200);
}

/// The last 64 keys are remembered, and a key is not endless.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_bounded() {
    let engine = engine().await;
    assert_eq!(swap(&engine, "first", STAGE).await.status, 200);
    let level = async |key: &str| {
        let headers =
            [bearer(&engine), ("content-type", "application/json".to_owned()), ("idempotency-key", key.to_owned())];
        ask(&engine, "PUT", "/v1/log-level", &headers, "{\"level\":\"info\"}").await
    };
    for n in 0..64 {
        assert_eq!(level(&format!("key {n}")).await.status, 200);
    }
    assert_eq!(swap(&engine, "first", STAGE).await.header("idempotency-replayed"), "", "it is forgotten");
    assert_eq!(generation(&engine, STAGE).await, 3);
    for wrong in ["", &"k".repeat(129)] {
        assert_eq!(level(wrong).await.refused(), (400, "E0524".to_owned()), "{wrong}");
    }
}
