//! Several exporters: all or none, and who may be left out.

use super::fakes::{FakeDestination, open, request};
use super::*;

fn body() -> Bytes {
    request(Signal::Traces, 1, 10)
}

/// A pipeline without steps; exporters that fail lose their vote at once.
fn rig(exporters: Vec<(model::Exporter, Arc<dyn Destination>)>) -> Rig {
    let patience = Patience { failing_votes_until: Duration::ZERO, ..Patience::default() };
    Rig::with_patience(patience, Signal::Traces, 1, Vec::new(), vec![Vec::new()], exporters)
}

/// An exporter that has failed, tries again for ever, and has no place left.
fn dead(name: &str, wait_for_result: bool) -> (model::Exporter, Arc<dyn Destination>) {
    let mut config = exporter(name, 1);
    (config.queue.consumers, config.queue.wait_for_result) = (1, wait_for_result);
    (config.retry.enabled, config.retry.max_interval) = (true, Duration::from_millis(10));
    (config, FakeDestination::new(open(), |_| later()))
}

/// Sends until the last exporter, and so every one of the dead, fails and has no place left.
async fn fill(rig: &Rig) -> Vec<Answer> {
    let mut answers = vec![rig.submit(body())];
    for exporter in rig.exporters.iter().rev().take_while(|exporter| exporter.name() != "alive") {
        rig.until("it fails", |_| exporter.failing_since().is_some()).await;
        while exporter.try_reserve().is_ok() {
            answers.push(rig.submit(body()));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    answers
}

/// Ends with what the dead still have.
async fn finish(rig: Rig, answers: Vec<Answer>) {
    for exporter in &rig.exporters {
        exporter.shutdown(Duration::ZERO).await;
    }
    for answer in answers {
        heard(answer).await;
    }
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_for_long_does_not_hold_up_the_others() {
    for waits in [false, true] {
        let alive = FakeDestination::new(open(), |_| TAKEN);
        let mut config = exporter("alive", 100);
        config.queue.wait_for_result = waits;
        let rig = rig(vec![(config, alive), dead("dead", waits)]);
        let answers = fill(&rig).await;
        assert_eq!(rig.send(body()).await, Outcome::ACCEPTED, "wait_for_result: {waits}");
        assert!(rig.sum("exporter_dropped_items_total", &["dead", "skipped"]) >= 10);
        finish(rig, answers).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_is_not_acknowledged() {
    let rig = rig(vec![dead("one", false), dead("two", false)]);
    let answers = fill(&rig).await;
    assert!(matches!(rig.send(body()).await, Outcome::Retry { after: Some(_), .. }), "both are full and fail");
    finish(rig, answers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_gives_back_the_places_in_others() {
    let (key, gate) = closed();
    let mut narrow = exporter("narrow", 1);
    narrow.queue.consumers = 1;
    let stuck = FakeDestination::new(gate, |_| TAKEN);
    let rig = rig(vec![(exporter("wide", 3), FakeDestination::new(open(), |_| TAKEN)), (narrow, stuck)]);
    let mut refused = 0;
    for _ in 0..20 {
        refused += u32::from(rig.send(body()).await != Outcome::ACCEPTED);
        rig.until("the wide one is empty", |rig| rig.sum("exporter_queued_items", &["wide"]) == 0).await;
    }
    assert!(refused >= 17, "{refused}");
    let sent = rig.sum("exporter_sent_items_total", &["wide"]);
    assert_eq!(sent, 10 * i64::from(20 - refused), "none of it goes to the others");
    key.send_replace(true);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_place_holds_none_elsewhere() {
    let (key, gate) = closed();
    let mut blocking = exporter("blocking", 1);
    (blocking.queue.block_on_overflow, blocking.queue.consumers) = (true, 1);
    let stuck = FakeDestination::new(gate, |_| TAKEN);
    let rig = rig(vec![(exporter("other", 1), FakeDestination::new(open(), |_| TAKEN)), (blocking, stuck)]);
    let answers: Vec<_> = (0..2).map(|_| rig.send(body())).collect();
    for answer in answers {
        answer.await;
        rig.until("the other is empty", |rig| rig.sum("exporter_queued_items", &["other"]) == 0).await;
    }
    let waiting = rig.submit(body());
    rig.until("it waits", |rig| rig.sum("pipeline_held_items", &[]) == 10).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(rig.exporters[0].try_reserve().is_ok(), "its only place is free");
    key.send_replace(true);
    assert_eq!(heard(waiting).await, Outcome::ACCEPTED);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_place_waits_for_bytes_too() {
    let (key, gate) = closed();
    let metrics = Metrics::new();
    let start = || Exporter::start(&exporter("sink", 10), FakeDestination::new(gate.clone(), |_| TAKEN), &metrics);
    let parcel = || {
        let part = crate::export::Part { bytes: body(), account: 10, ack: None, charge: None };
        crate::export::Parcel { signal: Signal::Traces, parts: vec![part] }
    };
    let patience = Duration::from_millis(20);
    for opens in [true, false] {
        let bounded = Arc::new(start().with_bytes_max(body().len() as u64));
        bounded.try_reserve().expect("it is empty").push(parcel());
        assert!(bounded.try_reserve().is_err());
        let waiting = (0..3).map(|_| {
            let bounded = Arc::clone(&bounded);
            tokio::spawn(async move { bounded.reserve().await.map(|slot| slot.push(parcel())) })
        });
        let waiting: Vec<_> = waiting.collect();
        tokio::time::sleep(patience).await;
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        if opens {
            key.send_replace(true);
        } else {
            bounded.shutdown(Duration::ZERO).await;
        }
        for waiting in waiting {
            let reserved = tokio::time::timeout(PATIENCE, waiting).await.expect("in time").expect("ends");
            assert_eq!(reserved.is_ok(), opens);
        }
        bounded.shutdown(PATIENCE).await;
        assert_eq!(bounded.queued_bytes(), 0);
        key.send_replace(false);
    }
}
