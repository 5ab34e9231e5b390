//! Other settings for a shard that runs.

use super::log::NONE;
use super::shard::{DROPPED_DIVISOR, KEPT_DIVISOR, Now, Settings, Shard, nanos};
use super::trace::{Queue, Trace};

impl Shard {
    /// Works by other settings from now on. Traces that wait are due as if these had held when they came: that may be at once, and in
    /// another order. A root that came while there was no other wait for it is not known any more.
    pub fn reconfigure(&mut self, now: Now, settings: Settings) {
        self.advance(now);
        if settings == self.settings {
            return;
        }
        let before = std::mem::replace(&mut self.settings, settings);
        let settings = &self.settings;
        self.kept.resize(settings.kept_ids_max, settings.bytes_max / KEPT_DIVISOR);
        self.dropped.resize(settings.dropped_ids_max, settings.bytes_max / DROPPED_DIVISOR);
        self.history.resize(settings.past_max());
        if before.when_due() != settings.when_due() {
            self.reschedule(&before);
        }
        self.charge.grow_over(self.bytes());
        self.uncharge();
    }

    fn reschedule(&mut self, before: &Settings) {
        let waiting = &self.waiting;
        let mut due = Vec::with_capacity(waiting.traces.len());
        for first in [waiting.queues.wait.first(), waiting.queues.root.first()] {
            let mut at = first;
            while let Some(trace) = waiting.traces.get(at).filter(|_| at != NONE) {
                let (time, queue) = self.settings.due(before, trace);
                due.push((time, queue, at));
                at = waiting.queues.wait.after(at, &waiting.traces);
            }
        }
        // Stable: what is due at the same time stays in the order in which it came.
        due.sort_by_key(|&(time, ..)| time);
        self.waiting.reschedule(&due);
    }
}

impl Settings {
    /// What says when a trace is due.
    fn when_due(&self) -> impl PartialEq {
        (self.decision_wait, self.wait_after_root, self.span_limit, self.trace_bytes_limit)
    }

    /// When and why a trace is due that waits by the settings before.
    fn due(&self, before: &Settings, trace: &Trace) -> (u64, Queue) {
        let by_wait = trace.arrived.saturating_add(nanos(self.decision_wait));
        let rooted = before.wait_after_root.filter(|_| trace.queue == Queue::Root);
        let root_arrived = rooted.map(|wait| trace.due.saturating_sub(nanos(wait)));
        let by_root = root_arrived.zip(self.wait_after_root).map(|(at, wait)| at.saturating_add(nanos(wait)));
        match by_root {
            _ if self.is_at_limit(trace) => (trace.due, Queue::Limit),
            Some(by_root) if by_root < by_wait => (by_root, Queue::Root),
            Some(_) | None => (by_wait, Queue::Wait),
        }
    }
}
