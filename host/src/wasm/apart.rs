//! A generation beside the data path: the same component with a copy of its host state, or with another configuration. Nothing that its
//! instances do is kept or counted.

use std::fmt;
use std::sync::Arc;

use super::error::ConfigureError;
use super::generation::Shared;
use super::host_state::Attached;
use super::instance::GuestInstance;
use super::state::Opened;
use super::world::World;
use crate::config::model::OnFault;
use crate::pipeline::stage::{Fault, Generation, Instance, Policy};

/// A generation that never serves.
pub(super) struct Apart<W: World> {
    number: u64,
    shared: Arc<Shared<W>>,
    config: String,
    opened: Opened,
    states: Arc<Attached>,
}

impl<W: World> Apart<W> {
    /// Of a generation with what it opened and with its state as it is now; with another configuration, with what that opens.
    pub(super) fn of(number: u64, shared: &Arc<Shared<W>>, config: Option<&str>) -> Result<Self, ConfigureError> {
        let (config, opened, states) = match config {
            None => {
                let opened = shared.opened.clone();
                let states = shared.sandbox.states.copy(&shared.states, &opened.states);
                (shared.config.clone(), opened, states)
            }
            Some(config) => {
                let opened = shared.configured(config)?.opened().clone();
                let states = shared.sandbox.states.scratch(&opened.states);
                (config.to_owned(), opened, states)
            }
        };
        let states = states.map_err(ConfigureError::HostState)?;
        Ok(Self { number, shared: Arc::clone(shared), config, opened, states })
    }

    fn take(&self) -> Result<GuestInstance<W>, Fault> {
        let mut instance = self.shared.configured(&self.config).map_err(ConfigureError::into_fault)?;
        if *instance.opened() != self.opened {
            return Err(ConfigureError::Differs.into_fault());
        }
        instance.be_tried(&self.states);
        Ok(instance)
    }
}

impl<W: World> Generation for Apart<W> {
    fn stage(&self) -> &str {
        &self.shared.stage
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn digest(&self) -> &str {
        &self.shared.linked.info.digest
    }

    fn on_fault(&self) -> OnFault {
        OnFault::Reject
    }

    fn edits(&self) -> bool {
        self.shared.linked.info.edits()
    }

    fn rules(&self) -> &[String] {
        &self.opened.rules
    }

    fn instance(&self) -> Result<Box<dyn Instance>, Fault> {
        W::instance(|| self.take())
    }

    fn policy(&self) -> Result<Box<dyn Policy>, Fault> {
        W::policy(|| self.take())
    }
}

impl<W: World> fmt::Debug for Apart<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apart").field("stage", &self.shared.stage).field("number", &self.number).finish_non_exhaustive()
    }
}
