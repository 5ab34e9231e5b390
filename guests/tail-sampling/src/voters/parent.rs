//! `parent_based`.

use sluicebox_guest::{Threshold, TraceSet};

use crate::call::Call;
use crate::config::{ParentBased, Unsampled};
use crate::votes::{Thresholds, Traits, Voter, Votes};

/// The decision that a trace came with.
#[derive(Debug)]
pub struct ParentPolicy(pub ParentBased);

impl Voter for ParentPolicy {
    fn vote(&self, call: &Call<'_>, asked: &TraceSet) -> Votes {
        let ParentBased { keep_sampled, unsampled, honor_threshold } = self.0;
        let sampled = call.traces().is_sampled();
        let mut votes = Votes::none(call.len);
        let mut thresholds = vec![Threshold::ALWAYS; call.len];
        for trace in asked.iter() {
            let came_with = if honor_threshold { call.thresholds()[trace] } else { None };
            match came_with {
                Some(threshold) if threshold.keeps(call.randomness()[trace]) => {
                    votes.keep.insert(trace);
                    thresholds[trace] = threshold;
                }
                Some(_) => {
                    votes.drop.insert(trace);
                    // Thresholds of later spans can only be greater.
                    votes.settled.insert(trace);
                }
                None if sampled.contains(trace) => {
                    if keep_sampled {
                        votes.keep.insert(trace);
                    }
                    if !honor_threshold {
                        votes.settled.insert(trace);
                    }
                }
                None if unsampled == Unsampled::Drop => votes.drop.insert(trace),
                None => {}
            }
        }
        votes.thresholds = Thresholds::Each(thresholds);
        votes
    }

    fn traits(&self) -> Traits {
        Traits { can_drop: self.0.honor_threshold || self.0.unsampled == Unsampled::Drop, ..Traits::default() }
    }
}
