//! What runs, for whoever tries something on it.

use super::Control;
use crate::config::model::Config;

impl Control {
    /// The file that is in force, with the stages as they serve: also where a swap changed what the file says.
    pub fn serving_config(&self) -> Config {
        let state = self.state();
        let stages = state.stages.iter().map(|known| known.serving.clone()).collect();
        Config { stages, ..state.file.clone() }
    }
}
