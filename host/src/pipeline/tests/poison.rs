//! Records that fault alone are found and rejected alone; what is beside them goes on, judged.

use std::sync::atomic::AtomicBool;

use super::fakes::{Act, FakeDestination, FakeGeneration, open};
use super::rows::{account, decoded, guest, request, request_without, texts};
use super::*;
use crate::batch::Batch;
use crate::pipeline::stage::FaultKind;

/// Stages that do what rows say, in one step; a wait for the sink's answer.
struct Setup {
    signal: Signal,
    stages: Vec<FakeGeneration>,
    patience: Patience,
    answer: fn(u64) -> Sent,
}

impl Setup {
    fn new(signal: Signal, stages: usize) -> Setup {
        let stage = |number| FakeGeneration::new(&format!("stage {number}"), guest(number, FaultKind::Trap));
        let stages = (0..stages).map(stage).collect();
        Setup { signal, stages, patience: Patience::default(), answer: |_| TAKEN }
    }

    fn rig(self) -> (Rig, Arc<FakeDestination>) {
        let steps = vec![vec![Step::Guests((0..self.stages.len()).collect())]];
        let stages = self.stages.into_iter().map(|stage| Arc::new(stage) as Arc<dyn Generation>).collect();
        let sink = FakeDestination::new(open(), self.answer);
        let mut config = exporter("sink", 1000);
        config.queue.wait_for_result = true;
        let exporters: Vec<(_, Arc<dyn Destination>)> = vec![(config, Arc::clone(&sink) as _)];
        (Rig::with_patience(self.patience, self.signal, 1, stages, steps, exporters), sink)
    }
}

/// `count` rows; those numbered in `marked` have this mark.
fn rows(name: &str, count: usize, marked: &[usize], mark: &str) -> Vec<String> {
    let text = |n| if marked.contains(&n) { format!("{name} {n} {mark}") } else { format!("{name} {n}") };
    (0..count).map(text).collect()
}

fn bodies(sink: &FakeDestination) -> Vec<Bytes> {
    sink.seen.lock().expect("no panic").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_500_among_merged_requests_is_rejected_alone() {
    for signal in Signal::ALL {
        let go = Arc::new(AtomicBool::new(false));
        let (gate, judges) = (Arc::clone(&go), guest(0, FaultKind::Trap));
        let held = move |batch: &Batch, items: std::ops::Range<u32>| {
            while items.len() == 1 && texts(batch, items.clone()) == ["first"] && !gate.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            judges(batch, items)
        };
        let mut setup = Setup::new(signal, 2);
        setup.stages[0] = FakeGeneration::new("stage 0", held);
        let (rig, sink) = setup.rig();
        let first = rig.submit(request(signal, &["first".to_owned()]));
        let poisoned = rows("poisoned", 500, &[123], "!0");
        let others: Vec<_> = (0..5).map(|n| rows(&format!("other {n}"), 40, &[7], "=1")).collect();
        let mut answers: Vec<_> = others[..3].iter().map(|rows| rig.submit(request(signal, rows))).collect();
        let answer = rig.submit(request(signal, &poisoned));
        answers.extend(others[3..].iter().map(|rows| rig.submit(request(signal, rows))));
        go.store(true, Ordering::Relaxed);
        let one = account(signal, 1);
        let message = format!("stage \"stage 0\" cannot judge {one} of the {}", signal.items());
        assert_eq!(heard(answer).await, Outcome::Partial { rejected: one, message });
        for answer in answers {
            assert_eq!(heard(answer).await, Outcome::ACCEPTED);
        }
        assert_eq!(heard(first).await, Outcome::ACCEPTED);
        let poison = ["stage=\"stage 0\"", "reason=\"poison\"", "intended=\"false\""];
        assert_eq!(rig.sum("pipeline_dropped_items_total", &poison), one as i64);
        assert_eq!(rig.sum("receiver_refused_items_total", &[]), one as i64);
        assert_eq!(rig.sum("pipeline_edited_places_total", &["stage=\"stage 1\"", "odd"]), 5);
        rig.finish().await;
        let mut rest = poisoned;
        rest.remove(123);
        let (found, beside): (Vec<_>, Vec<_>) =
            decoded(signal, &bodies(&sink).concat()).into_iter().partition(|text| text.starts_with("poisoned"));
        assert!(found == rest, "the others, in their order: {found:?}");
        assert_eq!(beside.len(), 1 + 5 * 40, "each once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beside_poison_keeps_its_bytes_wherever_it_is() {
    for (count, poison) in
        [(2, vec![0]), (2, vec![1]), (3, vec![1]), (500, vec![0, 499]), (500, vec![249, 250]), (6, vec![0, 1, 2, 4, 5])]
    {
        for signal in Signal::ALL {
            for stage in [0, 1] {
                let (rig, sink) = Setup::new(signal, 2).rig();
                // It is poison only once the first stage has written it.
                let mark = ["!0", "0>!1"][stage];
                let all = rows("row", count, &poison, mark);
                let rejected = account(signal, poison.len());
                let message = format!("stage \"stage {stage}\" cannot judge {rejected} of the {}", signal.items());
                let expected = Outcome::Partial { rejected, message };
                assert_eq!(rig.send(request(signal, &all)).await, expected, "{count} {poison:?}");
                rig.finish().await;
                let rest = request_without(signal, &all, |text| text.ends_with(mark));
                assert_eq!(bodies(&sink), [rest], "{count} {poison:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_of_two_stages_is_accounted_to_each() {
    let (rig, sink) = Setup::new(Signal::Metrics, 2).rig();
    let texts = ["a !0", "b =0", "c !1", "d -0", "e =1", "f !1 -0"].map(str::to_owned);
    let message =
        "stage \"stage 0\" cannot judge 3 of the data points; stage \"stage 1\" cannot judge 3 of the data points";
    let expected = Outcome::Partial { rejected: 6, message: message.to_owned() };
    assert_eq!(rig.send(request(Signal::Metrics, &texts)).await, expected);
    let dropped = |labels: &[&str]| rig.sum("pipeline_dropped_items_total", labels);
    assert_eq!((dropped(&["stage 0", "poison"]), dropped(&["stage 1", "poison"]), dropped(&["even"])), (3, 3, 6));
    let edited = |stage: &str| rig.sum("pipeline_edited_places_total", &[stage, "odd"]);
    assert_eq!((edited("stage 0"), edited("stage 1")), (1, 1), "what probes wrote is not counted");
    rig.finish().await;
    assert_eq!(decoded(Signal::Metrics, &bodies(&sink).concat()), ["b written-by-0", "e written-by-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_nothing_but_poison_is_rejected_if_the_guest_judges_others() {
    for signal in Signal::ALL {
        for count in [1, 7] {
            let (rig, sink) = Setup::new(signal, 1).rig();
            let poison = request(signal, &rows("row", count, &[0, 1, 2, 3, 4, 5, 6], "!0"));
            let outcome = rig.send(poison.clone()).await;
            assert!(matches!(outcome, Outcome::Retry { after: Some(_), .. }), "is it the guest? {outcome:?}");
            assert_eq!(rig.send(request(signal, &["good".to_owned()])).await, Outcome::ACCEPTED);
            let Outcome::Partial { rejected, .. } = rig.send(poison).await else { panic!("is rejected") };
            assert_eq!(rejected, account(signal, count));
            rig.finish().await;
            assert_eq!(decoded(signal, &bodies(&sink).concat()), ["good"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_time_to_find_the_poison_nothing_passes() {
    let patience = Patience { bisecting_max: Duration::ZERO, ..Patience::default() };
    let (rig, sink) = Setup { patience, ..Setup::new(Signal::Logs, 1) }.rig();
    for _ in 0..5 {
        let outcome = rig.send(request(Signal::Logs, &rows("row", 100, &[50], "!0"))).await;
        assert!(matches!(outcome, Outcome::Retry { after: Some(_), .. }), "{outcome:?}");
    }
    assert_eq!(rig.sum("pipeline_dropped_items_total", &["reason=\"fault\""]), 500);
    rig.finish().await;
    assert!(bodies(&sink).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worn_out_instance_faults_on_is_judged_by_a_new_one() {
    for calls_max in [1, 2] {
        let mut setup = Setup::new(Signal::Traces, 2);
        setup.stages[1].calls_max = calls_max;
        let (rig, sink) = setup.rig();
        for _ in 0..5 {
            assert_eq!(rig.send(request(Signal::Traces, &["one =1".to_owned()])).await, Outcome::ACCEPTED);
            let some = rig.send(request(Signal::Traces, &rows("row", 40, &[11], "!1"))).await;
            // Probes wear instances out as well; then nothing is found, and nobody is blamed for it.
            assert!(matches!(some, Outcome::Partial { rejected: 1, .. } | Outcome::Retry { .. }), "{some:?}");
        }
        let poison = rig.sum("pipeline_dropped_items_total", &["poison"]);
        rig.finish().await;
        let delivered = decoded(Signal::Traces, &bodies(&sink).concat());
        assert!(delivered.iter().all(|text| !text.contains("=1") && !text.contains("!1")), "{delivered:?}");
        assert_eq!(delivered.len() as i64, 5 + 39 * poison);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_fault_only_together_are_not_blamed() {
    let guest = |batch: &Batch, items| match texts(batch, items).iter().filter(|text| text.ends_with('x')).count() {
        0 | 1 => Act::Drop(Vec::new(), 0),
        _ => Act::Fault(FaultKind::Trap),
    };
    let mut setup = Setup::new(Signal::Traces, 1);
    setup.stages[0] = FakeGeneration::new("stage 0", guest);
    let (rig, sink) = setup.rig();
    let outcome = rig.send(request(Signal::Traces, &rows("row", 100, &[3, 90], "x"))).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    assert_eq!(rig.sum("pipeline_dropped_items_total", &["poison"]), 0);
    rig.finish().await;
    assert!(bodies(&sink).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_hears_of_the_poison_and_of_the_rest() {
    let send = async |answer: fn(u64) -> Sent| {
        let (rig, _sink) = Setup { answer, ..Setup::new(Signal::Traces, 1) }.rig();
        let outcome = rig.send(request(Signal::Traces, &rows("row", 10, &[1, 2], "!0"))).await;
        rig.finish().await;
        outcome
    };
    assert!(matches!(send(|_| TAKEN).await, Outcome::Partial { rejected: 2, .. }));
    assert!(matches!(send(|_| later()).await, Outcome::Retry { .. }), "all of it, since some is to be sent again");
    let some = send(|_| Sent::Partial { rejected: 3, message: "three".to_owned() }).await;
    assert!(matches!(some, Outcome::Partial { rejected: 5, .. }), "{some:?}");
    let none = send(|_| Sent::Refused { message: "none".to_owned() }).await;
    assert!(matches!(none, Outcome::Partial { rejected: 10, .. }), "{none:?}");
}
