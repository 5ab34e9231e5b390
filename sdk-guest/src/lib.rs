//! Write Sluicebox processors and sampling policies in Rust.
//!
//! A processor is a type with [`Processor`] that [`export!`] turns into a component. It opens the fields it reads and the rules it drops
//! by while it is configured, and then judges batches:
//!
//! ```
//! use sluicebox_guest::{Batch, Field, Processor, Rule};
//!
//! struct DropHealthChecks {
//!     route: Field,
//!     rule: Rule,
//! }
//!
//! impl Processor for DropHealthChecks {
//!     fn configure(_config: &str) -> Result<Self, String> {
//!         Ok(Self { route: Field::open(&[r#"span.attributes["http.route"]"#])?, rule: Rule::open("health-checks")? })
//!     }
//!
//!     fn process(&mut self, batch: &Batch) -> Result<(), String> {
//!         batch.drop_values(&self.route, &self.rule, |route| route == "/health");
//!         Ok(())
//!     }
//! }
//!
//! sluicebox_guest::export!(DropHealthChecks);
//! ```
//!
//! Most values of a batch repeat, so a processor is asked about each different value once ([`Batch::where_values`],
//! [`Batch::drop_values`]) and the host finds the rows; [`Rows`] combine with `&`, `|` and `!`. Going through rows
//! ([`Batch::rows`]) is possible and slower.
//!
//! Redactors see everything that can hold text and change it ([`Batch::replace_values`], [`Batch::contents`]); fields that are opened to
//! be written are set, removed and added ([`Batch::set`], [`Batch::insert`]). A redactor:
//!
//! ```
//! # use sluicebox_guest::{Batch, Processor, Rule};
//! struct HideAddresses(Rule);
//!
//! impl Processor for HideAddresses {
//!     fn configure(_config: &str) -> Result<Self, String> {
//!         Ok(Self(Rule::open("addresses")?))
//!     }
//!
//!     fn process(&mut self, batch: &Batch) -> Result<(), String> {
//!         batch.replace_values(&self.0, |_key, text| text.contains('@').then(|| "****".to_owned()));
//!         Ok(())
//!     }
//! }
//!
//! sluicebox_guest::export!(HideAddresses);
//! ```
//!
//! A policy decides which traces a `tail_sampling` processor keeps: a type with [`Policy`] that [`export_policy!`] turns into a component.
//! It is asked about hundreds of traces at a time, sees numbers for each ([`Traces`]) and their spans as a batch, and may keep buckets
//! and averages at the host ([`Bucket`], [`Tally`]), as processors may. One that keeps traces with errors, and a tenth of the others:
//!
//! ```
//! use sluicebox_guest::{Policy, Rule, Threshold, Traces, Verdicts};
//!
//! struct ErrorsAndSome {
//!     errors: Rule,
//!     others: Rule,
//! }
//!
//! impl Policy for ErrorsAndSome {
//!     fn configure(_config: &str) -> Result<Self, String> {
//!         Ok(Self { errors: Rule::open("errors")?, others: Rule::open("a-tenth")? })
//!     }
//!
//!     fn decide(&mut self, traces: &Traces, verdicts: &mut Verdicts) -> Result<(), String> {
//!         let (errors, tenth) = (traces.error_counts(), Threshold::of(0.1));
//!         for (trace, randomness) in traces.randomness().into_iter().enumerate() {
//!             if errors[trace] > 0 {
//!                 verdicts.keep(trace, Threshold::ALWAYS, &self.errors);
//!                 verdicts.settle(trace);
//!             } else if tenth.keeps(randomness) {
//!                 verdicts.keep(trace, tenth, &self.others);
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! sluicebox_guest::export_policy!(ErrorsAndSome);
//! ```
//!
//! What a component calls is what it imports, and so what it may do: one that calls nothing that edits cannot edit. Some of it the operator
//! has to grant (`grants` of the stage): [`LogLine`] and [`log()`] (`log`), [`Counter`], [`Gauge`] and [`Histogram`] (`metrics`),
//! [`now_unix_nano`] (`clock`), [`Table`] (`lookup`), and of processors [`Bucket`] and [`Tally`] (`state`). A component that calls what it
//! was not granted is refused.
//!
//! For `wasm32` the crate talks to the host by the contract in `wit/telemetry.wit`, where every call is documented. For every other
//! target the same API works on batches in memory ([`testing`]), so a component is tested with plain `cargo test`.

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
#[cfg(target_arch = "wasm32")]
use bindings as host;

#[cfg(not(target_arch = "wasm32"))]
mod memory;
#[cfg(not(target_arch = "wasm32"))]
use memory as host;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

mod any_value;
mod batch;
mod clock;
mod contents;
mod editing;
mod export;
mod field;
mod hash;
mod host_state;
mod level;
mod log;
mod metrics;
mod new_value;
mod rows;
mod table;
mod threshold;
mod trace_set;
mod traces;
mod value;
mod verdicts;

pub use batch::{Batch, RowValues};
pub use clock::now_unix_nano;
pub use contents::{Contents, Key, Leaf, Place};
pub use field::{Field, Rule};
pub use hash::HashKey;
pub use host_state::{Bucket, Tally, TallyRows};
pub use level::{Level, Signal};
pub use log::{LogLine, Severity, log};
pub use metrics::{Counter, Gauge, Histogram};
pub use new_value::NewValue;
pub use rows::Rows;
pub use table::Table;
pub use threshold::Threshold;
pub use trace_set::TraceSet;
pub use traces::{Traces, Trigger};
pub use value::{Tuple, Value, Values};
pub use verdicts::Verdicts;

/// What a component does that processes batches.
pub trait Processor: Sized {
    /// Reads the stage's configuration (JSON text, `{}` where there is none) and opens fields and rules. Called once in the life of
    /// an instance. The error is shown to the operator beside the configuration.
    fn configure(config: &str) -> Result<Self, String>;

    /// Judges a batch. An error is a fault: nothing that the call asked for happens, and the instance is replaced.
    fn process(&mut self, batch: &Batch) -> Result<(), String>;
}

/// What a component does that decides which traces are kept.
pub trait Policy: Sized {
    /// Reads the policy's configuration (JSON text, `{}` where there is none) and opens fields, rules and host state. Called once in the
    /// life of an instance. The error is shown to the operator beside the configuration.
    fn configure(config: &str) -> Result<Self, String>;

    /// Decides on traces, some hundreds at a time. Each is decided once; it may be asked for before that, when something changed that
    /// may settle it ([`Trigger::Early`]). A trace of which nothing is said is dropped, unless another policy keeps it. An error is a
    /// fault: nobody's vote, nothing that the call did to host state holds, and the instance is replaced.
    fn decide(&mut self, traces: &Traces, verdicts: &mut Verdicts) -> Result<(), String>;
}
