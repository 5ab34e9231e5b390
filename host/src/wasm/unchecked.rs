//! Every `unsafe` of the runtime: calls whose promises wasmtime cannot check.

#![allow(unsafe_code, reason = "wasmtime marks what it cannot verify; each call says why it holds")]

use std::path::Path;

use wasmtime::component::Component;
use wasmtime::{Config, Engine};

/// Allows generated code to use these CPU features.
pub(super) fn enable_cpu_features(config: &mut Config, flags: &[&str]) {
    for flag in flags {
        // SAFETY: a flag could break code generation only if it named something else than a CPU feature; the callers' are constants.
        // That the machine has the feature is checked by the engine that loads the code.
        unsafe { config.cranelift_flag_enable(flag) };
    }
}

/// Maps machine code that was written by [`super::compile`].
pub(super) fn map_artifact(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file was written by our own compiler into a directory that only this user can write, and its checksum was compared
    // just before; the engine checks version, settings and CPU. It is replaced by renaming only, so the mapping never changes.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Copies machine code of the same origin.
pub(super) fn copy_artifact(engine: &Engine, artifact: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: as for `map_artifact`.
    unsafe { Component::deserialize(engine, artifact) }
}

/// Loads machine code that ships inside this executable.
pub(super) fn load_bundled(engine: &Engine, artifact: &'static [u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are part of the executable, made by our own compiler when it was built; who can change them can change the
    // executable itself. The engine checks version, settings and CPU.
    unsafe { Component::deserialize(engine, artifact) }
}
