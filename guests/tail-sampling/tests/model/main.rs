//! Random policies on random traces: compared with a plain interpreter that goes through each trace by itself, policy by policy; and what
//! is said to be settled is compared with what is decided in the end.

#![allow(clippy::unwrap_used, reason = "a test")]

mod generate;
mod interpret;
mod trace;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sluicebox_guest::Trigger;
use sluicebox_guest::testing::{PolicyTester, TestTraces, Vote};
use tail_sampling::TailSampling;

use generate::{Types, config};
use interpret::{Interpreter, Said};
use trace::{Trace, batch};

const RUNS: u64 = 2_000;

#[test]
fn random_policies_decide_as_a_plain_interpreter_does() {
    let mut said = BTreeMap::new();
    for seed in 0..RUNS {
        let mut rng = StdRng::seed_from_u64(seed);
        let config = config(&mut rng, Types::Interpreted);
        let mut tester = PolicyTester::<TailSampling>::configure(&config.to_string()).unwrap_or_else(|error| {
            panic!("seed {seed}: {error}\n{config}");
        });
        let mut interpreter = Interpreter::new(&config);
        for call in 0..3 {
            let traces: Vec<Trace> =
                (0..rng.random_range(1..8)).map(|number| Trace::random(&mut rng, call * 10 + number)).collect();
            tester.advance(Duration::from_millis(500));
            interpreter.advance_seconds(0.5);
            let bytes: Vec<u64> = traces.iter().map(|trace| trace.bytes).collect();
            let shown = TestTraces::of(&batch(traces.iter().flat_map(|trace| &trace.spans)));
            let shown = (0..).zip(bytes).fold(shown, |shown, (trace, bytes)| shown.byte_count(trace, bytes));
            let verdicts = tester.decide(&shown).unwrap();
            for (trace, verdict) in traces.iter().zip(verdicts) {
                let expected = interpreter.decide(trace);
                let actual = match verdict.vote {
                    Vote::None => Said::Nothing,
                    Vote::Keep(threshold) => Said::Keep(threshold.to_bits(), verdict.rule.unwrap()),
                    Vote::Drop => Said::Drop(verdict.rule.unwrap()),
                };
                *said.entry(actual.kind()).or_insert(0) += 1;
                assert_eq!(actual, expected, "seed {seed}, call {call}, {trace:?}\n{config}");
            }
        }
    }
    let often = |kind: &str| said.get(kind).is_some_and(|count| *count > 100);
    assert!(["nothing", "drop", "always", "rate", "unknown"].into_iter().all(often), "{said:?}");
}

#[test]
fn what_is_settled_does_not_change() {
    let mut settled = BTreeMap::new();
    for seed in 0..RUNS {
        let mut rng = StdRng::seed_from_u64(seed);
        let config = config(&mut rng, Types::All);
        let configure = || PolicyTester::<TailSampling>::configure(&config.to_string()).unwrap();
        let (mut early, mut due) = (configure(), configure());
        for number in 0..8 {
            let trace = Trace::random(&mut rng, number);
            // Twice, as rates have let others pass in the meantime.
            let whole = TestTraces::of(&batch(&trace.spans));
            let finally: Vec<Vote> =
                (0..2).map(|_| due.decide(&whole).unwrap().first().map(|verdict| verdict.vote).unwrap()).collect();
            for count in 1..=trace.spans.len() {
                let shown = TestTraces::of(&batch(&trace.spans[..count])).trigger(Trigger::Early);
                let verdict = early.decide(&shown).unwrap().remove(0);
                if verdict.is_settled {
                    let kind = match verdict.vote {
                        Vote::None => "nothing",
                        Vote::Keep(_) => "keep",
                        Vote::Drop => "drop",
                    };
                    *settled.entry(kind).or_insert(0) += 1;
                    let is_right = finally.iter().all(|vote| *vote == verdict.vote);
                    assert!(is_right, "seed {seed}, {count} spans: {verdict:?}, then {finally:?}, {trace:?}\n{config}");
                }
            }
        }
    }
    let often = |kind: &str| settled.get(kind).is_some_and(|count| *count > 100);
    assert!(["nothing", "keep", "drop"].into_iter().all(often), "{settled:?}");
}
