//! Workers and stages: faults, panics, swaps.

use std::sync::atomic::AtomicBool;

use super::fakes::{Act, FakeDestination, FakeGeneration, malformed, open, request};
use super::*;
use crate::config::model::OnFault;
use crate::pipeline::stage::FaultKind;

fn rig(generations: Vec<FakeGeneration>) -> (Rig, Arc<FakeDestination>) {
    let stages = (0..generations.len()).collect();
    let generations = generations.into_iter().map(|generation| Arc::new(generation) as Arc<dyn Generation>).collect();
    let sink = FakeDestination::new(open(), |_| TAKEN);
    let exporters: Vec<(_, Arc<dyn Destination>)> = vec![(exporter("sink", 100), Arc::clone(&sink) as _)];
    (Rig::new(Signal::Traces, 1, generations, vec![vec![Step::Guests(stages)]], exporters), sink)
}

/// Whether the batch is a request of `items` alone.
fn is_alone(batch: &crate::batch::Batch, items: u32) -> bool {
    batch.items() == items
}

/// Keeps the only worker busy until the returned flag is set, so that what is sent meanwhile is judged together.
fn stopper() -> (Arc<AtomicBool>, impl Fn(&crate::batch::Batch) + Send + Sync) {
    let go = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&go);
    let wait = move |batch: &crate::batch::Batch| {
        while is_alone(batch, 1) && !gate.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    (go, wait)
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_rows_go_and_what_is_left_goes_on() {
    let first = FakeGeneration::new("first", |_, items| Act::Drop((0..items.end).step_by(2).collect(), 0));
    let second = FakeGeneration::new("second", |_, items| Act::Drop((0..items.end).skip(1).collect(), 1));
    let (rig, sink) = rig(vec![first, second]);
    assert_eq!(rig.send(request(Signal::Traces, 1, 7)).await, Outcome::ACCEPTED);
    assert_eq!(rig.send(request(Signal::Traces, 1, 1)).await, Outcome::ACCEPTED, "nothing of it is left");
    assert_eq!(rig.send(request(Signal::Traces, 3, 0)).await, Outcome::ACCEPTED, "it has no items");
    assert_eq!(rig.send(Bytes::new()).await, Outcome::ACCEPTED);
    let dropped = |stage: &str, rule: &str| rig.sum("pipeline_dropped_items_total", &[stage, rule]);
    assert_eq!((dropped("stage=\"first\"", "even"), dropped("stage=\"second\"", "odd")), (5, 2));
    rig.until("the rest arrives", |_| sink.taken.lock().expect("no panic").len() == 2).await;
    assert_eq!(*sink.taken.lock().expect("no panic"), [1, 0]);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_does_not_cost_others_theirs() {
    let (go, wait) = stopper();
    let guest = move |batch: &crate::batch::Batch, _| {
        wait(batch);
        // Together or alone, the request of five spans is what it trips over.
        match (0..batch.items()).any(|row| batch.items_of(batch.segment_of(row)).len() == 5) {
            true => Act::Fault(FaultKind::Trap),
            false => Act::Drop(Vec::new(), 0),
        }
    };
    let (rig, _sink) = rig(vec![FakeGeneration::new("picky", guest)]);
    let bodies = [
        request(Signal::Traces, 1, 1),
        request(Signal::Traces, 1, 2),
        request(Signal::Traces, 1, 5),
        malformed(),
        request(Signal::Traces, 1, 3),
    ];
    let answers: Vec<_> = bodies.into_iter().map(|body| rig.submit(body)).collect();
    go.store(true, Ordering::Relaxed);
    let mut outcomes = Vec::new();
    for answer in answers {
        outcomes.push(heard(answer).await);
    }
    let [blocker, two, five, bad, three] = outcomes.try_into().expect("five");
    assert_eq!([blocker, two, three], [Outcome::ACCEPTED; 3]);
    assert!(matches!(five, Outcome::Retry { after: Some(_), .. }), "{five:?}");
    assert!(matches!(bad, Outcome::Refused { .. }), "{bad:?}");
    assert_eq!(rig.sum("pipeline_dropped_items_total", &["reason=\"fault\""]), 5);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_neither_the_thread_nor_other_requests() {
    let (go, wait) = stopper();
    let guest = move |batch: &crate::batch::Batch, _| {
        wait(batch);
        if is_alone(batch, 4) || batch.items() > 4 { Act::Panic } else { Act::Drop(Vec::new(), 0) }
    };
    let (rig, _sink) = rig(vec![FakeGeneration::new("broken", guest)]);
    for _ in 0..3 {
        go.store(false, Ordering::Relaxed);
        let answers = [1, 2, 4, 3].map(|items| rig.submit(request(Signal::Traces, 1, items)));
        go.store(true, Ordering::Relaxed);
        let mut retries = 0;
        for answer in answers {
            retries += u32::from(matches!(heard(answer).await, Outcome::Retry { .. }));
        }
        assert_eq!(retries, 1, "only the one that panics alone");
    }
    assert!(rig.sum("pipeline_dropped_items_total", &["reason=\"internal_error\""]) == 0, "it never got in");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_always_faults_late_does_not_keep_the_thread() {
    let (go, wait) = stopper();
    let guest = move |batch: &crate::batch::Batch, _| {
        wait(batch);
        if is_alone(batch, 1) {
            return Act::Drop(Vec::new(), 0);
        }
        std::thread::sleep(Duration::from_millis(100));
        Act::Fault(FaultKind::Deadline)
    };
    let generation = FakeGeneration::new("slow", guest);
    let calls = Arc::clone(&generation.calls);
    let (rig, _sink) = rig(vec![generation]);
    let first = rig.submit(request(Signal::Traces, 1, 1));
    let others: Vec<_> = (0..100).map(|n| rig.submit(request(Signal::Traces, 1, 2 + n))).collect();
    go.store(true, Ordering::Relaxed);
    assert_eq!(heard(first).await, Outcome::ACCEPTED);
    for answer in others {
        assert!(matches!(heard(answer).await, Outcome::Retry { .. }));
    }
    assert!(calls.load(Ordering::Relaxed) < 50, "the rest is told to retry without a call");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_passing_stage_faults_on_goes_on() {
    let fault = FakeGeneration::new("sampler", |_, _| Act::Fault(FaultKind::ReturnedError));
    let (rig, sink) = rig(vec![FakeGeneration { on_fault: OnFault::Pass, ..fault }]);
    assert_eq!(rig.send(request(Signal::Traces, 1, 3000)).await, Outcome::ACCEPTED);
    assert_eq!(rig.sum("stage_passed_unjudged_items_total", &["sampler"]), 3000);
    rig.until("it arrives", |_| !sink.taken.lock().expect("no panic").is_empty()).await;
    assert_eq!(*sink.taken.lock().expect("no panic"), [3000]);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_generation_goes_however_busy_the_workers_are() {
    let generation = |stage: &str| FakeGeneration::new(stage, |_, _| Act::Drop(Vec::new(), 0));
    let generations: Vec<Arc<dyn Generation>> = vec![Arc::new(generation("a")), Arc::new(generation("b"))];
    let sink = FakeDestination::new(open(), |_| TAKEN);
    let exporters: Vec<(_, Arc<dyn Destination>)> = vec![(exporter("sink", 10_000), sink)];
    let steps = vec![vec![Step::Guests(vec![0])], vec![Step::Guests(vec![1])]];
    let rig = Rig::new(Signal::Traces, 2, generations, steps, exporters);
    for _ in 0..20 {
        let old = Arc::downgrade(rig.stages.snapshot().get(0).expect("serves"));
        let answers: Vec<_> = (0..50).map(|_| rig.submit(request(Signal::Traces, 1, 2))).collect();
        rig.stages.commit(vec![(0, Arc::new(generation("a")))]);
        rig.until("the old generation is gone", |_| old.strong_count() == 0).await;
        for answer in answers {
            assert_eq!(heard(answer).await, Outcome::ACCEPTED);
        }
    }
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_follows_the_bytes() {
    let (key, gate) = closed();
    let half = FakeGeneration::new("half", |_, items| Act::Drop((0..items.end).step_by(2).collect(), 0));
    let sink = FakeDestination::new(gate, |_| TAKEN);
    let exporters: Vec<(_, Arc<dyn Destination>)> = vec![(exporter("sink", 10), sink)];
    let steps = vec![vec![Step::Guests(vec![0])], vec![]];
    let rig = Rig::new(Signal::Traces, 1, vec![Arc::new(half)], steps, exporters);
    let body = request(Signal::Traces, 1, 100);
    assert_eq!(rig.send(body.clone()).await, Outcome::ACCEPTED);
    let (whole, used) = (body.len() as u64, rig.budget.bytes_used());
    assert!(used > whole * 14 / 10 && used < whole * 16 / 10, "the whole and a half of it: {used} of {whole}");
    key.send_replace(true);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_too_late_is_told_to_retry() {
    let (go, wait) = stopper();
    let guest = move |batch: &crate::batch::Batch, _| {
        wait(batch);
        Act::Drop(Vec::new(), 0)
    };
    let (rig, _sink) = rig(vec![FakeGeneration::new("slow", guest)]);
    let first = rig.submit(request(Signal::Traces, 1, 1));
    rig.until("the worker is busy", |rig| rig.pipelines[0].open_parts() == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = rig.submit(request(Signal::Traces, 1, 2));
    rig.workers.late().store(true, Ordering::Relaxed);
    go.store(true, Ordering::Relaxed);
    heard(first).await;
    assert!(matches!(heard(second).await, Outcome::Retry { .. }));
    rig.finish().await;
}
