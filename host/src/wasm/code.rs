//! From a component's bytes to machine code in memory: shipped inside, from the cache, or compiled.

use std::path::Path;

use tempfile::NamedTempFile;
use tracing::{debug, info, warn};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::{self, Cache};
use super::compile::Compiler;
use super::error::CompileError;
use super::unchecked;

/// Makes machine code for one engine.
#[derive(Clone, Debug)]
pub(super) struct CodeLoader {
    pub(super) engine: Engine,
    pub(super) compiler: Compiler,
    pub(super) cache: Option<Cache>,
}

impl CodeLoader {
    /// Machine code of this component; `artifact` is what ships with it, empty if nothing does.
    pub(super) fn load(
        &self,
        name: &str,
        digest: &str,
        wasm: &[u8],
        artifact: &'static [u8],
    ) -> Result<Component, CompileError> {
        if !artifact.is_empty() {
            match unchecked::load_bundled(&self.engine, artifact) {
                Ok(component) => return Ok(component),
                Err(error) => info!("compiling {name} anew, its shipped machine code does not fit here: {error:#}"),
            }
        }
        let key = cache::key(digest, &self.engine);
        if let Some(component) = self.cached(&key) {
            return Ok(component);
        }
        self.compile(name, &key, wasm)
    }

    fn cached(&self, key: &str) -> Option<Component> {
        let cache = self.cache.as_ref()?;
        let path = cache.get(key)?;
        match self.map(&path) {
            Ok(component) => Some(component),
            Err(error) => {
                warn!("compiling anew, {} does not load: {error:#}", path.display());
                cache.remove(&path);
                None
            }
        }
    }

    fn compile(&self, name: &str, key: &str, wasm: &[u8]) -> Result<Component, CompileError> {
        let started = std::time::Instant::now();
        let cache = self.cache.as_ref();
        let file = cache.map_or_else(NamedTempFile::new, Cache::new_file).map_err(CompileError::Run)?;
        self.compiler.compile(wasm, file.as_file())?;
        debug!("compiled {name} in {:?}", started.elapsed());
        let Some(cache) = cache else {
            // The mapping outlives the file's name.
            return self.map(file.path()).map_err(CompileError::Load);
        };
        let path = cache.put(key, file).map_err(CompileError::Run)?;
        self.map(&path).map_err(CompileError::Load)
    }

    /// Maps machine code; where files cannot be mapped executable (`noexec`), copies it.
    fn map(&self, path: &Path) -> wasmtime::Result<Component> {
        unchecked::map_artifact(&self.engine, path)
            .or_else(|_| unchecked::copy_artifact(&self.engine, &std::fs::read(path)?))
    }
}
