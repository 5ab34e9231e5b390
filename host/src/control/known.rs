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

    /// What the file says now, in `stage`, beside what it said and what serves, of which the digest is given. Reads components.
    pub(super) fn says(&self, stage: &Stage, serving_digest: &str) -> Says {
        if same_identity(&self.filed, stage) && !self.is_rebuilt() {
            return Says::NothingNew;
        }
        let is_same_component = match &stage.component {
            Component::Bundled(_) => self.serving.component == stage.component,
            // Another path may hold what serves, such as one that was sent by hand; the same path something else.
            Component::File { .. } | Component::Uploaded(_) => {
                digest(&stage.component).is_some_and(|digest| digest == serving_digest)
            }
        };
        let serving = Stage { component: stage.component.clone(), ..self.serving.clone() };
        if is_same_component && same_identity(&serving, stage) { Says::WhatServes } else { Says::New }
    }
}

/// What a file says of a stage when it is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// The same as when it was last loaded.
    NothingNew,
    /// Something else than when it was last loaded, and than what serves.
    New,
    /// Something else than when it was last loaded: what serves.
    WhatServes,
}

/// Identity of a stage: component, config, keys, grants, tables, limits, what happens on a fault. Its line in the file is not part of it, nor how its
/// config is written.
pub(super) fn same_identity(a: &Stage, b: &Stage) -> bool {
    a.component == b.component
        && same_config(&a.config, &b.config)
        && a.keys == b.keys
        && a.grants == b.grants
        && a.tables == b.tables
        && a.limits == b.limits
        && a.on_fault == b.on_fault
}

/// However they are written.
pub(super) fn same_config(a: &str, b: &str) -> bool {
    a == b || json(a).is_some_and(|a| Some(a) == json(b))
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
