//! The host's side of the API as generated from the contract. Not part of the API of this crate: use [`export!`](crate::export).

#![allow(warnings, clippy::all, unsafe_code, reason = "generated")]

wit_bindgen::generate!({
    path: "../wit",
    world: "filter",
    pub_export_macro: true,
    export_macro_name: "__export_component",
    default_bindings_module: "sluicebox_guest::bindings",
});

pub use sluicebox::telemetry::batches::{Batch, Rows, Values};
pub use sluicebox::telemetry::dropping::drop as drop_rows;
pub use sluicebox::telemetry::fields::{Field, Rule, Signal};

pub(crate) fn open_field(paths: &[&str]) -> Result<Field, String> {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    Field::open(&paths)
}
