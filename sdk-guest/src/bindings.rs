//! The host's side of the API as generated from the contract. Not part of the API of this crate: use [`export!`](crate::export) and
//! [`export_policy!`](crate::export_policy).
//!
//! There are two worlds, as a component is either a processor or a policy. A component has the world whose macro it calls; of the
//! other, only imports are there, and those that are not called are left out when it is made a component.

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
            import sluicebox:telemetry/host-state@0.1.0;
        }
    ",
    world: "sluicebox:sdk/every-role",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "__export_component",
    default_bindings_module: "sluicebox_guest::bindings",
});

/// The world of policies. What both worlds have is generated once, above.
pub mod policies {
    wit_bindgen::generate!({
        path: "../wit",
        world: "sluicebox:telemetry/sampler",
        with: {
            "sluicebox:telemetry/fields@0.1.0": crate::bindings::sluicebox::telemetry::fields,
            "sluicebox:telemetry/batches@0.1.0": crate::bindings::sluicebox::telemetry::batches,
            "sluicebox:telemetry/host-state@0.1.0": crate::bindings::sluicebox::telemetry::host_state,
        },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "__export_policy_component",
        default_bindings_module: "sluicebox_guest::bindings::policies",
    });
}

pub use policies::sluicebox::telemetry::traces::{TraceBatch, Verdicts};
pub use sluicebox::telemetry::adding::{insert as insert_rows, insert_values};
pub use sluicebox::telemetry::batches::{Batch, Rows, Values};
pub use sluicebox::telemetry::contents::{
    Leaves, key_counts, leaf_counts, read as read_contents, where_keys, where_leaves,
};
pub use sluicebox::telemetry::dropping::drop as drop_rows;
pub use sluicebox::telemetry::editing::{remove_keys, rename_keys, replace_leaves, set_rows, set_values};
pub use sluicebox::telemetry::fields::{Field, Rule, Signal};
pub use sluicebox::telemetry::host_hash::Key;
pub use sluicebox::telemetry::host_state::{Bucket, Tally};

use std::cell::Cell;

pub(crate) fn open_field(paths: &[&str]) -> Result<Field, String> {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    Field::open(&paths)
}

/// The rule, and its number in the order of opening.
pub(crate) fn open_rule(name: &str) -> Result<(Rule, u32), String> {
    thread_local! {
        static OPENED: Cell<u32> = const { Cell::new(0) };
    }
    let rule = Rule::open(name)?;
    let number = OPENED.get();
    OPENED.set(number + 1);
    Ok((rule, number))
}
