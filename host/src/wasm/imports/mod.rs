//! The host's side of the contract. A component's imports are what it may do; nothing else is linked.
//!
//! Rules of every function here: count itself against the call's budget first, believe nothing the guest passes, never panic, never
//! block, and never put what the guest passed into an error.

mod adding;
mod batches;
mod clock;
mod contents;
mod dropping;
mod editing;
mod fields;
mod host_hash;
mod host_state;
mod logging;
mod lookup;
mod metering;
mod traces;
mod writing;

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use super::bindings;
use super::component::Interface;
use super::fault::bad_output;
use super::state::State;

/// Host functions get all of a Store's data.
type Data = HasSelf<State>;

/// A linker with these interfaces of the contract, and only them.
pub(super) fn linker(engine: &Engine, interfaces: &[Interface]) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    for interface in interfaces {
        match interface {
            Interface::Fields => bindings::fields::add_to_linker::<_, Data>(&mut linker, |state| state)?,
            Interface::Batches => batches::add_to_linker(&mut linker)?,
            Interface::Contents => contents::add_to_linker(&mut linker)?,
            Interface::Dropping => bindings::dropping::add_to_linker::<_, Data>(&mut linker, |state| state)?,
            Interface::Adding => bindings::adding::add_to_linker::<_, Data>(&mut linker, |state| state)?,
            Interface::Editing => bindings::editing::add_to_linker::<_, Data>(&mut linker, |state| state)?,
            Interface::HostHash => bindings::host_hash::add_to_linker::<_, Data>(&mut linker, |state| state)?,
            Interface::Traces => traces::add_to_linker(&mut linker)?,
            Interface::HostState => bindings::host_state::add_to_linker::<_, Data>(&mut linker, |state| state)?,
            Interface::Logging => bindings::logging::add_to_linker::<_, Data>(&mut linker, |state| state)?,
            Interface::Metering => bindings::metering::add_to_linker::<_, Data>(&mut linker, |state| state)?,
            Interface::Clock => bindings::clock::add_to_linker::<_, Data>(&mut linker, |state| state)?,
            Interface::Lookup => bindings::lookup::add_to_linker::<_, Data>(&mut linker, |state| state)?,
        }
    }
    Ok(linker)
}

fn no_call() -> wasmtime::Error {
    bad_output("a batch was used outside of a call")
}
