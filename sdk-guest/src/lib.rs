//! Write Sluicebox processors in Rust.
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
//! What a component calls is what it imports, and so what it may do: one that calls nothing that edits cannot edit.
//!
//! For `wasm32` the crate talks to the host by the contract in `wit/telemetry.wit`, where every call is documented. For every other
//! target the same API works on batches in memory ([`testing`]), so a processor is tested with plain `cargo test`.

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
mod contents;
mod editing;
mod field;
mod hash;
mod level;
mod new_value;
mod rows;
mod value;

pub use batch::{Batch, RowValues};
pub use contents::{Contents, Key, Leaf, Place};
pub use field::{Field, Rule};
pub use hash::HashKey;
pub use level::{Level, Signal};
pub use new_value::NewValue;
pub use rows::Rows;
pub use value::{Tuple, Value, Values};

/// What a component does.
pub trait Processor: Sized {
    /// Reads the stage's configuration (JSON text, `{}` where there is none) and opens fields and rules. Called once in the life of
    /// an instance. The error is shown to the operator beside the configuration.
    fn configure(config: &str) -> Result<Self, String>;

    /// Judges a batch. An error is a fault: nothing that the call asked for happens, and the instance is replaced.
    fn process(&mut self, batch: &Batch) -> Result<(), String>;
}

/// Makes a [`Processor`] the component's own. Once in a crate of type `cdylib`; does nothing on targets other than `wasm32`.
#[cfg(target_arch = "wasm32")]
#[macro_export]
macro_rules! export {
    ($processor:ty) => {
        const _: () = {
            use $crate::bindings::exports::sluicebox::telemetry::{plugin, processor};

            ::std::thread_local! {
                static INSTANCE: ::std::cell::RefCell<Option<$processor>> = const { ::std::cell::RefCell::new(None) };
            }

            struct Component;

            impl plugin::Guest for Component {
                fn configure(config: ::std::string::String) -> Result<(), ::std::string::String> {
                    let configured = <$processor as $crate::Processor>::configure(&config)?;
                    INSTANCE.set(Some(configured));
                    Ok(())
                }
            }

            impl processor::Guest for Component {
                fn process(batch: &$crate::bindings::Batch) -> Result<(), ::std::string::String> {
                    INSTANCE.with_borrow_mut(|instance| match instance {
                        Some(instance) => $crate::Processor::process(instance, &$crate::Batch::__of_call(batch)),
                        None => Err("process was called before configure".into()),
                    })
                }
            }

    $crate::bindings::__export_component!(Component with_types_in $crate::bindings);
        };
    };
}

/// Makes a [`Processor`] the component's own. Once in a crate of type `cdylib`; does nothing on targets other than `wasm32`.
#[cfg(not(target_arch = "wasm32"))]
#[macro_export]
macro_rules! export {
    ($processor:ty) => {
        const _: fn(&str) -> Result<$processor, String> = <$processor as $crate::Processor>::configure;
    };
}
