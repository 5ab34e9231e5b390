//! Which items are kept, and what is written of it.

use sluicebox_guest::Threshold;

use crate::config::{Config, Mode};
use crate::hash::{self, BUCKET_BITS, BUCKETS};
use crate::threshold::rounded;
use crate::tracestate::Malformed;

/// What keeps everything that is kept at all.
const RANDOMNESS_MAX: u64 = (1 << 56) - 1;
/// Buckets for each percent.
const BUCKETS_PER_PERCENT: f32 = 163.84;

/// Chooses items.
#[derive(Debug)]
pub struct Sampler {
    choice: Choice,
    hash_seed: u32,
    fail_closed: bool,
    precision: u32,
    honors_sampled: bool,
}

#[derive(Clone, Copy, Debug)]
enum Choice {
    Nothing,
    Hashed(Threshold),
    Proportional { probability: f64 },
    Equalizing(Threshold),
}

/// A span or a log record, as far as its sampling goes.
#[derive(Debug)]
pub struct Item<'i> {
    /// What it came with.
    pub carried: Result<Carried, Malformed>,
    /// Empty or zeros where it has none.
    pub trace_id: &'i [u8],
    /// What is hashed in [`Mode::HashSeed`]; nothing where there is nothing.
    pub hashed: &'i [u8],
    /// The threshold that it asks for itself.
    pub priority: Option<Threshold>,
    /// Whether it has the sampled flag.
    pub is_sampled: bool,
}

/// Threshold and randomness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub threshold: Option<Threshold>,
    pub randomness: Option<u64>,
}

/// What becomes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Drop(Reason),
    /// It stays as it is.
    Keep,
    /// It stays and is given this threshold, and this randomness where it has none.
    Write(Threshold, Option<u64>),
}

/// Why an item is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is not of the share that is kept.
    Chance,
    /// It asks for it.
    Priority,
    /// What it says of sampling cannot be, or there is nothing to choose it by.
    Unusable,
}

/// Why nothing can be concluded from what an item came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    Malformed,
    /// It was sampled in another way, which hashing would contradict.
    AlreadySampled,
    NoRandomness,
    /// Its threshold says that it was not kept.
    Inconsistent,
}

impl Sampler {
    pub fn new(config: &Config) -> Sampler {
        let probability = f64::from(config.percentage) / 100.0;
        let choice = match config.mode {
            _ if config.percentage == 0.0 => Choice::Nothing,
            Mode::HashSeed => hashed(config.percentage),
            Mode::Proportional => Choice::Proportional { probability },
            Mode::Equalizing => rounded(probability, config.precision).map_or(Choice::Nothing, Choice::Equalizing),
        };
        Sampler {
            choice,
            hash_seed: config.hash_seed,
            fail_closed: config.fail_closed,
            precision: config.precision,
            honors_sampled: config.honors_sampled,
        }
    }

    pub fn decide(&self, item: &Item<'_>) -> Decision {
        if self.honors_sampled && item.is_sampled && item.priority != Some(Threshold::NEVER) {
            return Decision::Keep;
        }
        let (randomness, problem) = self.randomness(item);
        let carried = item.carried.unwrap_or_default();
        let own = match (self.choice, problem) {
            (Choice::Nothing, _) => Threshold::NEVER,
            (_, Some(_)) if self.fail_closed => Threshold::NEVER,
            (_, Some(_)) => Threshold::ALWAYS,
            (_, None) => self.threshold(carried.threshold),
        };
        let threshold = item.priority.unwrap_or(own);
        if !threshold.keeps(randomness) {
            return Decision::Drop(match problem {
                _ if item.priority.is_some() => Reason::Priority,
                Some(_) if !matches!(self.choice, Choice::Nothing) => Reason::Unusable,
                _ => Reason::Chance,
            });
        }
        let incoming = carried.threshold.filter(|_| problem != Some(Problem::Inconsistent));
        match problem {
            Some(Problem::Malformed | Problem::AlreadySampled) => Decision::Keep,
            _ => Decision::Write(stricter(threshold, incoming), self.new_randomness(randomness, problem)),
        }
    }

    /// What chooses the item, and what is wrong with it.
    fn randomness(&self, item: &Item<'_>) -> (u64, Option<Problem>) {
        let is_missing = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        match (self.choice, item.carried) {
            (Choice::Nothing, carried) => (RANDOMNESS_MAX, carried.err().map(|_| Problem::Malformed)),
            (Choice::Hashed(_), carried) => {
                let hashed = (!item.hashed.is_empty()).then(|| hash::randomness(self.hash_seed, item.hashed));
                let problem = match carried {
                    Err(Malformed) => Some(Problem::Malformed),
                    Ok(carried) if carried != Carried::default() => Some(Problem::AlreadySampled),
                    Ok(_) => hashed.is_none().then_some(Problem::NoRandomness),
                };
                (hashed.unwrap_or(RANDOMNESS_MAX), problem)
            }
            (_, Err(Malformed)) => (RANDOMNESS_MAX, Some(Problem::Malformed)),
            (_, Ok(Carried { randomness: None, .. })) if is_missing(item.trace_id) => {
                (RANDOMNESS_MAX, Some(Problem::NoRandomness))
            }
            (_, Ok(Carried { threshold, randomness })) => {
                let of_id =
                    || item.trace_id.iter().rev().take(7).rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
                let randomness = randomness.unwrap_or_else(of_id);
                let is_consistent = threshold.is_none_or(|threshold| threshold.keeps(randomness));
                (randomness, (!is_consistent).then_some(Problem::Inconsistent))
            }
        }
    }

    /// By which an item is kept that came with this one.
    fn threshold(&self, incoming: Option<Threshold>) -> Threshold {
        match self.choice {
            Choice::Nothing => Threshold::NEVER,
            Choice::Hashed(threshold) => threshold,
            Choice::Equalizing(threshold) => stricter(threshold, incoming),
            Choice::Proportional { probability } => {
                let before = incoming.and_then(Threshold::probability).unwrap_or(1.0);
                rounded(before * probability, self.precision).unwrap_or(Threshold::NEVER)
            }
        }
    }

    /// A hash has to be told to whoever samples next.
    fn new_randomness(&self, randomness: u64, problem: Option<Problem>) -> Option<u64> {
        (matches!(self.choice, Choice::Hashed(_)) && problem.is_none()).then_some(randomness)
    }
}

/// Buckets are counted in 32 bits and rounded down, so that whoever counts so keeps the same.
fn hashed(percentage: f32) -> Choice {
    // At most 100 percent.
    match (percentage * BUCKETS_PER_PERCENT) as u32 {
        0 => Choice::Nothing,
        buckets => Choice::Hashed(Threshold::from_bits(u64::from(BUCKETS - buckets) << (56 - BUCKET_BITS))),
    }
}

/// What was dropped before stays dropped: a threshold never falls.
fn stricter(threshold: Threshold, incoming: Option<Threshold>) -> Threshold {
    incoming.filter(|incoming| incoming.to_bits() > threshold.to_bits()).unwrap_or(threshold)
}
