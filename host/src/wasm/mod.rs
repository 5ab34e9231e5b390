//! The runtime for guests, and the only module that names wasmtime.
//!
//! Components come from people we need not trust, and their results from telemetry nobody controls. So: a component gets what its
//! imports say and the linker grants, and nothing else (`imports`); no Store exists without limits and no guest code runs without
//! a deadline (`store`); whatever a guest passes is checked, and what is wrong with it is a fault with a class (`fault`); compiling
//! happens in a process of its own (`compile`).

mod apart;
mod bindings;
mod cache;
mod clock;
mod code;
mod columns;
mod compile;
mod component;
mod contents;
mod deadline;
mod engine;
mod error;
mod fault;
mod generation;
mod given;
mod host_state;
mod imports;
mod instance;
mod keys;
mod limits;
mod logbook;
mod meters;
mod policy;
mod probe;
mod rowsets;
mod runtime;
mod sandbox;
mod state;
mod store;
mod unchecked;
mod world;

pub use compile::{Compiler, VERB as COMPILE_VERB, child_main as compile_main, precompile};
pub use component::{
    CASES_BYTES_MAX, CASES_SECTION, COMPONENT_BYTES_MAX, ComponentInfo, ImportError, Interface, NotAComponent, Role,
    digest, digest_of_file,
};
pub use engine::Cpu;
pub use error::{BuildError, CompileError, ConfigureError, LinkError, LoadError, ProbeError, Step, Ungranted};
pub use generation::GenerationSpec;
pub use given::TableTooLarge;
pub use host_state::StateTooLarge;
pub use runtime::{Bundled, Runtime, RuntimeError, RuntimeOptions};
