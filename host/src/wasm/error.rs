//! Why a generation could not be built, by the step that failed.

use std::fmt;
use std::path::PathBuf;

use super::component::{ImportError, Interface, NotAComponent, Role};
use super::given::TableTooLarge;
use super::host_state::StateTooLarge;
use crate::config::model::Capability;
use crate::observe::guests::MetricConflict;
use crate::pipeline::stage::Fault;
use crate::signal::Signal;

/// Steps of building a generation, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Read, check the pin, see what it imports and exports.
    Verify,
    /// Make or load machine code.
    Compile,
    /// Match every import and export with the contract.
    Link,
    /// Instantiate and configure, one instance per worker.
    Configure,
    /// Call each of them once.
    Probe,
}

impl Step {
    /// The name used in labels and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Step::Verify => "verify",
            Step::Compile => "compile",
            Step::Link => "link",
            Step::Configure => "configure",
            Step::Probe => "probe",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A generation could not be built; nothing that runs was touched.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The component cannot be used at all.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It asks for more than it was granted.
    #[error(transparent)]
    Ungranted(#[from] Ungranted),
    /// It could not be turned into machine code.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It does not match the contract.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It could not be configured.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// It failed on its first batch.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The thread that built it ended early.
    #[error("building it was abandoned: {0}")]
    Abandoned(String),
}

impl BuildError {
    /// The step that failed.
    pub const fn step(&self) -> Step {
        match self {
            BuildError::Load(_) | BuildError::Abandoned(_) => Step::Verify,
            BuildError::Compile(_) => Step::Compile,
            BuildError::Link(_) | BuildError::Ungranted(_) => Step::Link,
            BuildError::Configure(_) => Step::Configure,
            BuildError::Probe(_) => Step::Probe,
        }
    }
}

/// A component cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than any component may be.
    #[error("{name} has {bytes} bytes; a component may have at most {bytes_max}")]
    TooLarge {
        /// File or bundled name.
        name: String,
        /// Its size.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// The file is not what the config pins.
    #[error("{name} has SHA-256 {found}, but the config pins `sha256: {pinned}`")]
    Digest {
        /// File name.
        name: String,
        /// Of the file.
        found: String,
        /// Of the config.
        pinned: String,
    },
    /// No processor of this name ships inside.
    #[error("no component named `{name}` ships with this binary; there are: {known}")]
    NotBundled {
        /// The name asked for.
        name: String,
        /// Those that exist.
        known: String,
    },
    /// The bytes are something else.
    #[error("{name} is not a component: {source}")]
    NotAComponent {
        /// File or bundled name.
        name: String,
        /// What they are.
        source: NotAComponent,
    },
    /// It is for something else.
    #[error("{name} is a {found}, and a {wanted} is needed here")]
    WrongRole {
        /// File or bundled name.
        name: String,
        /// What it is.
        found: Role,
        /// What the stage needs.
        wanted: Role,
    },
    /// It imports or exports the wrong things.
    #[error("{name} cannot be used: {source}")]
    Imports {
        /// File or bundled name.
        name: String,
        /// Which.
        source: ImportError,
    },
}

/// A component asks for what it was not granted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{name} (sha256:{}) imports {}", digest.get(..12).unwrap_or(digest), imports(asked))]
pub struct Ungranted {
    /// File or bundled name.
    pub name: String,
    /// Of the component, in hex.
    pub digest: String,
    /// What it was not granted, with the interface that it imports for it.
    pub asked: Vec<(Capability, Interface)>,
}

/// `lookup`, and which capability that is.
fn imports(asked: &[(Capability, Interface)]) -> String {
    let import = |(capability, interface): &(Capability, Interface)| {
        format!("`{}`, which has to be granted as `{capability}`", interface.as_str())
    };
    asked.iter().map(import).collect::<Vec<_>>().join(", ")
}

/// Machine code could not be made or loaded.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiler's process could not be run.
    #[error("cannot run the compiler: {0}")]
    Run(#[source] std::io::Error),
    /// It took too long and was ended.
    #[error("compiling took longer than {seconds} s and was stopped")]
    Timeout {
        /// The bound.
        seconds: u64,
    },
    /// It failed, or hit one of its limits.
    #[error("compiling failed ({status}): {message}")]
    Failed {
        /// Its exit status.
        status: String,
        /// What it said.
        message: String,
    },
    /// Its output does not load.
    #[error("the compiled code cannot be loaded: {0}")]
    Load(#[source] wasmtime::Error),
}

/// A component does not match the contract.
#[derive(Debug, thiserror::Error)]
#[error("does not match sluicebox:telemetry@{version}: {source:#}", version = super::component::CONTRACT_VERSION)]
pub struct LinkError {
    /// Which import or export differs.
    pub source: wasmtime::Error,
}

/// An instance could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// Instantiation failed.
    #[error("instantiating failed: {0}")]
    Instantiate(#[source] Fault),
    /// `configure` faulted.
    #[error("configuring failed: {0}")]
    Faulted(#[source] Fault),
    /// `configure` returned this error.
    #[error("the component rejects its config: {0}")]
    Rejected(String),
    /// Two instances of one config opened different things.
    #[error(
        "two instances of the same config opened different things (fields, rules, keys, states, lines, metrics or tables); which ones must depend on the config only"
    )]
    Differs,
    /// What it wants the host to keep does not fit.
    #[error(transparent)]
    HostState(#[from] StateTooLarge),
    /// A table does not fit.
    #[error(transparent)]
    Table(#[from] TableTooLarge),
    /// A metric of that name is something else.
    #[error(transparent)]
    Metric(#[from] MetricConflict),
}

/// An instance failed on its first batch.
#[derive(Debug, thiserror::Error)]
#[error("failed on a first batch of {signal}: {fault}")]
pub struct ProbeError {
    /// Its signal.
    pub signal: Signal,
    /// How.
    pub fault: Fault,
}
