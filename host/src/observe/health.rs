//! How stages fare, as numbers: state, breaker, restarts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::metrics::{Counter, Gauge, family};

/// The state of a stage, named as the states of the Collector's components are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// Nothing serves yet.
    #[default]
    Starting,
    /// It is called for all that comes.
    Ok,
    /// It failed too often in a row: it is called now and then, until a call ends well.
    Recoverable,
    /// It is not called until another generation serves.
    Permanent,
    /// Somebody has it not called for a while.
    Paused,
    /// The engine stops.
    Stopped,
}

impl StageState {
    /// Every state.
    pub const ALL: [StageState; 6] = [
        StageState::Starting,
        StageState::Ok,
        StageState::Recoverable,
        StageState::Permanent,
        StageState::Paused,
        StageState::Stopped,
    ];

    /// The name used in labels and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            StageState::Starting => "starting",
            StageState::Ok => "ok",
            StageState::Recoverable => "recoverable",
            StageState::Permanent => "permanent",
            StageState::Paused => "paused",
            StageState::Stopped => "stopped",
        }
    }
}

/// Families of the health of stages.
#[derive(Debug)]
pub(super) struct HealthFamilies {
    state: Family<StateLabels, Gauge>,
    breaker_open: Family<StageLabels, Gauge>,
    instances: Family<StageLabels, Counter>,
    restarts: Family<StageLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StageLabels {
    stage: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    stage: String,
    state: &'static str,
}

/// Health of one stage.
#[derive(Clone, Debug)]
pub struct HealthMetrics {
    /// In the order of [`StageState::ALL`].
    states: [Gauge; 6],
    breaker_open: Gauge,
}

/// Instances of one stage, as they follow each other.
#[derive(Clone, Debug)]
pub struct InstanceMetrics {
    /// Taken into use, for whatever reason.
    pub instances: Counter,
    /// Those among them that replaced one which had faulted.
    pub restarts: Counter,
}

impl HealthFamilies {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let r = registry;
        Self {
            state: family(r, "stage_state", "1 for the state that the stage is in, 0 for the others"),
            breaker_open: family(r, "stage_breaker_open", "1 while the stage is not called, since it failed too often"),
            instances: family(r, "stage_instances", "Instances taken into use"),
            restarts: family(r, "stage_restarts", "Instances taken into use in the place of one that faulted"),
        }
    }

    pub(super) fn of(&self, stage: &str) -> HealthMetrics {
        let gauge = |state: StageState| {
            let labels = StateLabels { stage: stage.to_owned(), state: state.as_str() };
            self.state.get_or_create_owned(&labels)
        };
        let breaker_open = self.breaker_open.get_or_create_owned(&StageLabels { stage: stage.to_owned() });
        HealthMetrics { states: StageState::ALL.map(gauge), breaker_open }
    }

    pub(super) fn instances_of(&self, stage: &str) -> InstanceMetrics {
        let labels = StageLabels { stage: stage.to_owned() };
        InstanceMetrics {
            instances: self.instances.get_or_create_owned(&labels),
            restarts: self.restarts.get_or_create_owned(&labels),
        }
    }
}

impl HealthMetrics {
    /// Shows a state, and whether calls are held back.
    pub fn show(&self, state: StageState, is_held_back: bool) {
        for (gauge, of) in self.states.iter().zip(StageState::ALL) {
            gauge.set(i64::from(of == state));
        }
        self.breaker_open.set(i64::from(is_held_back));
    }
}
