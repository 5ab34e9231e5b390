//! Host state as guests see it: shared by a stage's instances, kept over swaps, and untouched by all that does not serve.

use std::sync::Arc;
use std::thread;

use sluicebox::pipeline::stage::{FaultKind, Generation, Policy};
use sluicebox::tail::verdict::Vote;
use sluicebox::wasm::GenerationSpec;

use crate::lab::{Lab, call, traces};
use crate::policies::{moment, policy, policy_spec, vote};

/// With more keys beside `behaviour` in the config.
fn configured(lab: &Lab, behaviour: &str, more: &str) -> Arc<dyn Generation> {
    let config = format!("{{\"behaviour\": \"{behaviour}\", {more}}}");
    lab.runtime.build_generation(GenerationSpec { config, ..policy_spec(behaviour) }).expect("builds")
}

/// How many of so many traces get a token.
fn takes(policy: &mut dyn Policy, wanted: usize) -> usize {
    let votes = vote(policy, &moment(wanted, 1), None).expect("votes");
    votes.iter().filter(|vote| vote.vote == Vote::Keep).count()
}

/// What is in the tally once these traces were added.
fn tallies(policy: &mut dyn Policy, added: usize) -> u64 {
    vote(policy, &moment(added, 1), None).expect("votes")[0].threshold
}

#[test]
fn instances_share_it() {
    let lab = Lab::new();
    let generation = policy(&lab, "take");
    let (mut one, mut other) = (generation.policy().expect("is there"), generation.policy().expect("is there"));
    assert_eq!((takes(&mut *one, 4), takes(&mut *other, 4), takes(&mut *one, 4)), (4, 4, 2));
    let mut made_later = generation.policy().expect("is made");
    assert_eq!(takes(&mut *made_later, 4), 0);

    let generation = policy(&lab, "tally");
    let (mut one, mut other) = (generation.policy().expect("is there"), generation.policy().expect("is there"));
    assert_eq!((tallies(&mut *one, 3), tallies(&mut *other, 4), tallies(&mut *one, 1)), (3, 7, 8));
}

#[test]
fn a_swap_keeps_it_with_its_new_rate() {
    let lab = Lab::new();
    let old = policy(&lab, "take");
    assert_eq!(takes(&mut *old.policy().expect("is there"), 6), 6);
    let new = configured(&lab, "take", r#""burst": 12"#);
    drop(old);
    assert_eq!(takes(&mut *new.policy().expect("is there"), 20), 4, "what is left of the old burst");
    let newer = configured(&lab, "take", r#""burst": 3"#);
    drop(new);
    assert_eq!(takes(&mut *newer.policy().expect("is there"), 20), 0);
    let fast = configured(&lab, "take", r#""burst": 3, "per_second": 1000000000"#);
    let mut fast = fast.policy().expect("is there");
    assert_eq!(takes(&mut *fast, 20), 3, "filled since, and no more than the burst");
}

#[test]
fn it_begins_anew_for_another_stage_width_or_when_nobody_used_it() {
    let lab = Lab::new();
    let old = policy(&lab, "tally");
    assert_eq!(tallies(&mut *old.policy().expect("is there"), 3), 3);
    let renamed = GenerationSpec { stage: "tail_sampling/renamed".to_owned(), ..policy_spec("tally") };
    let renamed = lab.runtime.build_generation(renamed).expect("builds");
    assert_eq!(tallies(&mut *renamed.policy().expect("is there"), 1), 1);
    let wider = configured(&lab, "tally", r#""width": 5"#);
    assert_eq!(tallies(&mut *wider.policy().expect("is there"), 1), 1);
    assert_eq!(tallies(&mut *policy(&lab, "tally").policy().expect("is there"), 1), 4, "the old one is still there");
    drop(old);
    assert_eq!(tallies(&mut *policy(&lab, "tally").policy().expect("is there"), 1), 1);
    assert_eq!(tallies(&mut *policy(&Lab::new(), "tally").policy().expect("is there"), 1), 1, "gone with the process");
}

#[test]
fn what_does_not_serve_does_not_touch_it() {
    let lab = Lab::new();
    let serving = policy(&lab, "peek");
    // Its first calls take all there is and add, for each of its instances; it is never called again.
    let candidate = policy(&lab, "probe_take");
    let seen = vote(&mut *serving.policy().expect("is there"), &moment(5, 1), None).expect("looks");
    assert_eq!(seen.iter().map(|vote| vote.threshold).collect::<Vec<_>>(), [1, 1, 0, 0, 0]);
    drop(candidate);
}

#[test]
fn two_threads_never_get_more_than_the_burst() {
    let lab = Lab::new();
    let generation = configured(&lab, "take", r#""burst": 20000"#);
    let taken: usize = thread::scope(|scope| {
        let of_thread = |_| {
            let generation = Arc::clone(&generation);
            scope.spawn(move || {
                let mut policy = generation.policy().expect("is there");
                (0..300).map(|call| takes(&mut *policy, 1 + call % 100)).sum::<usize>()
            })
        };
        let threads: Vec<_> = (0..2).map(of_thread).collect();
        threads.into_iter().map(|thread| thread.join().expect("ends")).sum()
    });
    assert_eq!(taken, 20_000, "15,150 were wanted by each");
}

/// A filter that drops everything once its bucket is empty, which has five tokens.
#[test]
fn processors_have_it_too_and_lose_nothing_by_faults() {
    let lab = Lab::new();
    let bytes = traces(10);
    let faulting = lab.build("take_and_trap").expect("builds");
    for _ in 0..10 {
        let mut instance = faulting.instance().expect("there is one");
        assert_eq!(call(&mut *instance, &bytes).expect_err("traps").kind, FaultKind::Trap);
    }
    let unreadable = {
        let mut bytes = bytes.to_vec();
        let at = bytes.windows(8).position(|found| found == b"\x2a\x06name 3").expect("was encoded");
        bytes[at] = 5 << 3 | 1;
        bytes.into()
    };
    let reading = lab.build("take_and_read").expect("builds");
    let mut instance = reading.instance().expect("is there");
    for _ in 0..10 {
        assert_eq!(call(&mut *instance, &unreadable).expect_err("cannot be read").kind, FaultKind::Malformed);
    }
    let honest = lab.build("take").expect("builds");
    let mut instances = [honest.instance().expect("is there"), honest.instance().expect("is there")];
    let dropped = (0..8).map(|n| call(&mut *instances[n % 2], &bytes).expect("judges").drops.len());
    assert_eq!(dropped.collect::<Vec<_>>(), [0, 0, 0, 0, 0, 1, 1, 1]);
}
