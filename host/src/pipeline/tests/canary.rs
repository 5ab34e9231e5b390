//! Candidates beside what serves: who judges what, and what their failures cost.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::fakes::{Act, FakeDestination, FakeGeneration, open, request};
use super::*;
use crate::config::model::OnFault;
use crate::pipeline::canary::{Canary, JudgedBatch, Observer, Share};
use crate::pipeline::health::FAILURES_MAX;
use crate::pipeline::stage::{Fault, FaultKind};

/// Batches by who judged them, and failures: of what serves, of the candidate.
#[derive(Default)]
struct Seen {
    judged: Mutex<[u64; 2]>,
    records: Mutex<[u64; 2]>,
    dropped: Mutex<[u64; 2]>,
    failed: Mutex<[u64; 2]>,
}

impl Seen {
    fn of(counts: &Mutex<[u64; 2]>) -> [u64; 2] {
        *counts.lock().expect("no panic")
    }
}

impl Observer for Seen {
    fn judged(&self, batch: &JudgedBatch<'_>) {
        let side = usize::from(batch.by_candidate);
        self.judged.lock().expect("no panic")[side] += 1;
        self.records.lock().expect("no panic")[side] += batch.records;
        self.dropped.lock().expect("no panic")[side] += batch.dropped;
    }

    fn failed(&self, by_candidate: bool, _fault: &Fault) {
        self.failed.lock().expect("no panic")[usize::from(by_candidate)] += 1;
    }
}

/// Drops as many of the first items of every batch.
fn dropping(number: u64, items: u32) -> FakeGeneration {
    let generation = FakeGeneration::new("stage", move |_, _| Act::Drop((0..items).collect(), 0));
    FakeGeneration { number, ..generation }
}

fn faulting(number: u64, on_fault: OnFault) -> FakeGeneration {
    let generation = FakeGeneration::new("stage", |_, _| Act::Fault(FaultKind::Trap));
    FakeGeneration { number, on_fault, ..generation }
}

fn rig(serving: FakeGeneration) -> (Rig, Arc<FakeDestination>) {
    let sink = FakeDestination::new(open(), |_| TAKEN);
    let exporters: Vec<(_, Arc<dyn Destination>)> = vec![(exporter("sink", 1_000), Arc::clone(&sink) as _)];
    (Rig::new(Signal::Traces, 1, vec![Arc::new(serving)], vec![vec![Step::Guests(vec![0])]], exporters), sink)
}

fn begin(rig: &Rig, candidate: &Arc<dyn Generation>, percent: f64) -> (Arc<Canary>, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let share = Share::of_percent(percent).expect("is one");
    let canary = Canary::new(0, candidate, share, Arc::<Seen>::clone(&seen));
    rig.stages.begin_canary(&canary);
    (canary, seen)
}

/// Sends requests of ten items, one after another; how many items of each were left.
async fn sent(rig: &Rig, sink: &FakeDestination, requests: usize) -> Vec<u64> {
    let before = sink.taken.lock().expect("no panic").len();
    for _ in 0..requests {
        assert_eq!(rig.send(request(Signal::Traces, 1, 10)).await, Outcome::ACCEPTED);
    }
    rig.until("all of it arrives", |_| sink.taken.lock().expect("no panic").len() == before + requests).await;
    sink.taken.lock().expect("no panic").iter().skip(before).copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_judged_by_the_candidate_and_afterwards_nothing() {
    let (rig, sink) = rig(dropping(1, 1));
    let candidate: Arc<dyn Generation> = Arc::new(dropping(2, 4));
    let (canary, seen) = begin(&rig, &candidate, 20.0);
    let left = sent(&rig, &sink, 200).await;
    let by = |items: u64| left.iter().filter(|&&left| left == items).count() as u64;
    let (by_candidate, by_serving) = (by(6), by(9));
    assert!((38..=42).contains(&by_candidate), "a fifth, by the candidate: {by_candidate}");
    assert_eq!(by_serving, 200 - by_candidate, "the others, by what serves");
    assert_eq!(Seen::of(&seen.judged), [by_serving, by_candidate]);
    assert_eq!(Seen::of(&seen.records), [by_serving * 10, by_candidate * 10]);
    assert_eq!(Seen::of(&seen.dropped), [by_serving, by_candidate * 4]);
    rig.stages.end_canary(&canary);
    assert!(sent(&rig, &sink, 50).await.iter().all(|&left| left == 9));
    assert_eq!(Seen::of(&seen.judged), [by_serving, by_candidate], "nobody is told any more");
    drop(canary);
    rig.until("workers let go of it", |_| Arc::strong_count(&candidate) == 1).await;
    rig.finish().await;
}

/// Instances are made once for each, however often batches of both come by turns.
#[tokio::test(flavor = "multi_thread")]
async fn both_keep_their_instances() {
    let (rig, sink) = rig(dropping(1, 1));
    let instances = |rig: &Rig| rig.sum("stage_instances_total", &["stage=\"stage\""]);
    let candidate = FakeGeneration { calls: Arc::new(AtomicU64::new(1)), ..dropping(2, 4) };
    let (_canary, _seen) = begin(&rig, &(Arc::new(candidate) as _), 50.0);
    sent(&rig, &sink, 8).await;
    assert!(instances(&rig) <= 2, "{}", rig.metrics.text());
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_candidate_cannot_judge_is_judged_by_what_serves() {
    for on_fault in [OnFault::Reject, OnFault::Pass] {
        let (rig, sink) = rig(dropping(1, 1));
        let (_canary, seen) = begin(&rig, &(Arc::new(faulting(2, on_fault)) as _), 50.0);
        let batches = 4 * FAILURES_MAX as usize;
        let left = sent(&rig, &sink, batches).await;
        assert!(left.iter().all(|&left| left == 9), "nothing goes round the stage, and nothing is lost: {left:?}");
        assert_eq!(Seen::of(&seen.failed), [0, 2 * u64::from(FAILURES_MAX)]);
        assert_eq!(Seen::of(&seen.judged), [batches as u64, 0]);
        assert_eq!(rig.sum("stage_breaker_open", &["stage=\"stage\""]), 0, "the breaker of what serves is closed");
        assert_eq!(rig.sum("stage_state", &["stage=\"stage\"", "state=\"ok\""]), 1);
        rig.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_a_candidate_costs_nobody_anything() {
    let (rig, sink) = rig(dropping(1, 1));
    let generation = FakeGeneration::new("stage", |_, _| Act::Panic);
    let (_canary, seen) = begin(&rig, &(Arc::new(FakeGeneration { number: 2, ..generation }) as _), 50.0);
    assert!(sent(&rig, &sink, 10).await.iter().all(|&left| left == 9));
    assert_eq!(Seen::of(&seen.failed), [0, 5]);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_its_stage_ends_a_canary_and_one_of_another_stage_does_not() {
    let sink = FakeDestination::new(open(), |_| TAKEN);
    let exporters: Vec<(_, Arc<dyn Destination>)> = vec![(exporter("sink", 1_000), Arc::clone(&sink) as _)];
    let other = |number, items: u32| -> Arc<dyn Generation> {
        let generation = FakeGeneration::new("other", move |_, _| Act::Drop((0..items).collect(), 0));
        Arc::new(FakeGeneration { number, ..generation })
    };
    let generations: Vec<Arc<dyn Generation>> = vec![Arc::new(dropping(1, 1)), other(1, 0)];
    let rig = Rig::new(Signal::Traces, 1, generations, vec![vec![Step::Guests(vec![0, 1])]], exporters);
    let (_canary, _seen) = begin(&rig, &(Arc::new(dropping(2, 4)) as _), 50.0);
    rig.stages.commit(vec![(1, other(2, 1))]);
    let left = sent(&rig, &sink, 10).await;
    assert_eq!(
        (left.iter().filter(|&&left| left == 5).count(), left.iter().filter(|&&left| left == 8).count()),
        (5, 5)
    );
    rig.stages.commit(vec![(0, Arc::new(dropping(3, 2)))]);
    assert!(sent(&rig, &sink, 10).await.iter().all(|&left| left == 7));
    rig.finish().await;
}

/// Pipelines of an earlier file finish by it, but not with a candidate whose canary is over.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_file_keeps_a_canary_of_a_stage_that_stays_and_ends_that_of_one_it_replaces() {
    for (is_replaced, by_candidate) in [(false, 5), (true, 0)] {
        let (rig, sink) = rig(dropping(1, 1));
        let (_canary, seen) = begin(&rig, &(Arc::new(dropping(2, 4)) as _), 50.0);
        let built: Vec<Arc<dyn Generation>> = if is_replaced { vec![Arc::new(dropping(3, 1))] } else { Vec::new() };
        let next = rig.stages.stages().next(|_| true, built, &rig.metrics);
        rig.stages.publish(&next);
        // The rig's pipeline is one of the file before.
        let left = sent(&rig, &sink, 10).await;
        assert_eq!(left.iter().filter(|&&left| left == 6).count(), by_candidate, "{left:?}");
        assert_eq!(Seen::of(&seen.judged)[1], by_candidate as u64);
        assert_eq!(next.snapshot().has_canaries(), !is_replaced);
        rig.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_what_serves_are_told_apart() {
    let (rig, _sink) = rig(faulting(1, OnFault::Reject));
    let (_canary, seen) = begin(&rig, &(Arc::new(dropping(2, 4)) as _), 50.0);
    for turn in 0..4 {
        let outcome = rig.send(request(Signal::Traces, 1, 10)).await;
        assert_eq!(outcome == Outcome::ACCEPTED, turn % 2 == 0, "{outcome:?}");
    }
    assert_eq!((Seen::of(&seen.judged), Seen::of(&seen.failed)), ([0, 2], [2, 0]));
    rig.finish().await;
}
