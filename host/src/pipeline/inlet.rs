//! Where a receiver's requests enter the pipelines.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::ack::{Ack, Answer, Outcome, promise};
use crate::batch::Batch;
use crate::memory::Charge;
use crate::observe::metrics::{Metrics, ReceiverMetrics};
use crate::pipeline::intake::Intake;
use crate::pipeline::{Part, Pipeline, Request};
use crate::signal::Signal;

/// The pipelines that listen to one receiver.
#[derive(Debug)]
pub struct Inlet {
    /// In the order of [`Signal::ALL`].
    targets: [Targets; 3],
}

#[derive(Debug)]
struct Targets {
    pipelines: Vec<Arc<Pipeline>>,
    metrics: ReceiverMetrics,
}

impl Inlet {
    /// The inlet of `receiver`, leading to those of `pipelines` that name it.
    pub fn new(receiver: &str, pipelines: &[Arc<Pipeline>], metrics: &Metrics) -> Self {
        let targets = Signal::ALL.map(|signal| Targets {
            pipelines: pipelines.iter().filter(|pipeline| pipeline.signal() == signal).cloned().collect(),
            metrics: metrics.receiver(receiver, signal),
        });
        Self { targets }
    }

    fn targets(&self, signal: Signal) -> &Targets {
        let [traces, metrics, logs] = &self.targets;
        match signal {
            Signal::Traces => traces,
            Signal::Metrics => metrics,
            Signal::Logs => logs,
        }
    }
}

impl Intake for Inlet {
    fn submit(&self, signal: Signal, body: Bytes, charge: Charge) -> Answer {
        let targets = self.targets(signal);
        let charge = Arc::new(charge);
        let request = Arc::new(Request::new(targets.metrics.clone()));
        let answered = Arc::clone(&request);
        let (ack, answer) = promise(move |outcome| answered.answered(outcome));
        match targets.pipelines.as_slice() {
            // An empty request succeeds (OTLP specification, "Full Success"); there is nothing to send on.
            _ if body.is_empty() => ack.settle(Outcome::ACCEPTED),
            [] => ack.settle(Outcome::Refused { message: format!("no pipeline takes {signal} from this receiver") }),
            [pipeline] => pipeline.enter(body, ack, charge, request),
            several => {
                for (pipeline, ack) in several.iter().zip(ack.into_copies(several.len())) {
                    pipeline.enter(body.clone(), ack, Arc::clone(&charge), Arc::clone(&request));
                }
            }
        }
        answer
    }

    fn takes(&self, signal: Signal) -> bool {
        !self.targets(signal).pipelines.is_empty()
    }
}

/// A receiver's way into the pipelines of the file that is in force. Its servers keep it whatever the next file says.
#[derive(Debug)]
pub struct Door(ArcSwap<Inlet>);

impl Door {
    /// Leads to this inlet.
    pub fn new(inlet: Arc<Inlet>) -> Arc<Door> {
        Arc::new(Door(ArcSwap::new(inlet)))
    }

    /// Where it leads, for whoever waits for the last request on that way.
    pub fn inlet(&self) -> Weak<Inlet> {
        Arc::downgrade(&self.0.load())
    }

    /// Leads to another inlet from now on. What went through the one before may still hold it, and nobody else does.
    pub fn lead_to(&self, inlet: Arc<Inlet>) -> Arc<Inlet> {
        self.0.swap(inlet)
    }
}

impl Intake for Door {
    fn submit(&self, signal: Signal, body: Bytes, charge: Charge) -> Answer {
        // Held until the request is in, so that it is known when nothing more comes.
        self.0.load_full().submit(signal, body, charge)
    }

    fn takes(&self, signal: Signal) -> bool {
        self.0.load().takes(signal)
    }
}

impl Pipeline {
    /// Takes in one request. Its items are counted by whoever reads it for the first step, or here if that does not: counting is one
    /// pass over the boundaries.
    fn enter(self: &Arc<Self>, body: Bytes, ack: Ack, charge: Arc<Charge>, request: Arc<Request>) {
        let mut account = 0;
        if !self.counts_at_first_step() {
            match Batch::index(self.signal, vec![body.clone()]) {
                Ok(batch) => account = batch.account(),
                Err(malformed) => return ack.settle(Outcome::Refused { message: malformed.to_string() }),
            }
            request.count(account);
            self.entered(account);
        }
        self.opened(1);
        self.advance(vec![Part { body, account, ack, charge, request: Some(request), kept: None }], 0);
    }
}
