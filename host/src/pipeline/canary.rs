//! A canary: a candidate that judges a share of what comes to a stage, for real, beside the generation that serves.
//!
//! What it cannot judge is judged by what serves, whole and from the beginning: so nothing goes round the stage, nobody's data is lost for a
//! candidate's sake, and its failures are its own. Who decides how it fares is told of everything that either of them judged.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::config::model::OnFault;
use crate::pipeline::stage::{Fault, Generation, Instance, Policy};

/// The largest share of a canary, in percent: a comparison needs as much of what serves.
pub const SHARE_PERCENT_MAX: f64 = 50.0;
/// 2^64 divided by the golden ratio: multiples of it, modulo 2^64, are spread evenly over any stretch, and follow no period that
/// senders may have.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A part of what comes to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u64);

/// A candidate beside what serves.
pub struct Canary {
    stage: usize,
    candidate: Arc<dyn Generation>,
    share: Share,
    batches: AtomicU64,
    is_over: AtomicBool,
    observer: Arc<dyn Observer>,
}

/// Is told how a candidate and what serves fare, while a canary lasts. It is called on threads that judge, and must not block.
pub trait Observer: Send + Sync {
    /// A batch was judged, by one of them.
    fn judged(&self, judged: &JudgedBatch<'_>);
    /// One of them could not judge a batch. What serves judges those of the candidate then.
    fn failed(&self, by_candidate: bool, fault: &Fault);
}

/// What was made of a batch.
#[derive(Clone, Copy, Debug)]
pub struct JudgedBatch<'a> {
    /// By the candidate; else by what serves.
    pub by_candidate: bool,
    /// Spans, log records or data points that came to the stages of the step; of a policy, traces that it decided.
    pub records: u64,
    /// Those among them that it dropped; of a policy, those that it did not vote to keep.
    pub dropped: u64,
    /// Places that it edited, by index of the rule.
    pub edited: &'a [(u16, u64)],
    /// Nothing of it went on unjudged since a call failed.
    pub is_whole: bool,
}

impl Share {
    /// None unless it is above 0, and [`SHARE_PERCENT_MAX`] at most.
    pub fn of_percent(percent: f64) -> Option<Share> {
        let of_all = (percent / 100.0 * 2_f64.powi(64)) as u64;
        (percent > 0.0 && percent <= SHARE_PERCENT_MAX && of_all > 0).then_some(Share(of_all))
    }

    /// Whether the one of this number is in it, of things that are counted.
    pub fn has_nth(self, number: u64) -> bool {
        number.wrapping_mul(GOLDEN) < self.0
    }

    /// Whether something that carries these random bits is in it. They are mixed, since samplers decide by their order.
    pub fn has_random(self, bits: u64) -> bool {
        mix(bits) < self.0
    }
}

impl Canary {
    /// Of the stage with this index. What it counts is told to the observer.
    pub fn new(
        stage: usize,
        candidate: &Arc<dyn Generation>,
        share: Share,
        observer: Arc<dyn Observer>,
    ) -> Arc<Canary> {
        let candidate: Arc<dyn Generation> = Arc::new(OnTrial(Arc::clone(candidate)));
        Arc::new(Canary {
            stage,
            candidate,
            share,
            batches: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            observer,
        })
    }

    /// The index of its stage.
    pub(super) fn stage(&self) -> usize {
        self.stage
    }

    /// What judges the share.
    pub(super) fn candidate(&self) -> &Arc<dyn Generation> {
        &self.candidate
    }

    /// Whether the candidate judges the next batch. To be asked once for each.
    pub(super) fn draws_batch(&self) -> bool {
        !self.is_over() && self.share.has_nth(self.batches.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether the candidate decides the trace of this randomness.
    pub(super) fn draws_trace(&self, randomness: u64) -> bool {
        !self.is_over() && self.share.has_random(randomness)
    }

    /// Nothing is drawn from now on, not in pipelines of earlier files either.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    pub(super) fn judged(&self, judged: &JudgedBatch<'_>) {
        if !self.is_over() {
            self.observer.judged(judged);
        }
    }

    pub(super) fn failed(&self, by_candidate: bool, fault: &Fault) {
        if !self.is_over() {
            self.observer.failed(by_candidate, fault);
        }
    }
}

/// A candidate, which passes on nothing that it did not judge, whatever it will do once it serves.
#[derive(Debug)]
struct OnTrial(Arc<dyn Generation>);

impl Generation for OnTrial {
    fn stage(&self) -> &str {
        self.0.stage()
    }

    fn number(&self) -> u64 {
        self.0.number()
    }

    fn digest(&self) -> &str {
        self.0.digest()
    }

    fn on_fault(&self) -> OnFault {
        OnFault::Reject
    }

    fn edits(&self) -> bool {
        self.0.edits()
    }

    fn rules(&self) -> &[String] {
        self.0.rules()
    }

    fn instance(&self) -> Result<Box<dyn Instance>, Fault> {
        self.0.instance()
    }

    fn instance_bytes_max(&self) -> u64 {
        self.0.instance_bytes_max()
    }

    fn policy(&self) -> Result<Box<dyn Policy>, Fault> {
        self.0.policy()
    }

    fn give_back(&self, instance: Box<dyn Any>) {
        self.0.give_back(instance);
    }
}

impl fmt::Debug for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canary")
            .field("stage", &self.stage)
            .field("candidate", &self.candidate)
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_all_that_is_counted_evenly() {
        for percent in [0.1, 1.0, 5.0, 33.0, 50.0] {
            let share = Share::of_percent(percent).expect("is one");
            let mut drawn = 0_u64;
            for number in 0..100_000_u64 {
                drawn += u64::from(share.has_nth(number));
                let expected = (number + 1) as f64 * percent / 100.0;
                assert!((drawn as f64 - expected).abs() < 5.0, "{percent} %: {drawn} of {}", number + 1);
            }
        }
    }

    /// One in ten of whatever comes every tenth time.
    #[test]
    fn a_period_of_senders_is_not_followed() {
        let share = Share::of_percent(10.0).expect("is one");
        for period in [2, 3, 5, 10, 16, 20, 100] {
            for phase in 0..period {
                let of_sender = (0..10_000_u64).map(|turn| turn * period + phase);
                let drawn = of_sender.filter(|number| share.has_nth(*number)).count();
                assert!((900..1_100).contains(&drawn), "{drawn} at {phase} of {period}");
            }
        }
    }

    #[test]
    fn traces_are_drawn_whatever_order_samplers_give_them() {
        let share = Share::of_percent(20.0).expect("is one");
        // The first and the last tenth of all randomness, of which a sampler keeps none and all.
        for from in [0_u64, (1 << 56) / 10 * 9] {
            let drawn = (0..10_000_u64).filter(|n| share.has_random(from + n * ((1 << 56) / 10 / 10_000))).count();
            assert!((1_800..2_200).contains(&drawn), "{drawn} from {from}");
        }
    }

    #[test]
    fn nothing_and_more_than_half_is_no_share() {
        for percent in [0.0, -1.0, 50.1, 100.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::of_percent(percent), None, "{percent}");
        }
    }
}
