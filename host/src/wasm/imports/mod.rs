//! The host's side of the contract. A component's imports are what it may do; nothing else is linked.
//!
//! Rules of every function here: count itself against the call's budget first, believe nothing the guest passes, never panic, never
//! block, and never put what the guest passed into an error.

mod batches;
mod dropping;
mod fields;

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use super::bindings;
use super::component::Interface;
use super::state::State;

/// A linker with these interfaces of the contract, and only them.
pub(super) fn linker(engine: &Engine, interfaces: &[Interface]) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    for interface in interfaces {
        match interface {
            Interface::Fields => bindings::fields::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?,
            Interface::Batches => batches::add_to_linker(&mut linker)?,
            Interface::Dropping => {
                bindings::dropping::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
            }
        }
    }
    Ok(linker)
}
