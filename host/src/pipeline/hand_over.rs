//! The end of a pipeline: a place in every exporter's queue, then all of them at once.

use std::sync::Arc;
use std::time::Duration;

use crate::ack::Outcome;
use crate::export::{self, Exporter, Parcel, Slot};
use crate::pipeline::{Part, Pipeline, RETRY_AFTER_FULL};

/// An exporter that fails for longer no longer holds up the others (unless it is the only one or `block_on_overflow` is set).
const FAILING_VOTES_UNTIL: Duration = Duration::from_secs(30);

/// What one exporter's queue says.
enum Place {
    Slot(Slot),
    /// Full and failing for long: its copy is dropped.
    Skipped,
}

impl Pipeline {
    /// Gives the parts to all exporters, or to none: a sender that retries must not send twice to some of them.
    pub(super) fn hand_over(self: &Arc<Self>, parts: Vec<Part>) {
        let mut places = Vec::with_capacity(self.exporters.len());
        for exporter in &self.exporters {
            match exporter.try_reserve() {
                Ok(slot) => places.push(Place::Slot(slot)),
                Err(_) if exporter.blocks_on_overflow() => {
                    drop(places);
                    let pipeline = Arc::clone(self);
                    self.runtime.spawn(async move { pipeline.hand_over_when_there_is_room(parts).await });
                    return;
                }
                Err(_) if self.may_skip(exporter) => places.push(Place::Skipped),
                Err(_) => {
                    let message = format!("the queue of exporter \"{}\" is full", exporter.name());
                    return self.refuse(parts, exporter.name(), "queue_full", Some(RETRY_AFTER_FULL), &message);
                }
            }
        }
        self.push(places, parts);
    }

    async fn hand_over_when_there_is_room(self: Arc<Self>, parts: Vec<Part>) {
        let mut places = Vec::with_capacity(self.exporters.len());
        for exporter in &self.exporters {
            if exporter.blocks_on_overflow() {
                match exporter.reserve().await {
                    Ok(slot) => places.push(Place::Slot(slot)),
                    Err(closed) => return self.refuse(parts, exporter.name(), "stopping", None, &closed.to_string()),
                }
                continue;
            }
            match exporter.try_reserve() {
                Ok(slot) => places.push(Place::Slot(slot)),
                Err(_) if self.may_skip(exporter) => places.push(Place::Skipped),
                Err(_) => {
                    let message = format!("the queue of exporter \"{}\" is full", exporter.name());
                    return self.refuse(parts, exporter.name(), "queue_full", Some(RETRY_AFTER_FULL), &message);
                }
            }
        }
        self.push(places, parts);
    }

    fn may_skip(&self, exporter: &Exporter) -> bool {
        self.exporters.len() > 1 && exporter.failing_since().is_some_and(|since| since.elapsed() > FAILING_VOTES_UNTIL)
    }

    fn push(self: &Arc<Self>, places: Vec<Place>, parts: Vec<Part>) {
        let account: u64 = parts.iter().map(|part| part.account).sum();
        let count = parts.len();
        let waits = self.exporters.iter().filter(|exporter| exporter.waits_for_result()).count();
        let mut parcels: Vec<Parcel> =
            self.exporters.iter().map(|_| Parcel { signal: self.signal, parts: Vec::new() }).collect();
        let mut kept = Vec::new();
        for part in parts {
            let mut acks = if waits == 0 {
                kept.push(part.ack);
                Vec::new().into_iter()
            } else {
                part.ack.into_copies(waits).into_iter()
            };
            for (parcel, exporter) in parcels.iter_mut().zip(&self.exporters) {
                let ack = if exporter.waits_for_result() { acks.next() } else { None };
                let (bytes, charge) = (part.body.clone(), Arc::clone(&part.request.charge));
                parcel.parts.push(export::Part { bytes, account: part.account, ack, charge: Some(charge) });
            }
        }
        for ((place, parcel), exporter) in places.into_iter().zip(parcels).zip(&self.exporters) {
            match place {
                Place::Slot(slot) => slot.push(parcel),
                Place::Skipped => exporter.skip(parcel),
            }
        }
        self.metrics.handed_over.inc_by(account);
        self.left(account);
        // With no exporter that answers for the parts, being in the queues is the answer.
        for ack in kept {
            ack.settle(Outcome::ACCEPTED);
        }
        self.closed(count);
    }
}
