//! What watchers see of stages: all that counted, once and exactly, and nothing else.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng};

use super::fakes::{Act, FakeDestination, FakeGeneration, open};
use super::rows::{Fate, POINTS, decoded, fate, guest, request};
use super::*;
use crate::batch::{Batch, Level, RowSet};
use crate::config::model::OnFault;
use crate::observe::health::StageState;
use crate::pipeline::stage::{Effects, Fault, FaultKind, RuleDrop};
use crate::pipeline::watcher::{After, Point, Seen, Voted, Watcher, Watching};

const CASES: u64 = 60;

/// What was seen, kept.
#[derive(Clone, Debug)]
pub struct Kept {
    pub generation: u64,
    pub before: Vec<Bytes>,
    pub made: Made,
    pub is_redacted: (bool, bool),
}

#[derive(Clone, Debug)]
pub enum Made {
    Judged { bodies: Vec<Bytes>, dropped: Vec<(u32, u16)>, edited: Vec<(u16, u64)> },
    Passed(Fault),
    Failed(Fault),
}

/// Remembers all that it is shown.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<Kept>>,
    asked: AtomicU64,
}

impl Recorder {
    fn watch(rig: &Rig, stage: usize) -> (Arc<Recorder>, Watching) {
        let recorder = Arc::new(Recorder::default());
        let watching = watch(rig, stage, Arc::clone(&recorder) as _);
        (recorder, watching)
    }

    fn seen(&self) -> Vec<Kept> {
        self.seen.lock().expect("no panic").clone()
    }
}

fn watch(rig: &Rig, stage: usize, watcher: Arc<dyn Watcher>) -> Watching {
    rig.stages.stages().watchers(stage).expect("a stage").watch(watcher)
}

impl Watcher for Recorder {
    fn wants(&self, _point: &Point<'_>) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn seen(&self, seen: &Seen<'_>) {
        let made = match seen.after {
            After::Judged { bodies, dropped, edited } => {
                Made::Judged { bodies: bodies.to_vec(), dropped: dropped.to_vec(), edited: edited.to_vec() }
            }
            After::Passed(fault) => Made::Passed(fault.clone()),
            After::Failed(fault) => Made::Failed(fault.clone()),
        };
        self.seen.lock().expect("no panic").push(Kept {
            generation: seen.point.generation.number(),
            before: seen.before.to_vec(),
            made,
            is_redacted: (seen.point.is_redacted_before, seen.point.is_redacted_after),
        });
    }

    fn voted(&self, _voted: &Voted<'_>) {}
}

fn rig(signal: Signal, generations: Vec<FakeGeneration>) -> (Rig, Arc<FakeDestination>) {
    let stages = (0..generations.len()).collect();
    let generations = generations.into_iter().map(|generation| Arc::new(generation) as Arc<dyn Generation>).collect();
    let sink = FakeDestination::new(open(), |_| TAKEN);
    let exporters: Vec<(_, Arc<dyn Destination>)> = vec![(exporter("sink", 1000), Arc::clone(&sink) as _)];
    (Rig::new(signal, 1, generations, vec![vec![Step::Guests(stages)]], exporters), sink)
}

fn texts(rows: &[&str]) -> Vec<String> {
    rows.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn what_is_seen_is_what_the_model_says() {
    let mut together = 0;
    for seed in 0..CASES {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        together += runtime.expect("a runtime").block_on(case(seed));
    }
    assert!(together > 0, "some requests were judged together");
}

/// Rows at each stage, by text as it is shown them: how often they were judged, and how often faults on them were told.
type Rows = BTreeMap<(usize, String), (usize, usize)>;

/// Takes one row through stages of one step that all reject.
fn model(stages: usize, text: &str, rows: &mut Rows) {
    let mut text = text.to_owned();
    let mut judged = Vec::new();
    for number in 0..stages {
        let fate = fate(number, &text);
        if fate == Fate::Faults {
            // What stages before it made of the row did not count.
            rows.entry((number, text)).or_default().1 += 1;
            return;
        }
        judged.push((number, text.clone()));
        match fate {
            Fate::Dropped => break,
            Fate::Written(written) => text = written,
            Fate::Stays | Fate::Faults => {}
        }
    }
    judged.into_iter().for_each(|row| rows.entry(row).or_default().0 += 1);
}

async fn case(seed: u64) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    let signal = Signal::ALL[rng.random_range(0..3)];
    let stages = rng.random_range(1..4);
    let kind = [FaultKind::Trap, FaultKind::BadOutput, FaultKind::ReturnedError][rng.random_range(0..3)];
    let generation = |number| FakeGeneration::new(&format!("stage {number}"), guest(number, kind));
    let (rig, _sink) = rig(signal, (0..stages).map(generation).collect());
    let recorders: Vec<_> = (0..stages).map(|stage| Recorder::watch(&rig, stage)).collect();

    let mut expected = Rows::new();
    model(stages, "first", &mut expected);
    assert_eq!(rig.send(request(signal, &texts(&["first"]))).await, Outcome::ACCEPTED);
    for round in 0..3 {
        let mut answers = Vec::new();
        for number in 0..rng.random_range(1..8) {
            let rows = rows(&mut rng, stages, &format!("{round}.{number}"));
            rows.iter().for_each(|text| model(stages, text, &mut expected));
            answers.push(rig.submit(request(signal, &rows)));
        }
        for answer in answers {
            assert!(matches!(heard(answer).await, Outcome::Accepted { .. } | Outcome::Partial { .. }), "seed {seed}");
        }
    }
    rig.finish().await;

    let (mut found, mut together) = (Rows::new(), 0);
    for (stage, (recorder, _watching)) in recorders.iter().enumerate() {
        for kept in recorder.seen() {
            together += usize::from(kept.before.len() > 1);
            check(signal, stage, &kept, &mut found);
        }
    }
    assert_eq!(found, expected, "seed {seed}");
    together
}

/// What is shown of a stage follows from the texts of its rows.
fn check(signal: Signal, stage: usize, kept: &Kept, found: &mut Rows) {
    let points = if signal == Signal::Metrics { POINTS as u32 } else { 1 };
    let before: Vec<Vec<String>> = kept.before.iter().map(|body| decoded(signal, body)).collect();
    match &kept.made {
        Made::Judged { bodies, dropped, edited } => {
            let (mut expected, mut gone, mut places) = (Vec::new(), Vec::new(), 0);
            for (row, text) in (0..).zip(before.concat()) {
                match fate(stage, &text) {
                    Fate::Dropped => gone.extend((row * points..(row + 1) * points).map(|row| (row, 0))),
                    Fate::Written(written) => {
                        places += 1;
                        expected.push(written);
                    }
                    Fate::Stays => expected.push(text.clone()),
                    Fate::Faults => panic!("{text:?} cannot be judged"),
                }
                found.entry((stage, text)).or_default().0 += 1;
            }
            let after: Vec<String> = bodies.iter().flat_map(|body| decoded(signal, body)).collect();
            assert_eq!((after, dropped), (expected, &gone));
            assert_eq!(edited.iter().map(|(rule, count)| (*rule, *count)).collect::<Vec<_>>(), [(1, places)]);
            assert_eq!(bodies.len(), before.len(), "one for each request");
        }
        Made::Failed(_) => {
            let [text] = <[String; 1]>::try_from(before.concat()).expect("a record that faults alone");
            assert_eq!(fate(stage, &text), Fate::Faults);
            found.entry((stage, text)).or_default().1 += 1;
        }
        Made::Passed(fault) => panic!("none of them passes: {fault}"),
    }
}

fn rows(rng: &mut StdRng, stages: usize, name: &str) -> Vec<String> {
    let (poison, count) = ([0.0, 0.05][rng.random_range(0..2)], rng.random_range(1..40));
    let row = |n| {
        let mut text = format!("{name}.{n}");
        for number in 0..stages {
            if rng.random_bool(poison) {
                let by = rng.random_range(0..=number);
                text += &if by < number { format!(" {by}>!{number}") } else { format!(" !{number}") };
            } else if rng.random_bool(0.3) {
                text += &format!(" {}{number}", ["-", "="][rng.random_range(0..2)]);
            }
        }
        text
    };
    (0..count).map(row).collect()
}

/// Two resources of two metrics of three points each: points 0 to 11.
#[tokio::test(flavor = "multi_thread")]
async fn dropped_rows_are_told_as_accounts_count_and_by_the_first_rule() {
    let guest = |batch: &Batch, items: Range<u32>| {
        let slice = batch.slice(items);
        let drop = |level, rows: &[u32], rule| {
            let mut set = RowSet::empty(level, batch.rows(&slice, level));
            rows.iter().for_each(|&row| set.insert(row));
            RuleDrop { rows: set, rule }
        };
        let drops = vec![
            drop(Level::Point, &[1, 8], 0),
            drop(Level::Item, &[0], 1),
            drop(Level::Point, &[0, 4], 0),
            drop(Level::Scope, &[1], 1),
            drop(Level::Resource, &[1], 0),
        ];
        Act::Want(Effects { drops, ..Effects::default() })
    };
    let (rig, _sink) = rig(Signal::Metrics, vec![FakeGeneration::new("stage", guest)]);
    let (recorder, _watching) = Recorder::watch(&rig, 0);
    assert_eq!(rig.send(super::fakes::request(Signal::Metrics, 2, 2)).await, Outcome::ACCEPTED);
    rig.finish().await;
    let [Kept { made: Made::Judged { dropped, .. }, .. }] = &recorder.seen()[..] else { panic!("judged once") };
    let expected = [(0, 1), (1, 0), (2, 1), (4, 0), (6, 1), (7, 1), (8, 0), (9, 1), (10, 1), (11, 1)];
    assert_eq!(*dropped, expected);
}

/// Of slices that fail, each is shown; the batch beside them is shown with those rows as they came.
#[tokio::test(flavor = "multi_thread")]
async fn what_passes_beside_what_is_judged_is_shown_as_passed() {
    let generation = FakeGeneration { on_fault: OnFault::Pass, ..FakeGeneration::new("0", guest(0, FaultKind::Trap)) };
    let (rig, sink) = rig(Signal::Logs, vec![generation]);
    let (recorder, _watching) = Recorder::watch(&rig, 0);
    let mut rows: Vec<_> = (0..5000).map(|n| format!("{n} {}", if n % 10 == 0 { "-0" } else { "" })).collect();
    rows[3000] += " !0";
    assert_eq!(rig.send(request(Signal::Logs, &rows)).await, Outcome::ACCEPTED);
    assert_eq!(rig.send(request(Signal::Logs, &texts(&["alone !0"]))).await, Outcome::ACCEPTED);
    rig.finish().await;
    let seen = recorder.seen();
    let [
        Kept { made: Made::Judged { bodies, dropped, .. }, before: all, .. },
        Kept { made: Made::Passed(fault), before: some, .. },
        Kept { made: Made::Passed(_), before: alone, .. },
    ] = &seen[..]
    else {
        panic!("{seen:?}")
    };
    let texts = |bodies: &[Bytes]| bodies.iter().flat_map(|body| decoded(Signal::Logs, body)).collect::<Vec<_>>();
    assert_eq!((texts(all), fault.kind), (rows.clone(), FaultKind::Trap));
    let (passed, alone) = (texts(some), texts(alone));
    assert!(passed.contains(&rows[3000]) && passed.len() < 5000, "{}", passed.len());
    let is_dropped = |row: &&String| row.ends_with("-0") && !passed.contains(row);
    assert_eq!(dropped.len(), rows.iter().filter(is_dropped).count());
    let left: Vec<_> = rows.iter().filter(|row| !is_dropped(row)).cloned().collect();
    assert_eq!(texts(bodies), left);
    assert_eq!(alone, ["alone !0"]);
    let sent = texts(&sink.seen.lock().expect("no panic"));
    assert_eq!(sent, [left, alone].concat(), "what was shown is what got out");
}

/// Whatever is tried meanwhile, each request that is refused was shown once, whether its stage was called or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_always_fails_is_shown_each_request_once() {
    let broken = FakeGeneration::new("broken", |_: &Batch, _| Act::Fault(FaultKind::Trap));
    let first = FakeGeneration::new("first", guest(0, FaultKind::Trap));
    let (rig, _sink) = rig(Signal::Logs, vec![first, broken]);
    let (of_first, _watching) = Recorder::watch(&rig, 0);
    let (of_broken, _also) = Recorder::watch(&rig, 1);
    let mut sent = 0;
    while sent < 40 || rig.stages.stages().condition(1).expect("a stage").told().state == StageState::Ok {
        assert!(matches!(rig.send(request(Signal::Logs, &texts(&["a =0", "b"]))).await, Outcome::Retry { .. }));
        sent += 1;
    }
    rig.finish().await;
    assert!(of_first.seen().is_empty(), "nothing of it counted");
    let seen = of_broken.seen();
    assert_eq!(seen.len(), sent);
    for kept in seen {
        assert!(matches!(&kept.made, Made::Failed(fault) if fault.kind == FaultKind::Trap), "{kept:?}");
        assert_eq!(decoded(Signal::Logs, &kept.before.concat()), ["a written-by-0", "b"]);
    }
}

/// Panics where it is told to.
struct Clumsy {
    in_wants: bool,
    has_panicked: AtomicBool,
}

impl Watcher for Clumsy {
    fn wants(&self, _point: &Point<'_>) -> bool {
        assert!(!self.has_panicked.swap(self.in_wants, Ordering::Relaxed), "told of another one");
        assert!(!self.in_wants, "as asked");
        true
    }

    fn seen(&self, _seen: &Seen<'_>) {
        self.has_panicked.store(true, Ordering::Relaxed);
        panic!("as asked");
    }

    fn voted(&self, _voted: &Voted<'_>) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_panics_costs_nobody_a_batch() {
    for in_wants in [true, false] {
        let (rig, sink) = rig(Signal::Logs, vec![FakeGeneration::new("stage", guest(0, FaultKind::Trap))]);
        let clumsy = Arc::new(Clumsy { in_wants, has_panicked: AtomicBool::new(false) });
        let _clumsy = watch(&rig, 0, Arc::clone(&clumsy) as _);
        let (recorder, watching) = Recorder::watch(&rig, 0);
        for n in 0..5 {
            assert_eq!(rig.send(request(Signal::Logs, &[n.to_string()])).await, Outcome::ACCEPTED);
        }
        assert!(clumsy.has_panicked.load(Ordering::Relaxed));
        assert_eq!(recorder.seen().len(), 5);
        drop(watching);
        assert!(!rig.stages.stages().watchers(0).expect("a stage").are_any(), "nobody watches");
        assert_eq!(rig.send(request(Signal::Logs, &texts(&["5"]))).await, Outcome::ACCEPTED);
        assert_eq!(
            (recorder.seen().len(), recorder.asked.load(Ordering::Relaxed)),
            (5, 5),
            "asked once for each batch"
        );
        rig.finish().await;
        assert_eq!(sink.seen.lock().expect("no panic").len(), 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redacted_is_what_the_last_editing_stage_has_judged() {
    // By stage: does it edit, does it pass; and what is redacted before and after it.
    let edits = (true, OnFault::Reject);
    let reads = (false, OnFault::Pass);
    let cases = [
        (vec![reads, edits, reads], vec![(false, false), (false, true), (true, true)]),
        (vec![edits, edits], vec![(false, false), (false, true)]),
        (vec![reads, reads], vec![(false, false), (false, false)]),
        (vec![(true, OnFault::Pass), edits, reads], vec![(false, false); 3]),
    ];
    for (stages, expected) in cases {
        let generation = |(number, (edits, on_fault)): (usize, (bool, OnFault))| FakeGeneration {
            edits,
            on_fault,
            ..FakeGeneration::new(&number.to_string(), guest(number, FaultKind::Trap))
        };
        let (rig, _sink) = rig(Signal::Logs, stages.iter().copied().enumerate().map(generation).collect());
        let recorders: Vec<_> = (0..stages.len()).map(|stage| Recorder::watch(&rig, stage)).collect();
        assert_eq!(rig.send(request(Signal::Logs, &texts(&["a"]))).await, Outcome::ACCEPTED);
        // A swap changes what is told of the stage, and who watches it stays.
        let next = FakeGeneration { number: 2, edits: false, ..FakeGeneration::new("0", guest(0, FaultKind::Trap)) };
        rig.stages.commit(vec![(0, Arc::new(next))]);
        assert_eq!(rig.send(request(Signal::Logs, &texts(&["b"]))).await, Outcome::ACCEPTED);
        rig.finish().await;
        let of = |kept: fn(&[Kept]) -> &Kept| {
            recorders.iter().map(|(recorder, _)| kept(&recorder.seen()).is_redacted).collect::<Vec<_>>()
        };
        assert_eq!(of(|seen| &seen[0]), expected, "{stages:?}");
        assert_eq!(recorders[0].0.seen().iter().map(|kept| kept.generation).collect::<Vec<_>>(), [1, 2]);
    }
}

/// What waits behind a stage that begins to edit came by it before that.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_waited_since_before_a_change_is_not_redacted() {
    let stage = |name: &str, number, edits| {
        let fake = FakeGeneration::new(name, guest(0, FaultKind::Trap));
        Arc::new(FakeGeneration { number, edits, ..fake }) as Arc<dyn Generation>
    };
    let generations = vec![stage("redactor", 1, true), stage("beside", 1, false), stage("behind", 1, false)];
    let steps = vec![Step::Guests(vec![0, 1]), merge(100, None, Duration::from_millis(1)), Step::Guests(vec![2])];
    let rig = Rig::new(Signal::Logs, 1, generations, vec![steps], vec![]);
    let redacted = || {
        let redaction = rig.pipelines[0].redaction(&rig.stages.snapshot());
        (redaction.is_before(1), redaction.is_at_step(1), redaction.is_before(2))
    };
    assert_eq!(redacted(), (true, true, true));
    rig.stages.commit(vec![(0, stage("redactor", 2, true))]);
    assert_eq!(redacted(), (true, true, true), "it was judged by what edits, as before");
    rig.stages.commit(vec![(0, stage("redactor", 3, false))]);
    assert_eq!(redacted(), (false, false, false));
    rig.stages.commit(vec![(0, stage("redactor", 4, true))]);
    assert_eq!(redacted(), (true, false, false), "what waits at the merge may have come by the one before");
    rig.finish().await;
}
