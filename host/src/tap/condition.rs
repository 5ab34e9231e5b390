//! `where`: an OTTL condition. It is asked of the bundled filter, in a sandbox of the tap's own: one language, one evaluator.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::rows;
use crate::batch::{Batch, Drops, RowSet};
use crate::config::model::{Component, Grants, Stage, StageRole};
use crate::config::{Place, STAGE_LIMITS_DEFAULT};
use crate::control::Build;
use crate::pipeline::stage::{Fault, FaultKind, Generation, Instance};
use crate::signal::Signal;
use crate::wasm::BuildError;

/// The name under which the filter is built: no stage of a file is called so.
const NAME: &str = "tap";
/// As a stage's calls.
const SLICE_ROWS_MAX: u32 = 2048;
const SLICE_BYTES_MAX: u32 = 1 << 20;

/// A condition on records of one signal.
pub(super) struct Condition {
    signal: Signal,
    /// Instances belong to it.
    _generation: Arc<dyn Generation>,
    instance: Box<dyn Instance>,
}

impl Condition {
    /// May block for as long as building a bundled component takes.
    ///
    /// # Errors
    /// Where it is no condition on records of this signal: what the component says of it.
    pub(super) fn build(build: &Build, signal: Signal, text: &str) -> Result<Condition, BuildError> {
        let key = match signal {
            Signal::Traces => "trace_conditions",
            Signal::Metrics => "metric_conditions",
            Signal::Logs => "log_conditions",
        };
        let stage = Stage {
            name: NAME.to_owned(),
            role: StageRole::Processor,
            component: Component::Bundled("filter".to_owned()),
            config: json!({ "error_mode": "ignore", key: [text] }).to_string(),
            keys: Vec::new(),
            grants: Grants::NONE,
            tables: Vec::new(),
            limits: STAGE_LIMITS_DEFAULT,
            on_fault: None,
            place: Place::default(),
            config_place: Place::default(),
            grants_place: None,
        };
        let generation = build(&stage, 1)?;
        let instance = generation.instance().map_err(|fault| BuildError::Abandoned(fault.to_string()))?;
        Ok(Condition { signal, _generation: generation, instance })
    }

    /// Its signal.
    pub(super) fn signal(&self) -> Signal {
        self.signal
    }

    /// Rows that it is true of.
    ///
    /// # Errors
    /// It must not be asked again then.
    pub(super) fn rows(&mut self, bodies: &[Bytes]) -> Result<RowSet, Fault> {
        let malformed = |error: rows::Uncut| Fault { kind: FaultKind::Malformed, message: error.to_string() };
        let mut batch = Batch::index(self.signal, bodies.to_vec()).map_err(|error| malformed(error.into()))?;
        let mut matched = Drops::new(&batch);
        for items in batch.slices(SLICE_ROWS_MAX, SLICE_BYTES_MAX) {
            let slice = batch.slice(items.clone());
            let (same, result) = self.instance.call(batch, items);
            batch = same;
            for rows in result?.drops {
                matched.add(&batch, &slice, &rows.rows);
            }
        }
        Ok(matched.leaves(&batch).clone())
    }
}
