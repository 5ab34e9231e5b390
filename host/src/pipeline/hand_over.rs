//! The end of a pipeline: a place in every exporter's queue, then all of them at once.

use std::sync::Arc;
use std::time::Duration;

use crate::ack::Outcome;
use crate::export::{self, Exporter, Parcel, Slot};
use crate::pipeline::{Part, Pipeline, RETRY_AFTER_FULL, retry};

/// An exporter that fails for longer no longer holds up the others (unless it is the only one or `block_on_overflow` is set).
pub(super) const FAILING_VOTES_UNTIL: Duration = Duration::from_secs(30);

/// For each exporter of a pipeline its place; None = its copy is dropped, since it is full and has failed for long.
type Places = Vec<Option<Slot>>;

impl Pipeline {
    /// Gives the parts to all exporters, or to none: a sender that retries must not send twice to some of them.
    pub(super) fn hand_over(self: &Arc<Self>, parts: Vec<Part>) {
        let none = self.exporters.iter().map(|_| None).collect();
        match self.reserve_others(none) {
            Ok(places) => self.push(places, parts),
            Err(full) if full.blocks_on_overflow() => {
                let pipeline = Arc::clone(self);
                self.runtime.spawn(async move {
                    pipeline.hand_over_when_there_is_room(parts).await;
                    pipeline.advance(Vec::new(), pipeline.steps.len());
                });
            }
            Err(full) => self.refuse_full(parts, full),
        }
    }

    /// Waits at the exporters that block, and only there: a place held meanwhile would be missing elsewhere.
    async fn hand_over_when_there_is_room(self: &Arc<Self>, parts: Vec<Part>) {
        let mut places: Places = self.exporters.iter().map(|_| None).collect();
        for (place, exporter) in places.iter_mut().zip(&self.exporters) {
            if !exporter.blocks_on_overflow() {
                continue;
            }
            match exporter.reserve().await {
                Ok(slot) => *place = Some(slot),
                Err(closed) => {
                    let stopping = Outcome::Retry { after: None, message: closed.to_string() };
                    return self.refuse(parts, self.steps.len(), exporter.name(), "shutdown", &stopping);
                }
            }
        }
        match self.reserve_others(places) {
            Ok(places) => self.push(places, parts),
            Err(full) => self.refuse_full(parts, full),
        }
    }

    /// A place in every queue that is missing in `places`; else the exporter that has none, and all places are given back.
    fn reserve_others(&self, mut places: Places) -> Result<Places, &Exporter> {
        let mut skipped = None;
        for (place, exporter) in places.iter_mut().zip(&self.exporters).filter(|(place, _)| place.is_none()) {
            match exporter.try_reserve() {
                Ok(slot) => *place = Some(slot),
                Err(_) if self.may_skip(exporter) => skipped = Some(exporter.as_ref()),
                Err(_) => return Err(exporter),
            }
        }
        match skipped {
            // Somebody has to take it.
            Some(exporter) if places.iter().all(Option::is_none) => Err(exporter),
            _ => Ok(places),
        }
    }

    fn may_skip(&self, exporter: &Exporter) -> bool {
        let failing_for_long = |since: std::time::Instant| since.elapsed() > self.failing_votes_until;
        !exporter.blocks_on_overflow() && exporter.failing_since().is_some_and(failing_for_long)
    }

    fn push(&self, places: Places, parts: Vec<Part>) {
        let account: u64 = parts.iter().map(|part| part.account).sum();
        self.metrics.handed_over.inc_by(account);
        self.left(account);
        self.closed(parts.len());
        // Whose copy is dropped has no say in the answer.
        let answers = |place: &Option<Slot>, exporter: &Exporter| place.is_some() && exporter.waits_for_result();
        let waits = places.iter().zip(&self.exporters).filter(|(place, exporter)| answers(place, exporter)).count();
        let mut parcels: Vec<Parcel> =
            self.exporters.iter().map(|_| Parcel { signal: self.signal, parts: Vec::new() }).collect();
        // With no exporter that answers, being in the queues is the answer, so not before.
        let mut answered_when_queued = Vec::new();
        for part in parts {
            let mut acks = match waits {
                0 => {
                    answered_when_queued.push(part.ack);
                    Vec::new()
                }
                1 => vec![part.ack],
                several => part.ack.into_copies(several),
            }
            .into_iter();
            for ((parcel, exporter), place) in parcels.iter_mut().zip(&self.exporters).zip(&places) {
                let ack = if answers(place, exporter) { acks.next() } else { None };
                let (bytes, charge) = (part.body.clone(), Arc::clone(&part.charge));
                parcel.parts.push(export::Part { bytes, account: part.account, ack, charge: Some(charge) });
            }
        }
        for ((place, parcel), exporter) in places.into_iter().zip(parcels).zip(&self.exporters) {
            match place {
                Some(slot) => slot.push(parcel),
                None => exporter.skip(parcel),
            }
        }
        answered_when_queued.into_iter().for_each(|ack| ack.settle(Outcome::ACCEPTED));
    }

    fn refuse_full(&self, parts: Vec<Part>, full: &Exporter) {
        let message = format!("the queue of exporter \"{}\" is full", full.name());
        self.refuse(parts, self.steps.len(), full.name(), "queue_full", &retry(RETRY_AFTER_FULL, message));
    }
}
