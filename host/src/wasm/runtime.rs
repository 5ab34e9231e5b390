//! The entry: builds generations of stages, and says what a component is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tracing::warn;
use wasmtime::Engine;

use super::cache::Cache;
use super::code::CodeLoader;
use super::compile::Compiler;
use super::component::{ComponentInfo, Role, read_file};
use super::error::{BuildError, LinkError, LoadError, Ungranted};
use super::generation::{self, GenerationSpec, Linked};
use super::imports;
use super::sandbox::Sandbox;
use super::world::Pre;
use crate::config::model::{Component, Grants, OnFault};
use crate::memory::Budget;
use crate::observe::guests::GuestMetrics;
use crate::pipeline::stage::Generation;

/// A component that ships inside the binary.
#[derive(Clone, Copy, Debug)]
pub struct Bundled {
    /// The processor's type in the config, such as `filter`.
    pub name: &'static str,
    /// The component.
    pub wasm: &'static [u8],
    /// Its machine code for [`Cpu::Baseline`](super::Cpu::Baseline); may be empty.
    pub artifact: &'static [u8],
}

/// What a runtime needs from its process.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Guest memory is charged here.
    pub budget: Arc<Budget>,
    /// What ships inside.
    pub bundled: &'static [Bundled],
    /// How to start the compiler.
    pub compiler: Compiler,
    /// Where compiled code is kept; None or a directory that cannot be used = nowhere.
    pub cache_dir: Option<PathBuf>,
}

/// The runtime could not be started.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// wasmtime refuses to run here.
    #[error("cannot start the Wasm runtime: {0}")]
    Engine(#[source] wasmtime::Error),
    /// No thread for the guests' clock.
    #[error("cannot start the guests' clock: {0}")]
    Clock(#[source] std::io::Error),
}

/// Runs guests. One per process: generations keep what they need of it alive.
#[derive(Debug)]
pub struct Runtime {
    code: CodeLoader,
    sandbox: Arc<Sandbox>,
    bundled: &'static [Bundled],
    /// Components in use, by digest: a change of config alone compiles and loads nothing.
    linked: Arc<Mutex<HashMap<String, Weak<Linked>>>>,
}

impl Runtime {
    /// Starts a runtime.
    pub fn new(options: RuntimeOptions) -> Result<Self, RuntimeError> {
        let sandbox = Sandbox::new(options.budget)?;
        let cache = options.cache_dir.as_deref().and_then(|dir| {
            Cache::open(dir).inspect_err(|error| warn!("compiled components are not kept: {error}")).ok()
        });
        Ok(Self {
            code: CodeLoader { engine: sandbox.engine.clone(), compiler: options.compiler, cache },
            sandbox,
            bundled: options.bundled,
            linked: Arc::default(),
        })
    }

    /// A runtime whose guests touch nothing of this one's: they have host state and metrics of their own. Compiled code, tables, the clock
    /// and the budget are shared, so what serves here is built there without compiling anything.
    pub fn scratch(&self) -> Runtime {
        let sandbox = Arc::new(self.sandbox.scratch());
        Runtime { code: self.code.clone(), sandbox, bundled: self.bundled, linked: Arc::clone(&self.linked) }
    }

    /// What its guests count.
    pub fn guest_metrics(&self) -> &Arc<GuestMetrics> {
        &self.sandbox.metrics
    }

    /// Verifies, compiles, links, configures and probes. Takes up to minutes (compiling); never to be called on an I/O thread.
    pub fn build_generation(&self, spec: GenerationSpec) -> Result<Arc<dyn Generation>, BuildError> {
        let source = self.read(&spec.component)?;
        let info = ComponentInfo::of(&source.name, &source.wasm)?;
        check_pin(&spec.component, &info)?;
        check_role(spec.role, &source.name, &info)?;
        check_grants(&spec.grants, &source.name, &info)?;
        if info.edits() && spec.on_fault == Some(OnFault::Pass) {
            warn!(
                stage = spec.stage,
                "`on_fault: pass` on a stage that edits: what it fails to judge is sent on as it came; without it, senders are told \
                 to retry"
            );
        }
        let linked = self.linked(&source, info)?;
        generation::build(spec, linked, &self.sandbox)
    }

    /// What a component is, from its bytes alone.
    pub fn describe(&self, component: &Component) -> Result<ComponentInfo, LoadError> {
        let source = self.read(component)?;
        let info = ComponentInfo::of(&source.name, &source.wasm)?;
        check_pin(component, &info)?;
        Ok(info)
    }

    fn read(&self, component: &Component) -> Result<Source, LoadError> {
        match component {
            Component::File { path, .. } => Ok(Source::of_file(path, read_file(path)?)),
            Component::Uploaded(wasm) => {
                Ok(Source { name: "the uploaded component".to_owned(), wasm: wasm.clone(), artifact: &[] })
            }
            Component::Bundled(name) => match self.bundled.iter().find(|bundled| bundled.name == name) {
                Some(bundled) => Ok(Source {
                    name: format!("the component of `{name}`"),
                    wasm: Bytes::from_static(bundled.wasm),
                    artifact: bundled.artifact,
                }),
                None => Err(LoadError::NotBundled {
                    name: name.clone(),
                    known: self.bundled.iter().map(|bundled| bundled.name).collect::<Vec<_>>().join(", "),
                }),
            },
        }
    }

    fn linked(&self, source: &Source, info: ComponentInfo) -> Result<Arc<Linked>, BuildError> {
        let known = |linked: &HashMap<String, Weak<Linked>>| linked.get(&info.digest).and_then(Weak::upgrade);
        if let Some(linked) = known(&self.linked.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(linked);
        }
        let component = self.code.load(&source.name, &info.digest, &source.wasm, source.artifact)?;
        let pre = link(&self.sandbox.engine, &component, &info).map_err(|source| LinkError { source })?;
        let digest = info.digest.clone();
        let linked = Arc::new(Linked { info, pre });
        let mut all = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, linked| linked.strong_count() > 0);
        all.insert(digest, Arc::downgrade(&linked));
        Ok(linked)
    }
}

/// A component's bytes.
struct Source {
    name: String,
    wasm: Bytes,
    artifact: &'static [u8],
}

impl Source {
    fn of_file(path: &Path, wasm: Vec<u8>) -> Self {
        Self { name: path.display().to_string(), wasm: wasm.into(), artifact: &[] }
    }
}

fn link(engine: &Engine, component: &wasmtime::component::Component, info: &ComponentInfo) -> wasmtime::Result<Pre> {
    Pre::new(info.role, imports::linker(engine, &info.imports)?.instantiate_pre(component)?)
}

fn check_role(wanted: Role, name: &str, info: &ComponentInfo) -> Result<(), LoadError> {
    if info.role == wanted {
        return Ok(());
    }
    Err(LoadError::WrongRole { name: name.to_owned(), found: info.role, wanted })
}

/// Nothing of a component is compiled that could not be linked.
fn check_grants(grants: &Grants, name: &str, info: &ComponentInfo) -> Result<(), Ungranted> {
    let asked: Vec<_> = info.needs().filter(|(capability, _)| !grants.has(*capability)).collect();
    if asked.is_empty() {
        return Ok(());
    }
    Err(Ungranted { name: name.to_owned(), digest: info.digest.clone(), asked })
}

fn check_pin(component: &Component, info: &ComponentInfo) -> Result<(), LoadError> {
    match component {
        Component::File { path, sha256: Some(pinned) } if *pinned != info.digest => Err(LoadError::Digest {
            name: path.display().to_string(),
            found: info.digest.clone(),
            pinned: pinned.clone(),
        }),
        _ => Ok(()),
    }
}
