//! Nothing goes round a stage that rejects: whatever fails, what it did not judge does not get out.

use std::sync::atomic::AtomicUsize;

use super::fakes::{Act, FakeDestination, FakeGeneration, open};
use super::rows::{decoded, guest, request, write};
use super::*;
use crate::batch::{Batch, Edits};
use crate::config::model::OnFault;
use crate::pipeline::late::LATE_MAX;
use crate::pipeline::stage::{Effects, FaultKind};

const SIGNAL: Signal = Signal::Traces;

/// One worker, one pipeline with these stages in one step, one exporter.
fn rig(generations: Vec<FakeGeneration>) -> (Rig, Arc<FakeDestination>) {
    let stages = (0..generations.len()).collect();
    rig_of(generations, Step::Guests(stages))
}

fn rig_of(generations: Vec<FakeGeneration>, step: Step) -> (Rig, Arc<FakeDestination>) {
    let generations = generations.into_iter().map(|generation| Arc::new(generation) as Arc<dyn Generation>).collect();
    let sink = FakeDestination::new(open(), |_| TAKEN);
    let exporters: Vec<(_, Arc<dyn Destination>)> = vec![(exporter("sink", 100), Arc::clone(&sink) as _)];
    (Rig::new(SIGNAL, 1, generations, vec![vec![step]], exporters), sink)
}

fn rows(texts: &[&str]) -> Bytes {
    request(SIGNAL, &texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
}

/// All rows that got out, once everything has ended.
async fn got_out(rig: Rig, sink: &FakeDestination) -> Vec<String> {
    rig.finish().await;
    let seen = sink.seen.lock().expect("no panic");
    seen.iter().flat_map(|body| decoded(SIGNAL, body)).collect()
}

fn is_retry(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Retry { after: Some(_), .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_faults_always_lets_nothing_through_and_blames_no_record() {
    for kind in FaultKind::ALL {
        for faulting in [0, 1] {
            let stage = |number: usize| {
                let judges = guest(number, kind);
                let guest = move |batch: &Batch, items| match number == faulting {
                    true => Act::Fault(kind),
                    false => judges(batch, items),
                };
                FakeGeneration::new(&format!("stage {number}"), guest)
            };
            let (rig, sink) = rig(vec![stage(0), stage(1), stage(2)]);
            for _ in 0..2 * LATE_MAX {
                let outcome = rig.send(rows(&["a =0", "b", "c -0"])).await;
                let without_rows = rig.send(fakes::request(SIGNAL, 2, 0)).await;
                for outcome in [outcome, without_rows] {
                    match kind {
                        FaultKind::Malformed => assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}"),
                        _ => assert!(is_retry(&outcome), "{kind}: {outcome:?}"),
                    }
                }
            }
            assert_eq!(rig.sum("pipeline_dropped_items_total", &["poison"]), 0);
            assert_eq!(got_out(rig, &sink).await, [""; 0], "{kind} at stage {faulting}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_without_an_instance_lets_nothing_through_and_blames_no_record() {
    let first = FakeGeneration::new("first", guest(0, FaultKind::Trap));
    let second = FakeGeneration::new("second", guest(1, FaultKind::Trap));
    let is_unavailable = Arc::clone(&second.is_unavailable);
    let (rig, sink) = rig(vec![first, second]);
    assert_eq!(rig.send(rows(&["good =1"])).await, Outcome::ACCEPTED);
    is_unavailable.store(true, Ordering::Relaxed);
    // Its instance goes with the first of them, and there is no other.
    for _ in 0..2 * LATE_MAX {
        assert!(is_retry(&rig.send(rows(&["bad !1", "beside =1"])).await));
    }
    is_unavailable.store(false, Ordering::Relaxed);
    assert_eq!(rig.send(rows(&["good again =1"])).await, Outcome::ACCEPTED);
    assert_eq!(rig.sum("pipeline_dropped_items_total", &["poison"]), 0);
    assert_eq!(got_out(rig, &sink).await, ["good written-by-1", "good again written-by-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_the_process_does_not_have_is_no_records_fault() {
    let (rig, sink) = rig(vec![FakeGeneration::new("redactor", guest(0, FaultKind::ProcessMemory))]);
    assert_eq!(rig.send(rows(&["good"])).await, Outcome::ACCEPTED);
    for _ in 0..2 * LATE_MAX {
        assert!(is_retry(&rig.send(rows(&["!0", "beside"])).await));
    }
    assert_eq!(got_out(rig, &sink).await, ["good"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_is_not_there_lets_nothing_through() {
    let generations = vec![FakeGeneration::new("there", guest(0, FaultKind::Trap))];
    let (rig, sink) = rig_of(generations, Step::Guests(vec![0, 1]));
    assert!(is_retry(&rig.send(rows(&["a"])).await));
    assert_eq!(got_out(rig, &sink).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_lets_nothing_through() {
    let calls = AtomicUsize::new(0);
    let judges = guest(1, FaultKind::Trap);
    let broken = move |batch: &Batch, items| match calls.fetch_add(1, Ordering::Relaxed) {
        1 => Act::Panic,
        _ => judges(batch, items),
    };
    let first = FakeGeneration::new("first", guest(0, FaultKind::Trap));
    let (rig, sink) = rig(vec![first, FakeGeneration::new("broken", broken)]);
    assert_eq!(rig.send(rows(&["good =1"])).await, Outcome::ACCEPTED);
    assert!(is_retry(&rig.send(rows(&["bad =1"])).await));
    assert_eq!(rig.send(rows(&["good =1"])).await, Outcome::ACCEPTED);
    assert_eq!(got_out(rig, &sink).await, ["good written-by-1", "good written-by-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_a_record_is_looked_for_lets_nothing_through() {
    let judges = guest(0, FaultKind::Trap);
    // The whole traps, the first half of it panics.
    let broken = move |batch: &Batch, items: std::ops::Range<u32>| match items.len() {
        2 => Act::Panic,
        _ => judges(batch, items),
    };
    let (rig, sink) = rig(vec![FakeGeneration::new("broken", broken)]);
    assert!(is_retry(&rig.send(rows(&["a", "b", "!0", "d"])).await));
    assert_eq!(got_out(rig, &sink).await, [""; 0]);
}

/// Names each slice's resource otherwise, so that the edits of two slices contradict each other.
fn contradicting() -> FakeGeneration {
    let slices = AtomicUsize::new(0);
    FakeGeneration::new("contradicting", move |batch: &Batch, items: std::ops::Range<u32>| {
        let resources = batch.rows(&batch.slice(items.clone()), crate::batch::Level::Resource);
        let slice = slices.fetch_add(1, Ordering::Relaxed);
        let new: Vec<_> = (0..resources).map(|_| Some(format!("slice {slice}"))).collect();
        let edits: Edits = write(batch, items, "resource.attributes[\"at\"]", &new);
        Act::Want(Effects { edits, edited: vec![(0, u64::from(resources))], ..Effects::default() })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_that_contradict_each_other_are_bad_output() {
    let many: Vec<_> = (0..5000).map(|n| format!("row {n}")).collect();
    let (rig, sink) = rig(vec![contradicting()]);
    assert!(is_retry(&rig.send(request(SIGNAL, &many)).await), "no record is to blame");
    assert!(rig.sum("stage_faults_total", &["bad_output"]) > 0);
    assert_eq!(rig.sum("pipeline_edited_places_total", &[]), 0);
    assert_eq!(got_out(rig, &sink).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_passing_stage_cannot_write_goes_on_as_it_was() {
    let many: Vec<_> = (0..5000).map(|n| format!("row {n}")).collect();
    let passing = FakeGeneration { on_fault: OnFault::Pass, ..contradicting() };
    let (rig, sink) = rig(vec![passing, FakeGeneration::new("next", guest(1, FaultKind::Trap))]);
    assert_eq!(rig.send(request(SIGNAL, &many)).await, Outcome::ACCEPTED);
    assert_eq!(rig.sum("stage_passed_unjudged_items_total", &["contradicting"]), 5000);
    rig.finish().await;
    assert_eq!(*sink.seen.lock().expect("no panic"), [request(SIGNAL, &many)], "the very bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_stage_passes_the_next_ones_judge() {
    let passing = |kind| FakeGeneration { on_fault: OnFault::Pass, ..FakeGeneration::new("passing", guest(0, kind)) };
    for kind in FaultKind::ALL.into_iter().filter(|kind| *kind != FaultKind::Malformed) {
        let (rig, sink) = rig(vec![passing(kind), FakeGeneration::new("redactor", guest(1, FaultKind::Trap))]);
        assert_eq!(rig.send(rows(&["secret =1 !0", "b -0"])).await, Outcome::ACCEPTED);
        assert!(matches!(rig.send(rows(&["!0 !1", "=1"])).await, Outcome::Partial { rejected: 1, .. }));
        assert_eq!(rig.sum("stage_passed_unjudged_items_total", &["passing"]), 2);
        assert_eq!(got_out(rig, &sink).await, ["secret written-by-1 !0", "b -0", "written-by-1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_late_each_time_is_rejected_in_the_end() {
    let (rig, sink) = rig(vec![FakeGeneration::new("redactor", guest(0, FaultKind::Deadline))]);
    assert_eq!(rig.send(rows(&["good =0"])).await, Outcome::ACCEPTED);
    for _ in 1..LATE_MAX {
        assert!(is_retry(&rig.send(rows(&["slow !0", "beside"])).await));
        assert!(is_retry(&rig.send(rows(&["other !0"])).await), "it is counted by itself");
    }
    let Outcome::Partial { rejected: 2, message } = rig.send(rows(&["slow !0", "beside"])).await else {
        panic!("is rejected");
    };
    assert!(message.contains("\"redactor\"") && !message.contains("slow"), "{message}");
    assert_eq!(rig.sum("pipeline_dropped_items_total", &["redactor", "poison", "intended=\"false\""]), 2);
    assert_eq!(rig.sum("receiver_refused_items_total", &[]), 2 + i64::from(LATE_MAX - 1) * 3);
    assert_eq!(got_out(rig, &sink).await, ["good written-by-0"]);
}
