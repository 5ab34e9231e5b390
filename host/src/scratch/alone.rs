//! A component without a file: the file that would have it alone, so that it is checked and run as it would be there.

use std::path::Path;

use serde_json::{Value, json};

use crate::config::{self, Environment, Loaded, Report};
use crate::signal::Signal;
use crate::wasm::{ComponentInfo, Role};

/// The sampler that a policy is tried in, and the processor that any other component is.
pub const SAMPLER: &str = "tail_sampling/try";
/// See [`SAMPLER`].
pub const PROCESSOR: &str = "wasm/try";

/// A component that is to be tried alone.
#[derive(Clone, Copy, Debug)]
pub enum Alone<'a> {
    /// A file, an absolute path or one from `directory`, and what it is.
    File(&'a Path, &'a ComponentInfo),
    /// A type of processor that ships inside.
    Bundled(&'a str),
}

impl Alone<'_> {
    /// The configuration with this component as the only stage of a pipeline of `signal`. Everything that it imports is granted to it: in a
    /// scratch run there is nothing to get at.
    ///
    /// # Errors
    /// What a file with it would be told.
    pub fn configured(
        self,
        signal: Signal,
        config: Option<&Value>,
        directory: &Path,
        environment: &dyn Environment,
    ) -> Result<Loaded, Report> {
        let (name, block) = match self {
            Alone::Bundled(kind) => (kind.to_owned(), config.cloned().unwrap_or(Value::Null)),
            Alone::File(path, info) => {
                let grants: Vec<_> = info.needs().map(|(capability, _)| capability.as_str()).collect();
                let mut block = json!({ "component": path.to_string_lossy() });
                if let Some(config) = config {
                    block["config"] = config.clone();
                }
                if !grants.is_empty() {
                    block["grants"] = json!(grants);
                }
                match info.role {
                    Role::Processor => (PROCESSOR.to_owned(), block),
                    Role::Policy => {
                        block["name"] = json!("try");
                        (SAMPLER.to_owned(), json!({ "policies": [block] }))
                    }
                }
            }
        };
        let text = json!({
            "receivers": { "otlp": { "protocols": { "grpc": { "endpoint": "127.0.0.1:4317" } } } },
            "processors": { name.as_str(): block },
            "exporters": { "debug": null },
            "service": { "pipelines": { signal.as_str(): {
                "receivers": ["otlp"], "processors": [name.as_str()], "exporters": ["debug"],
            } } },
        });
        config::load_text("the configuration".to_owned(), format!("{text:#}"), directory, environment)
    }
}
