//! What a stage serves beside what the file says of it.

use crate::config::model::{Component, Stage};
use crate::wasm;

/// What is known of a stage.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// What serves.
    pub(super) serving: Stage,
    /// What the file said when it was last loaded. Differs from what serves after a swap that the file does not say (drift).
    pub(super) filed: Stage,
    /// Of the component that the file named then: its path may hold another one since.
    pub(super) filed_digest: String,
}

impl Known {
    /// A stage that serves what the file says.
    pub(super) fn new(stage: Stage, digest: String) -> Self {
        Known { serving: stage.clone(), filed: stage, filed_digest: digest }
    }

    pub(super) fn has_drifted(&self) -> bool {
        !same_identity(&self.serving, &self.filed)
    }

    /// Whether the path that the file names holds another component than when it was last loaded. Reads it.
    pub(super) fn is_rebuilt(&self) -> bool {
        match &self.filed.component {
            Component::File { path, .. } => {
                wasm::digest_of_file(path).is_some_and(|digest| digest != self.filed_digest)
            }
            Component::Bundled(_) | Component::Uploaded(_) => false,
        }
    }
}

/// Identity of a stage: component, config, keys, limits, what happens on a fault. Its line in the file is not part of it, nor how its
/// config is written.
pub(super) fn same_identity(a: &Stage, b: &Stage) -> bool {
    a.component == b.component
        && (a.config == b.config || json(&a.config).is_some_and(|config| Some(config) == json(&b.config)))
        && a.keys == b.keys
        && a.limits == b.limits
        && a.on_fault == b.on_fault
}

fn json(text: &str) -> Option<serde_json::Value> {
    serde_json::from_str(text).ok()
}

/// SHA-256 of a component that has bytes of its own, in hex. Reads files.
pub(super) fn digest(component: &Component) -> Option<String> {
    match component {
        Component::File { path, .. } => wasm::digest_of_file(path),
        Component::Uploaded(wasm) => Some(wasm::digest(wasm)),
        Component::Bundled(_) => None,
    }
}
