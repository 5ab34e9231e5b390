//! What is due, and what a shard says of itself, against the model.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use sluicebox::tail::explain::TraceState;
use sluicebox::tail::shard::Now;
use sluicebox::tail::traces::{Traces, Trigger};

use crate::check::{check_grouped, span_number};
use crate::lane::Lane;
use crate::model::{Model, Place, TraceId, Waiting, randomness};
use crate::wire::{RawSpan, spans};

const TRACES_PER_DUE_MAX: usize = 512;
const BYTES_PER_DUE_MAX: u64 = 4 << 20;
/// A trace is offered early at most so often.
const EARLY_EVERY: Duration = Duration::from_millis(100);

impl Lane {
    /// Nothing was given, rightly.
    pub fn check_nothing_is_due(&self, now: Now) {
        let (time, load) = (now.since_start, self.shard.load());
        let waiting = &self.model.waiting;
        assert!(!self.is_draining || waiting.is_empty(), "all are due while draining");
        let evicts = self.settings.evicts;
        assert!(!evicts || waiting.len() <= self.settings.traces_max, "{} wait", waiting.len());
        let is_low = load.bytes <= self.settings.bytes_max / 10 * 9 + 10;
        assert!(
            !evicts || waiting.is_empty() || is_low,
            "{} of {} bytes are held",
            load.bytes,
            self.settings.bytes_max
        );
        let mut wake_by = None::<Duration>;
        for trace in waiting.values() {
            assert!(!trace.is_at_limit, "a trace at its limit waits on");
            let late = trace.due + self.tolerance();
            assert!(time <= late, "a trace that was due at {:?} waits on at {time:?}", trace.due);
            let mut by = late;
            if let (Some(changed), Some(since)) = (trace.changed, self.early_since)
                && changed >= since
            {
                // A hundred milliseconds between offers, and a tick to come round.
                assert!(
                    time <= changed + EARLY_EVERY + self.tolerance(),
                    "changed at {changed:?}, not offered at {time:?}"
                );
                by = by.min(changed + 2 * EARLY_EVERY);
            }
            wake_by = Some(wake_by.map_or(by, |other| other.min(by)));
        }
        let wake_at = self.shard.wake_at();
        assert!(
            wake_at.is_none_or(|at| at > time),
            "it wants to be asked at {wake_at:?}, was asked at {time:?} and had nothing"
        );
        if let Some(by) = wake_by {
            assert!(
                wake_at.is_some_and(|at| at <= by),
                "it wants to be asked at {wake_at:?}, but has something by {by:?}"
            );
        }
    }

    /// What policies are told of traces that are due, and that these and no others are.
    pub fn check_traces(&mut self, now: Now, traces: &Traces, held: u64) {
        let count = traces.len();
        assert!(count > 0 && count <= TRACES_PER_DUE_MAX, "{count} traces at once");
        let bytes: u64 = traces.byte_counts.iter().sum();
        assert!(count == 1 || bytes <= BYTES_PER_DUE_MAX, "{count} traces of {bytes} bytes at once");
        assert_eq!(traces.now_unix_nano, now.unix_nano);
        let lengths = [
            traces.randomness.len(),
            traces.thresholds.len(),
            traces.arrivals_unix_nano.len(),
            traces.starts_unix_nano.len(),
            traces.ends_unix_nano.len(),
            traces.span_counts.len(),
            traces.error_counts.len(),
            traces.ok_counts.len(),
            traces.byte_counts.len(),
            traces.marks.len(),
            traces.triggers.len(),
        ];
        assert_eq!(lengths, [count; 11]);
        for (i, id) in traces.ids.iter().enumerate() {
            assert!(!traces.ids[..i].contains(id), "a trace stands twice");
            let trace = self.model.waiting.get(id).unwrap_or_else(|| panic!("{id:x?} is due, but does not wait"));
            assert_eq!(traces.randomness[i], randomness(id, trace.spans.iter()));
            assert_eq!(traces.thresholds[i], trace.threshold());
            assert_eq!(traces.arrivals_unix_nano[i], trace.arrived_unix_nano);
            assert_eq!((traces.starts_unix_nano[i], traces.ends_unix_nano[i]), (trace.start(), trace.end()));
            assert_eq!(traces.span_counts[i] as usize, trace.spans.len());
            assert_eq!((traces.error_counts[i], traces.ok_counts[i]), (trace.errors(), trace.oks()));
            assert_eq!(traces.byte_counts[i], trace.bytes());
            assert_eq!(traces.marks[i], trace.marks());
        }
        self.check_triggers(now, traces, held);
    }

    fn check_triggers(&mut self, now: Now, traces: &Traces, held: u64) {
        let mut memory = Vec::new();
        for (id, trigger) in traces.ids.iter().zip(&traces.triggers) {
            let trace = &self.model.waiting[id];
            let trigger = Trigger::ALL[usize::from(*trigger)];
            let rank = match trigger {
                Trigger::Limit => 0,
                Trigger::Wait | Trigger::Root | Trigger::Shutdown => 1,
                Trigger::Memory => 2,
                Trigger::Early => 3,
            };
            assert!(rank >= self.last_rank, "{trigger:?} comes too late");
            self.last_rank = rank;
            match trigger {
                Trigger::Limit => assert!(trace.is_at_limit),
                Trigger::Wait | Trigger::Root => {
                    assert_eq!(trigger, trace.time_trigger());
                    assert!(trace.due <= now.since_start, "due at {:?}, given at {:?}", trace.due, now.since_start);
                    assert!(trace.due + self.tolerance() >= self.last_due, "{:?} after {:?}", trace.due, self.last_due);
                    self.last_due = self.last_due.max(trace.due);
                }
                Trigger::Shutdown => assert!(self.is_draining),
                Trigger::Memory => {
                    assert!(self.settings.evicts);
                    memory.push(*id);
                }
                Trigger::Early => {
                    assert!(
                        self.early_since.is_some() && trace.changed.is_some(),
                        "nothing changed since {:?}",
                        trace.offered
                    );
                    let again = trace.offered.map_or(Duration::ZERO, |at| at + EARLY_EVERY);
                    assert!(again <= now.since_start, "offered again before {again:?}");
                }
            }
            assert!(
                !self.is_draining
                    || matches!(trigger, Trigger::Shutdown | Trigger::Limit | Trigger::Wait | Trigger::Root)
            );
        }
        self.check_evicted(&memory, traces, held);
    }

    /// Only while there is too much, only as much, and what is due first.
    fn check_evicted(&self, evicted: &[TraceId], traces: &Traces, held: u64) {
        let Some(last) = evicted.last() else { return };
        let (waiting, bytes_high) = (self.model.waiting.len(), self.settings.bytes_max / 10 * 9);
        let too_many = waiting.saturating_sub(self.settings.traces_max);
        if self.makes_room {
            // As much is decided early as what comes may take.
        } else if held <= bytes_high {
            assert!(evicted.len() <= too_many, "{} evicted, {too_many} too many", evicted.len());
        } else if evicted.len() > too_many {
            let freed: u64 = evicted.iter().filter(|id| *id != last).map(|id| self.model.waiting[id].bytes()).sum();
            assert!(
                freed <= held - bytes_high,
                "{} evicted with {freed} bytes, {} too many",
                evicted.len(),
                held - bytes_high
            );
        }
        let latest = evicted.iter().map(|id| self.model.waiting[id].due).max().expect("not empty");
        let others = self.model.waiting.iter().filter(|(id, _)| !traces.ids.contains(id));
        let earliest = others.map(|(_, trace)| trace.due).min();
        let is_right = earliest.is_none_or(|due| due + self.tolerance() >= latest);
        assert!(is_right, "due at {latest:?} is evicted before {earliest:?}");
    }

    /// The spans of these traces and no others, as they came.
    pub fn check_spans(&self, traces: &Traces, body: &Bytes) {
        let (found, envelopes) = spans(body);
        check_grouped(&envelopes);
        assert_eq!(traces.trace_of.len(), found.len(), "a trace for each span");
        let mut shown: HashMap<u64, &RawSpan> = HashMap::new();
        for (span, trace) in found.iter().zip(&traces.trace_of) {
            assert_eq!(Model::trace_of(span), traces.ids[*trace as usize]);
            shown.insert(span_number(span), span);
        }
        let waiting: Vec<_> = traces.ids.iter().flat_map(|id| &self.model.waiting[id].spans).collect();
        assert_eq!((shown.len(), found.len()), (waiting.len(), waiting.len()), "each span is shown once");
        for span in waiting {
            let shown = shown.get(&span_number(span)).expect("each span is shown");
            assert_eq!((&shown.bytes, &shown.resource, &shown.scope), (&span.bytes, &span.resource, &span.scope));
        }
    }

    /// What it holds, and what it says of some of its traces.
    pub fn check_state(&mut self, rng: &mut StdRng, now: Now) {
        let (load, waiting) = (self.shard.load(), &self.model.waiting);
        let spans: u64 = waiting.values().map(|trace| trace.spans.len() as u64).sum();
        let bytes: u64 = waiting.values().map(Waiting::bytes).sum();
        assert_eq!((load.traces, load.spans), (waiting.len() as u64, spans));
        assert!(load.bytes >= bytes, "{} bytes are said to be held, spans alone have {bytes}", load.bytes);
        assert!(load.bytes <= self.settings.bytes_max, "{} of {} bytes", load.bytes, self.settings.bytes_max);
        assert_eq!(self.taken, self.released + self.dropped + spans, "each span is released, dropped or waits");
        let too_many = self.settings.evicts && waiting.len() > self.settings.traces_max;
        if too_many || waiting.values().any(|trace| trace.is_at_limit) {
            let wake_at = self.shard.wake_at();
            assert!(wake_at.is_some_and(|at| at <= now.since_start), "something is due now, not at {wake_at:?}");
        }
        let mut ids: Vec<_> = waiting.keys().chain(self.model.remembered.keys()).copied().collect();
        ids.sort_unstable();
        for _ in 0..ids.len().min(3) {
            self.check_explanation(ids[rng.random_range(0..ids.len())], now);
        }
        let unknown = self.shard.explain(rng.random());
        assert!(unknown.is_none(), "nobody has heard of it: {unknown:?}");
    }

    fn check_explanation(&mut self, id: TraceId, now: Now) {
        let said = self.shard.explain(id);
        if let Some(trace) = self.model.waiting.get(&id) {
            let said = said.expect("it waits");
            assert_eq!((said.sampler.as_str(), said.state), (self.settings.sampler.as_str(), TraceState::Waiting));
            assert_eq!(said.spans, Some(trace.spans.len() as u64));
            assert_eq!(said.arrived_unix_nano, Some(trace.arrived_unix_nano));
            assert_eq!((said.policy, said.generation), (None, None));
            return;
        }
        let place = self.model.places(&[id])[0];
        let remembered = &self.model.remembered[&id];
        match said {
            None => assert_ne!(place, Place::Remembered, "decided and remembered, but unknown at {now:?}"),
            Some(said) => {
                let (kept, is_kept) = (remembered.kept.as_ref(), said.state == TraceState::Kept);
                assert_ne!(said.state, TraceState::Waiting);
                assert_eq!(is_kept, kept.is_some(), "{said:?}");
                if let Some(kept) = kept {
                    assert_eq!(said.policy.as_deref(), Some(kept.policy.as_str()));
                    assert_eq!((said.generation, said.trigger), (Some(kept.generation), Some(kept.trigger)));
                }
            }
        }
    }

    /// How late a trace may be decided.
    fn tolerance(&self) -> Duration {
        (self.settings.decision_wait / 100).clamp(Duration::from_millis(1), Duration::from_millis(100))
    }
}
