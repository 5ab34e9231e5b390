//! What happens after faults: one retry on a new instance, a breaker, a budget of restarts; and that none of it blames records or lets
//! anything round a stage.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Instant;

use super::fakes::{Act, FakeDestination, FakeGeneration, open};
use super::rows::{decoded, guest, request};
use super::*;
use crate::batch::Batch;
use crate::config::model::OnFault;
use crate::observe::health::StageState;
use crate::pipeline::health::{BACKOFF_MAX, FAILURES_MAX, RESTARTS_MAX};
use crate::pipeline::stage::FaultKind;

const SIGNAL: Signal = Signal::Logs;
const STAGE: &str = "wasm/redactor";

/// A stage in one pipeline, with one worker.
fn rig(generation: FakeGeneration) -> (Rig, Arc<FakeDestination>) {
    let sink = FakeDestination::new(open(), |_| TAKEN);
    let exporters: Vec<(_, Arc<dyn Destination>)> = vec![(exporter("sink", 1000), Arc::clone(&sink) as _)];
    let pipelines = vec![vec![Step::Guests(vec![0])]];
    (Rig::new(SIGNAL, 1, vec![Arc::new(generation)], pipelines, exporters), sink)
}

fn rows(texts: &[&str]) -> Bytes {
    request(SIGNAL, &texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
}

fn state(rig: &Rig) -> StageState {
    rig.stages.stages().condition(0).expect("a stage").told().state
}

fn restarts(rig: &Rig) -> usize {
    rig.stages.stages().condition(0).expect("a stage").told().restarts
}

fn swap(rig: &Rig, number: u64) {
    let good = FakeGeneration { number, ..FakeGeneration::new(STAGE, guest(0, FaultKind::Trap)) };
    rig.stages.commit(vec![(0, Arc::new(good))]);
}

async fn got_out(rig: Rig, sink: &FakeDestination) -> Vec<String> {
    rig.finish().await;
    let seen = sink.seen.lock().expect("no panic");
    seen.iter().flat_map(|body| decoded(SIGNAL, body)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_always_fails_is_called_now_and_then_and_a_good_generation_takes_all_at_once() {
    for kind in [FaultKind::Trap, FaultKind::Deadline, FaultKind::HostCallBudget, FaultKind::ReturnedError] {
        let broken = FakeGeneration::new(STAGE, move |_: &Batch, _| Act::Fault(kind));
        let calls = Arc::clone(&broken.calls);
        let (rig, sink) = rig(broken);
        let started = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..300 {
            match rig.send(rows(&["secret"])).await {
                Outcome::Retry { after: Some(after), message } if message.contains("not called") => waits.push(after),
                Outcome::Retry { after: Some(_), .. } => {}
                outcome => panic!("{kind}: {outcome:?}"),
            }
        }
        assert_eq!(state(&rig), StageState::Recoverable, "{kind}");
        assert!(waits.len() > 100 && waits.iter().all(|wait| *wait <= BACKOFF_MAX), "{kind}: {}", waits.len());
        // A request is tried whole, and its record alone, each on an instance of its own; no backoff is shorter than 100 ms.
        let tries = u64::from(FAILURES_MAX) + started.elapsed().as_millis() as u64 / 100 + 1;
        let calls = calls.load(Ordering::Relaxed);
        assert!(calls <= 3 * tries, "{kind}: {calls} calls");
        let (instances, restarts) = (rig.sum("stage_instances_total", &[]), rig.sum("stage_restarts_total", &[]));
        assert!(instances as u64 == calls && restarts == instances - 1, "{kind}: {instances} {restarts}");
        assert_eq!(rig.sum("pipeline_dropped_items_total", &["poison"]), 0);

        swap(&rig, 2);
        assert_eq!(rig.send(rows(&["good =0"])).await, Outcome::ACCEPTED);
        assert_eq!(state(&rig), StageState::Ok);
        assert_eq!(got_out(rig, &sink).await, ["good written-by-0"], "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_recovers_by_itself_is_called_again() {
    let is_broken = Arc::new(AtomicBool::new(true));
    let (broken, judges) = (Arc::clone(&is_broken), guest(0, FaultKind::Trap));
    let generation = FakeGeneration::new(STAGE, move |batch: &Batch, items| match broken.load(Ordering::Relaxed) {
        true => Act::Fault(FaultKind::Trap),
        false => judges(batch, items),
    });
    let (rig, sink) = rig(generation);
    while state(&rig) == StageState::Ok {
        assert!(matches!(rig.send(rows(&["a"])).await, Outcome::Retry { .. }));
    }
    is_broken.store(false, Ordering::Relaxed);
    let deadline = Instant::now() + PATIENCE;
    while rig.send(rows(&["good =0"])).await != Outcome::ACCEPTED {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((state(&rig), restarts(&rig)), (StageState::Ok, 0), "its failures ended in a success");
    assert_eq!(got_out(rig, &sink).await, ["good written-by-0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_in_good_traffic_costs_its_stage_nothing() {
    for (on_fault, kind) in [(OnFault::Reject, FaultKind::Trap), (OnFault::Pass, FaultKind::ReturnedError)] {
        let generation = FakeGeneration { on_fault, ..FakeGeneration::new(STAGE, guest(0, kind)) };
        let (rig, sink) = rig(generation);
        assert_eq!(rig.send(rows(&["good"])).await, Outcome::ACCEPTED);
        for _ in 0..2 * RESTARTS_MAX {
            let poisoned = rig.send(rows(&["a", "b !0", "c"])).await;
            match on_fault {
                OnFault::Reject => assert!(matches!(poisoned, Outcome::Partial { rejected: 1, .. }), "{poisoned:?}"),
                OnFault::Pass => assert_eq!(poisoned, Outcome::ACCEPTED),
            }
            assert_eq!(rig.send(rows(&["good"])).await, Outcome::ACCEPTED);
            assert_eq!((state(&rig), restarts(&rig)), (StageState::Ok, 0));
        }
        rig.finish().await;
        drop(sink);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobodys_faults_open_no_breaker() {
    for kind in [FaultKind::ProcessMemory, FaultKind::Malformed] {
        let broken = FakeGeneration::new(STAGE, move |_: &Batch, _| Act::Fault(kind));
        let calls = Arc::clone(&broken.calls);
        let (rig, sink) = rig(broken);
        for sent in 1..=4 * u64::from(FAILURES_MAX) {
            assert_ne!(rig.send(rows(&["a"])).await, Outcome::ACCEPTED);
            assert!(calls.load(Ordering::Relaxed) >= sent, "{kind}: it is called each time");
        }
        assert_eq!(state(&rig), StageState::Ok);
        assert_eq!(got_out(rig, &sink).await, [""; 0]);
    }
}

/// An instance whose own memory is broken after some calls, as far as its number of calls goes.
fn worn_after(calls_max: u64, on_fault: OnFault) -> FakeGeneration {
    FakeGeneration { on_fault, calls_max, ..FakeGeneration::new(STAGE, guest(0, FaultKind::Trap)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_instance_judges_the_whole_and_nobody_notices_but_the_counters() {
    for on_fault in [OnFault::Pass, OnFault::Reject] {
        let (rig, sink) = rig(worn_after(3, on_fault));
        for _ in 0..10 {
            assert_eq!(rig.send(rows(&["a =0", "b =0"])).await, Outcome::ACCEPTED);
        }
        // At its fourth call an instance faults; the tenth call of all wears its instance out, which is no fault.
        assert_eq!(rig.sum("stage_faults_total", &["memory"]), 2);
        assert_eq!((rig.sum("stage_restarts_total", &[]), rig.sum("stage_instances_total", &[])), (2, 4));
        assert_eq!(rig.sum("stage_passed_unjudged_items_total", &[]), 0);
        assert_eq!((state(&rig), restarts(&rig)), (StageState::Ok, 2));
        let out = got_out(rig, &sink).await;
        assert!(out.len() == 20 && out.iter().all(|text| text.ends_with("written-by-0")), "{out:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_ends_the_calls_until_another_generation_serves() {
    for on_fault in [OnFault::Reject, OnFault::Pass] {
        let generation = worn_after(1, on_fault);
        let calls = Arc::clone(&generation.calls);
        let (rig, sink) = rig(generation);
        for _ in 0..=RESTARTS_MAX {
            assert_eq!(state(&rig), StageState::Ok);
            assert_eq!(rig.send(rows(&["judged =0"])).await, Outcome::ACCEPTED);
        }
        assert_eq!(state(&rig), StageState::Permanent);
        let before = calls.load(Ordering::Relaxed);
        for _ in 0..20 {
            match (on_fault, rig.send(rows(&["not judged =0"])).await) {
                (OnFault::Reject, Outcome::Retry { after: Some(BACKOFF_MAX), .. }) => {}
                (OnFault::Pass, outcome) => assert_eq!(outcome, Outcome::ACCEPTED),
                (OnFault::Reject, outcome) => panic!("{outcome:?}"),
            }
        }
        assert_eq!(calls.load(Ordering::Relaxed), before, "it is not called");
        let passed = if on_fault == OnFault::Pass { 20 } else { 0 };
        assert_eq!(rig.sum("stage_passed_unjudged_items_total", &[]), passed);
        swap(&rig, 2);
        assert_eq!(rig.send(rows(&["judged =0"])).await, Outcome::ACCEPTED);
        let out = got_out(rig, &sink).await;
        assert_eq!(out.iter().filter(|text| *text == "judged written-by-0").count(), RESTARTS_MAX + 2);
        assert_eq!(out.iter().filter(|text| *text == "not judged =0").count() as i64, passed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broken_stage_of_two_holds_back_only_what_it_would_see() {
    let seen = Arc::new(AtomicUsize::new(0));
    let (counts, judges) = (Arc::clone(&seen), guest(0, FaultKind::Trap));
    let first = FakeGeneration::new("first", move |batch: &Batch, items| {
        counts.fetch_add(1, Ordering::Relaxed);
        judges(batch, items)
    });
    let broken = FakeGeneration::new("broken", |_: &Batch, _| Act::Fault(FaultKind::Trap));
    let sink = FakeDestination::new(open(), |_| TAKEN);
    let exporters: Vec<(_, Arc<dyn Destination>)> = vec![(exporter("sink", 1000), Arc::clone(&sink) as _)];
    let pipelines = vec![vec![Step::Guests(vec![0, 1])], vec![Step::Guests(vec![0])]];
    let rig = Rig::new(SIGNAL, 1, vec![Arc::new(first), Arc::new(broken)], pipelines, exporters);
    for _ in 0..50 {
        assert!(matches!(rig.send(rows(&["a =0", "b !0"])).await, Outcome::Retry { .. }), "of both, the worse answer");
    }
    let condition = |index| rig.stages.stages().condition(index).expect("a stage").told().state;
    assert_eq!((condition(0), condition(1)), (StageState::Ok, StageState::Recoverable));
    assert!(seen.load(Ordering::Relaxed) > 100);
    let out = got_out(rig, &sink).await;
    assert!(out.len() == 50 && out.iter().all(|text| text == "a written-by-0"), "the other pipeline's: {out:?}");
}

/// Which stages' data the dead letter may hold: those behind the last editing one, if all editing ones refuse what they fail to judge.
#[tokio::test(flavor = "multi_thread")]
async fn payload_is_asked_of_stages_behind_all_edits() {
    let stage = |name: &str, edits, on_fault| {
        let fake = FakeGeneration::new(name, guest(0, FaultKind::Trap));
        Arc::new(FakeGeneration { edits, on_fault, ..fake }) as Arc<dyn Generation>
    };
    let generations = vec![
        stage("drops", false, OnFault::Pass),
        stage("edits", true, OnFault::Reject),
        stage("drops too", false, OnFault::Reject),
        stage("edits and passes", true, OnFault::Pass),
    ];
    for (order, may) in [
        (vec![vec![1], vec![0]], vec![0]),
        (vec![vec![1, 0, 2]], vec![0, 2]),
        (vec![vec![0, 1, 2, 0]], vec![2]),
        (vec![vec![0, 2]], vec![]),
        (vec![vec![0, 2, 1]], vec![]),
        (vec![vec![3, 0]], vec![]),
        (vec![vec![3, 1], vec![0]], vec![]),
    ] {
        let steps = order.iter().cloned().map(Step::Guests).collect();
        let sink = FakeDestination::new(open(), |_| TAKEN);
        let exporters: Vec<(_, Arc<dyn Destination>)> = vec![(exporter("sink", 1000), Arc::clone(&sink) as _)];
        let rig = Rig::new(SIGNAL, 1, generations.clone(), vec![steps], exporters);
        let redaction = rig.pipelines[0].redaction(&rig.stages.snapshot());
        let behind: Vec<_> = (0..generations.len()).filter(|stage| redaction.is_before(*stage)).collect();
        assert_eq!((behind, redaction.covers_nothing()), (may.clone(), may.is_empty()), "{order:?}");
        rig.finish().await;
    }
}
