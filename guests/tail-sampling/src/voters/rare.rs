//! `rare`.

use sluicebox_guest::{Bucket, Threshold, TraceSet};

use super::key::KeySource;
use super::limit::{take, take_by};
use crate::call::Call;
use crate::votes::{Thresholds, Traits, Voter, Votes};

/// A few traces of each key, however seldom it is seen, within a quota of all.
#[derive(Debug)]
pub struct RarePolicy {
    pub key: KeySource,
    /// One trace costs one; a bucket for each key.
    pub of_keys: Bucket,
    /// The same for all of them together.
    pub of_all: Bucket,
}

impl Voter for RarePolicy {
    fn vote(&self, call: &Call<'_>, asked: &TraceSet) -> Votes {
        let due = call.due(asked);
        if due.is_empty() {
            return Votes::none(call.len);
        }
        let keys = self.key.of_traces(call);
        let rare = take_by(&self.of_keys, &due, call, |trace| (keys[trace], 1));
        let keep = take(&self.of_all, &rare, call, |_| 1);
        Votes {
            chance: &due & &!&keep,
            keep,
            thresholds: Thresholds::Same(Threshold::UNKNOWN),
            ..Votes::none(call.len)
        }
    }

    fn traits(&self) -> Traits {
        Traits { is_stateful: true, ..Traits::default() }
    }
}
