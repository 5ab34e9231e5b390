//! What a sampler is for, on ids at random: the share that was asked for, whole traces, and more of a larger share.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;

use probabilistic_sampler::ProbabilisticSampler;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sluicebox_guest::testing::{TestBatch, Tester};
use sluicebox_guest::{Level, NewValue};

const TRACES: u32 = 20_000;
/// Spans.
const REQUEST: usize = 1000;
const MODES: [&str; 3] = ["hash_seed", "proportional", "equalizing"];

/// Two spans of each trace, one after all of the others.
fn ids(seed: u64) -> Vec<[u8; 16]> {
    let mut random = StdRng::seed_from_u64(seed);
    let traces: Vec<[u8; 16]> = (0..TRACES).map(|_| random.random()).collect();
    [traces.clone(), traces].concat()
}

/// The numbers of the spans that are kept, and their tracestates.
fn kept(mode: &str, percentage: f64, ids: &[[u8; 16]]) -> Vec<(u32, String)> {
    let config = format!(r#"{{"mode": "{mode}", "sampling_percentage": {percentage}, "sampling_precision": 14}}"#);
    let mut tester = Tester::<ProbabilisticSampler>::configure(&config).unwrap();
    let mut kept = Vec::new();
    for (first, request) in (0..).step_by(REQUEST).zip(ids.chunks(REQUEST)) {
        let spans = request.iter().fold(TestBatch::traces(), |batch, id| batch.span("s").set("trace_id", *id));
        let outcome = tester.process(&spans).unwrap();
        kept.extend(outcome.left(Level::Span).into_iter().map(|row| {
            match outcome.value(Level::Span, row, "trace_state") {
                NewValue::Str(text) => (first + row, text),
                other => panic!("{other:?}"),
            }
        }));
    }
    kept
}

#[test]
fn the_share_is_right_and_traces_stay_whole() {
    let ids = ids(1);
    for (mode, percentage) in MODES.into_iter().flat_map(|mode| [1.0, 10.0, 62.5].map(|percentage| (mode, percentage)))
    {
        let rows: BTreeSet<u32> = kept(mode, percentage, &ids).into_iter().map(|(row, _)| row).collect();
        let (first, second): (BTreeSet<u32>, BTreeSet<u32>) = rows.iter().partition(|row| **row < TRACES);
        assert_eq!(first, second.iter().map(|row| row - TRACES).collect(), "{mode} {percentage}");
        // Five standard deviations of a binomial distribution.
        let probability = percentage / 100.0;
        let (mean, variance) = (f64::from(TRACES) * probability, f64::from(TRACES) * probability * (1.0 - probability));
        let found = first.len() as f64;
        assert!((found - mean).abs() < 5.0 * variance.sqrt(), "{mode}: {found} of {TRACES} at {percentage} %");
    }
}

#[test]
fn a_larger_share_has_all_of_a_smaller_one() {
    let ids = ids(2);
    for mode in MODES {
        let shares = [0.5, 3.0, 30.0, 99.0].map(|percentage| kept(mode, percentage, &ids));
        let rows = shares.map(|share| share.into_iter().map(|(row, _)| row).collect::<BTreeSet<_>>());
        assert!(!rows[0].is_empty());
        assert!(rows.windows(2).all(|pair| pair[0].len() < pair[1].len() && pair[0].is_subset(&pair[1])), "{mode}");
    }
}

/// What is written lets others conclude the same: `th` is at most the last 56 bits of the id, or `rv` where it is hashed.
#[test]
fn what_is_kept_tells_by_which_threshold() {
    let ids = ids(3);
    for mode in MODES {
        for (row, tracestate) in kept(mode, 12.5, &ids) {
            let of =
                |key: &str| tracestate.trim_start_matches("ot=").split(';').find_map(|field| field.strip_prefix(key));
            assert_eq!(of("th:"), Some("e"), "12.5 % are the last two of sixteen parts");
            let hexadecimal: String = ids[row as usize].iter().map(|byte| format!("{byte:02x}")).collect();
            let randomness = of("rv:").unwrap_or(&hexadecimal[18..]);
            assert_eq!(of("rv:").is_some(), mode == "hash_seed");
            assert!(randomness.len() == 14 && randomness >= "e0000000000000", "{mode}: {tracestate}");
        }
    }
}
