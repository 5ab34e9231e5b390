//! The host's side of the API as generated from the contract. Not part of the API of this crate: use [`export!`](crate::export).

#![allow(warnings, clippy::all, unsafe_code, reason = "generated")]

wit_bindgen::generate!({
    path: "../wit",
    inline: "
        package sluicebox:sdk;

        /// All that a processor can be; what it does not call is left out when it is made a component.
        world every-role {
            include sluicebox:telemetry/filter@0.1.0;
            include sluicebox:telemetry/enricher@0.1.0;
            include sluicebox:telemetry/redactor@0.1.0;
        }
    ",
    world: "sluicebox:sdk/every-role",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "__export_component",
    default_bindings_module: "sluicebox_guest::bindings",
});

pub use sluicebox::telemetry::adding::{insert as insert_rows, insert_values};
pub use sluicebox::telemetry::batches::{Batch, Rows, Values};
pub use sluicebox::telemetry::contents::{
    Leaves, key_counts, leaf_counts, read as read_contents, where_keys, where_leaves,
};
pub use sluicebox::telemetry::dropping::drop as drop_rows;
pub use sluicebox::telemetry::editing::{remove_keys, rename_keys, replace_leaves, set_rows, set_values};
pub use sluicebox::telemetry::fields::{Field, Rule, Signal};
pub use sluicebox::telemetry::host_hash::Key;

pub(crate) fn open_field(paths: &[&str]) -> Result<Field, String> {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    Field::open(&paths)
}
