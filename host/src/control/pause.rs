//! Having a stage not called for a while.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::history::Entry;
use super::{Control, SwapError, Who};
use crate::config::model::StageRole;
use crate::observe::readiness::Unjudged;
use crate::pipeline::condition::{Condition, Pause};

/// The longest pause that ends by itself.
pub const PAUSE_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// After its time a pause that nobody noticed to be over is looked at.
const END_GRACE: Duration = Duration::from_millis(50);

/// A stage that is not called from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Paused {
    /// The stage.
    pub stage: String,
    /// What becomes of what it would have judged.
    pub on_fault: Unjudged,
    /// The same in a sentence.
    pub effect: &'static str,
    /// Whether it edits: then its work is missing from what goes on.
    pub edits: bool,
    /// When it ends by itself, in seconds since 1970; None: when it is resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_unix: Option<u64>,
    /// Pipelines that it stands in.
    pub pipelines: Vec<String>,
}

/// A stage that is called again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Resumed {
    /// The stage.
    pub stage: String,
    /// False where it was not paused.
    pub was_paused: bool,
}

/// A pause that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// No such stage runs.
    #[error(transparent)]
    Unknown(#[from] SwapError),
    /// What it would have edited would go on as it came.
    #[error(
        "stage \"{stage}\" edits and has `on_fault: pass`: while it is paused, everything goes on as it came, with what it would have \
         removed"
    )]
    Unedited {
        /// The stage.
        stage: String,
    },
    /// Longer than [`PAUSE_MAX`], or no time at all.
    #[error("a pause lasts 1 second to 7 days, or until it is resumed")]
    Length,
}

impl Control {
    /// Has a stage not called: from the next batch on, what it would have judged fares by its `on_fault`. It stays through swaps and
    /// through changes of the file that keep the stage.
    ///
    /// # Errors
    /// See [`PauseError`]; nothing has changed then.
    pub async fn pause(
        self: &Arc<Self>,
        stage: &str,
        length: Option<Duration>,
        force: bool,
        who: &Who,
    ) -> Result<Paused, PauseError> {
        if length.is_some_and(|length| length < Duration::from_secs(1) || length > PAUSE_MAX) {
            return Err(PauseError::Length);
        }
        let role = self.find(stage)?.serving.role;
        let edits = role == StageRole::Processor
            && self.current.snapshot().named(stage).is_some_and(|generation| generation.edits());
        let on_fault = self.unjudged(stage, role).unwrap_or(Unjudged::Reject);
        if edits && on_fault == Unjudged::Pass && !force {
            return Err(PauseError::Unedited { stage: stage.to_owned() });
        }
        let until = length.and_then(|length| SystemTime::now().checked_add(length));
        if let Some(condition) = self.condition(stage) {
            let number = condition.pause(Pause { by: who.to_string(), until });
            if let Some(length) = length {
                self.end_after(stage, condition, number, length, who.clone());
            }
        }
        let result = match length {
            Some(length) => format!("paused for {} s", length.as_secs()),
            None => "paused".to_owned(),
        };
        self.history.note(&Entry::of_stage(stage, &result, who)).wait().await;
        Ok(Paused {
            stage: stage.to_owned(),
            on_fault,
            effect: on_fault.effect(),
            edits,
            until_unix: until.map(|until| until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()),
            pipelines: self.pipelines_of(stage),
        })
    }

    /// Has a stage called again.
    ///
    /// # Errors
    /// [`PauseError::Unknown`] where no such stage runs.
    pub async fn resume(&self, stage: &str, who: &Who) -> Result<Resumed, PauseError> {
        self.find(stage)?;
        let was_paused = self.condition(stage).is_some_and(|condition| condition.resume());
        if was_paused {
            self.history.note(&Entry::of_stage(stage, "resumed", who)).wait().await;
        }
        Ok(Resumed { stage: stage.to_owned(), was_paused })
    }

    /// The history tells of an end that nobody asked for. A batch that comes before ends the pause as well.
    fn end_after(self: &Arc<Self>, stage: &str, condition: Arc<Condition>, number: u64, length: Duration, who: Who) {
        let (control, stage) = (Arc::downgrade(self), stage.to_owned());
        tokio::spawn(async move {
            // The wall clock says when it is over, and may be behind.
            tokio::time::sleep(length.saturating_add(END_GRACE)).await;
            condition.end_pause();
            let Some(control) = control.upgrade() else { return };
            // Another pause may have taken the place of this one, or somebody resumed it.
            if condition.has_ended_in_time(number) {
                drop(control.history.note(&Entry::of_stage(&stage, "resumed: the time of its pause is over", &who)));
            }
        });
    }

    pub(super) fn condition(&self, stage: &str) -> Option<Arc<Condition>> {
        let stages = self.current.stages();
        stages.position(stage).and_then(|index| stages.condition(index)).map(Arc::clone)
    }
}
