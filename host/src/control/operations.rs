//! Work that takes longer than an answer should: swaps that compile, shadows, canaries, drains. Each is an operation that can be watched and
//! cancelled, and that others are told of when they would get into its way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::control::who::Who;

/// The kind of a process that stops. Nothing begins after it.
pub const DRAIN: &str = "drain";
/// Operations that have ended and are still told of.
const ENDED_MAX: usize = 64;
/// Steps that are told of one operation.
const STEPS_MAX: usize = 64;

/// Operations of this process, in the order in which they began.
#[derive(Debug, Default)]
pub struct Operations {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    last_id: u64,
    operations: VecDeque<Arc<Operation>>,
}

/// One of them.
#[derive(Debug)]
pub struct Operation {
    progress: watch::Sender<Progress>,
    cancelled: watch::Sender<bool>,
}

/// How far an operation is: what the admin API tells of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Progress {
    /// Counts from 1.
    pub id: u64,
    /// `swap`, `shadow`, `canary`, `rollback`, `reload`, `drain`.
    pub kind: String,
    /// Its stage; None: it concerns all of them.
    #[schema(required)]
    pub stage: Option<String>,
    /// Who began it.
    pub who: String,
    /// When, in seconds since 1970.
    pub began_unix: u64,
    /// When it ended.
    #[schema(required)]
    pub ended_unix: Option<u64>,
    /// How it is.
    pub state: OperationState,
    /// Steps so far, the one under way last.
    pub steps: Vec<OperationStep>,
    /// Numbers of the step under way, such as what a shadow has compared so far; by kind.
    #[schema(value_type = Value)]
    pub numbers: serde_json::Value,
    /// What came of it: the answer that a caller who waits gets; a refusal where it failed.
    #[schema(required, value_type = Value)]
    pub result: Option<serde_json::Value>,
}

/// How an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Under way.
    Running,
    /// It did what was asked.
    Succeeded,
    /// It did not; what served before serves.
    Failed,
    /// Somebody asked for its end; what served before serves.
    Cancelled,
}

/// A step, such as `compile` or `canary`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OperationStep {
    /// Its name.
    pub step: String,
    /// When it began, in seconds since 1970.
    pub began_unix: u64,
}

/// Another operation is under way with the same stage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("operation {id} ({kind} of {}, by {who}) is under way", .stage.as_deref().unwrap_or("everything"))]
pub struct Conflict {
    /// Which.
    pub id: u64,
    /// Its kind.
    pub kind: String,
    /// Its stage.
    pub stage: Option<String>,
    /// Who began it.
    pub who: String,
}

impl Operations {
    /// Begins one of a stage, of the file, or of the process ([`DRAIN`]).
    ///
    /// # Errors
    /// [`Conflict`] if another one of this stage, or another one of the file, is under way, or the process stops.
    pub fn begin(&self, kind: &str, stage: Option<&str>, who: &Who) -> Result<Arc<Operation>, Conflict> {
        let mut known = self.known();
        // A file waits for swaps that are being built, and they for it; nothing begins while the process stops.
        let conflicts = |other: &Progress| match (other.stage.as_deref(), stage) {
            (Some(other), Some(stage)) => other == stage,
            (None, None) => kind != DRAIN || other.kind == DRAIN,
            (None, Some(_)) => other.kind == DRAIN,
            (Some(_), None) => false,
        };
        for other in &known.operations {
            let other = other.progress.borrow();
            if other.state == OperationState::Running && conflicts(&other) {
                let Progress { id, kind, stage, who, .. } = other.clone();
                return Err(Conflict { id, kind, stage, who });
            }
        }
        known.last_id += 1;
        let progress = Progress {
            id: known.last_id,
            kind: kind.to_owned(),
            stage: stage.map(str::to_owned),
            who: who.to_string(),
            began_unix: now_unix(),
            ended_unix: None,
            state: OperationState::Running,
            steps: Vec::new(),
            numbers: serde_json::Value::Null,
            result: None,
        };
        let operation =
            Arc::new(Operation { progress: watch::Sender::new(progress), cancelled: watch::Sender::new(false) });
        known.operations.push_back(Arc::clone(&operation));
        known.forget();
        Ok(operation)
    }

    /// The one of this id.
    pub fn get(&self, id: u64) -> Option<Arc<Operation>> {
        self.known().operations.iter().find(|operation| operation.progress.borrow().id == id).cloned()
    }

    /// All that are known, in the order in which they began.
    pub fn all(&self) -> Vec<Progress> {
        self.known().operations.iter().map(|operation| operation.progress.borrow().clone()).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Those that ended first go first.
    fn forget(&mut self) {
        let is_ended = |operation: &Arc<Operation>| operation.progress.borrow().state != OperationState::Running;
        while self.operations.iter().filter(|operation| is_ended(operation)).count() > ENDED_MAX {
            let Some(first) = self.operations.iter().position(is_ended) else { return };
            self.operations.remove(first);
        }
    }
}

impl Operation {
    /// The next step begins.
    pub fn step(&self, step: &str) {
        self.progress.send_modify(|progress| {
            if progress.steps.len() < STEPS_MAX {
                progress.steps.push(OperationStep { step: step.to_owned(), began_unix: now_unix() });
            }
        });
    }

    /// Numbers of the step under way.
    pub fn tell(&self, numbers: serde_json::Value) {
        self.progress.send_modify(|progress| progress.numbers = numbers);
    }

    /// It is over. What ended before stays as it ended.
    pub fn end(&self, state: OperationState, result: Option<serde_json::Value>) {
        self.progress.send_modify(|progress| {
            if progress.state == OperationState::Running {
                (progress.state, progress.result, progress.ended_unix) = (state, result, Some(now_unix()));
            }
        });
    }

    /// Has it end as soon as it can. One that commits at this moment ends as a success.
    pub fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    /// Waits for that.
    pub async fn until_cancelled(&self) {
        let mut cancelled = self.cancelled.subscribe();
        // The sender is ours.
        let _cancelled = cancelled.wait_for(|is_cancelled| *is_cancelled).await;
    }

    /// Whether its end was asked for.
    pub fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// How far it is, now and at each change.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Waits until it is over.
    pub async fn until_ended(&self) -> Progress {
        let mut progress = self.watch();
        let ended = progress.wait_for(|progress| progress.state != OperationState::Running).await;
        // The sender is ours.
        ended.map_or_else(|_| self.progress(), |progress| progress.clone())
    }

    /// Whether anybody watches it.
    pub fn is_watched(&self) -> bool {
        self.progress.receiver_count() > 0
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }
}

fn now_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(operations: &Operations, kind: &str, stage: Option<&str>) -> Result<Arc<Operation>, u64> {
        operations.begin(kind, stage, &Who::Signal).map_err(|conflict| conflict.id)
    }

    #[test]
    fn one_of_each_stage_one_of_the_file_and_nothing_beside_a_drain() {
        let operations = Operations::default();
        let swap = begin(&operations, "swap", Some("a")).expect("nothing is in its way");
        assert_eq!(begin(&operations, "shadow", Some("a")).map(|_| ()), Err(1));
        begin(&operations, "swap", Some("b")).expect("another stage");
        begin(&operations, "reload", None).expect("it waits for the swaps");
        assert_eq!(begin(&operations, "reload", None).map(|_| ()), Err(3));
        swap.end(OperationState::Succeeded, None);
        begin(&operations, "swap", Some("a")).expect("the first one has ended");
        begin(&operations, DRAIN, None).expect("whatever is under way");
        for (kind, stage) in [("swap", Some("c")), ("reload", None), (DRAIN, None)] {
            let conflict = begin(&operations, kind, stage).map(|_| ());
            assert!(conflict.is_err(), "{kind} while the process stops");
        }
    }

    #[tokio::test]
    async fn what_has_ended_stays_as_it_ended_and_is_forgotten_in_time() {
        let operations = Operations::default();
        let first = begin(&operations, "swap", Some("a")).expect("begins");
        first.cancel();
        first.until_cancelled().await;
        first.end(OperationState::Cancelled, None);
        first.end(OperationState::Succeeded, None);
        assert_eq!(first.until_ended().await.state, OperationState::Cancelled);
        let running = begin(&operations, "swap", Some("b")).expect("begins");
        for _ in 0..2 * ENDED_MAX {
            begin(&operations, "swap", Some("a")).expect("begins").end(OperationState::Failed, None);
        }
        assert!(operations.get(1).is_none(), "the first to end is the first to go");
        assert!(operations.get(running.progress().id).is_some(), "what is under way stays");
        assert!(operations.all().len() <= ENDED_MAX + 2, "{}", operations.all().len());
        (0..2 * STEPS_MAX).for_each(|_| running.step("again"));
        assert_eq!(running.progress().steps.len(), STEPS_MAX);
    }
}
