//! The configuration file: reading it again on request, and having it say what serves.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::known::Known;
use super::operations::Operation;
use super::{Candidate, Control, Reloaded, SwapError, Who, blocking, named};
use crate::config::model::{Component, Config, Stage};
use crate::config::rewrite::{RewriteError, Rewritten, rewrite};
use crate::config::{self, Loaded, Report, System};
use crate::wasm;

/// What a swap is to leave in the file.
#[derive(Clone, Debug, Default)]
pub struct Write {
    /// Where the component that was sent lies: an absolute path.
    pub component: Option<PathBuf>,
    /// The configuration as its author wrote it, YAML or JSON: comments and order are kept.
    pub text: Option<String>,
}

/// A file that was not taken up.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The engine was started otherwise.
    #[error("this engine follows no file")]
    NoFile,
    /// What is wrong with it.
    #[error("the file is not valid, nothing was changed\n{0}")]
    Invalid(Box<Report>),
    /// It is valid, and cannot be brought about.
    #[error(transparent)]
    Change(#[from] SwapError),
}

impl Control {
    /// Says where the configuration is. Only the first time counts.
    pub fn follow(&self, file: PathBuf) {
        let _already_known = self.file.set(file);
    }

    /// Reads the file again, and brings everything to what it says, as [`Self::reload`] does; as an operation, if it is one.
    ///
    /// # Errors
    /// See [`FileError`]; nothing has changed then.
    pub async fn reload_file(
        self: &Arc<Self>,
        operation: Option<Arc<Operation>>,
        force: bool,
        who: Who,
    ) -> Result<Reloaded, FileError> {
        let file = self.file.get().ok_or(FileError::NoFile)?;
        loop {
            let (file, writes) = (file.clone(), self.writes());
            let loaded = blocking(move || config::load(&file)).await?;
            let Loaded { config, .. } = loaded.map_err(|report| FileError::Invalid(Box::new(report)))?;
            match self.apply_as(operation.clone(), writes, config, force, who.clone()).await {
                // Each time round somebody else's change has come to its end.
                Err(SwapError::Stale) => {}
                applied => return Ok(applied?.drained().await),
            }
        }
    }

    /// Has the file say what a candidate is made of, which then is what the file says. What serves is not touched.
    pub(super) async fn write(&self, candidate: &mut Candidate, write: Write) -> Result<Config, SwapError> {
        let stage = candidate.stage.name.clone();
        let not_written = |source| SwapError::NotWritten { stage: stage.clone(), source: Box::new(source) };
        let Some(file) = self.file.get().cloned() else { return Err(not_written(RewriteError::NoFile)) };
        let component = match &candidate.stage.component {
            Component::Uploaded(_) => {
                let path = write.component.ok_or_else(|| not_written(RewriteError::NoPath))?;
                Component::File { path, sha256: None }
            }
            known => known.clone(),
        };
        let wanted = Stage { component, ..candidate.stage.clone() };
        let digest = candidate.generation.digest().to_owned();
        let written = blocking(move || -> Result<Rewritten, RewriteError> {
            if let Component::File { path, .. } = &wanted.component
                && wasm::digest_of_file(path).as_ref() != Some(&digest)
            {
                return Err(RewriteError::OtherComponent { path: path.clone() });
            }
            let rewritten = rewrite(&file, &System, &wanted, &digest, write.text.as_deref())?;
            rewritten.write()?;
            Ok(rewritten)
        });
        let Rewritten { config, .. } = written.await?.map_err(not_written)?;
        // Whoever has read the file before does so again.
        self.writes.fetch_add(1, Ordering::AcqRel);
        if let Some(filed) = named(&config.stages, &stage) {
            candidate.stage = filed;
        }
        Ok(config)
    }

    /// The file that was just written says what serves at a stage.
    pub(super) fn wrote(&self, stage: &str, written: Config) {
        let digest = self.current.snapshot().named(stage).map(|serving| serving.digest().to_owned());
        let mut state = self.state();
        let known = state.stages.iter_mut().find(|known| known.serving.name == stage);
        let Some(Known { serving, filed, filed_digest }) = known else { return };
        *filed = serving.clone();
        *filed_digest = digest.unwrap_or_default();
        let filed = filed.clone();
        // What else was written into it since it was loaded is still to be taken up.
        let place = state.file.stages.iter_mut().find(|stage| stage.name == filed.name);
        if let Some(place) = place {
            *place = filed;
        }
        let diff = config::diff(&state.file, &written);
        if diff.is_empty() {
            // Lines have moved.
            for known in &mut state.stages {
                if let Some(stage) = named(&written.stages, &known.filed.name) {
                    (known.filed.place, known.filed.config_place) = (stage.place, stage.config_place);
                }
            }
            state.file = written;
        }
        self.count_drifted(&state);
    }
}
