//! The host's side of the API as generated from the contract. Not part of the API of this crate: use [`export!`](crate::export) and
//! [`export_policy!`](crate::export_policy).
//!
//! The world of a component is made of two of those below: the first, and that of processors or that of policies. Of the one that is not
//! the component's only imports are there, and imports that are not called are left out when it is made a component.

#![allow(warnings, clippy::all, unsafe_code, reason = "generated")]

wit_bindgen::generate!({
    path: "../wit",
    inline: "
        package sluicebox:sdk;

        /// All that a component can call, besides what only policies can.
        world every-role {
            import sluicebox:telemetry/fields@0.1.0;
            import sluicebox:telemetry/batches@0.1.0;
            import sluicebox:telemetry/dropping@0.1.0;
            import sluicebox:telemetry/contents@0.1.0;
            import sluicebox:telemetry/adding@0.1.0;
            import sluicebox:telemetry/editing@0.1.0;
            import sluicebox:telemetry/host-hash@0.1.0;
            import sluicebox:telemetry/host-state@0.1.0;
            import sluicebox:telemetry/logging@0.1.0;
            import sluicebox:telemetry/metering@0.1.0;
            import sluicebox:telemetry/clock@0.1.0;
            import sluicebox:telemetry/lookup@0.1.0;
            export sluicebox:telemetry/plugin@0.1.0;
        }
    ",
    world: "sluicebox:sdk/every-role",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "__export_component",
    default_bindings_module: "sluicebox_guest::bindings",
});

/// What processors have besides.
pub mod processors {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package sluicebox:sdk-processors;
            world processors {
                export sluicebox:telemetry/processor@0.1.0;
            }
        ",
        world: "sluicebox:sdk-processors/processors",
        with: {
            "sluicebox:telemetry/fields@0.1.0": crate::bindings::sluicebox::telemetry::fields,
            "sluicebox:telemetry/batches@0.1.0": crate::bindings::sluicebox::telemetry::batches,
        },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "__export_processor",
        default_bindings_module: "sluicebox_guest::bindings::processors",
    });
}

/// What policies have besides.
pub mod policies {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package sluicebox:sdk-policies;
            world policies {
                import sluicebox:telemetry/traces@0.1.0;
                export sluicebox:telemetry/policy@0.1.0;
            }
        ",
        world: "sluicebox:sdk-policies/policies",
        with: {
            "sluicebox:telemetry/fields@0.1.0": crate::bindings::sluicebox::telemetry::fields,
            "sluicebox:telemetry/batches@0.1.0": crate::bindings::sluicebox::telemetry::batches,
        },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "__export_policy",
        default_bindings_module: "sluicebox_guest::bindings::policies",
    });
}

pub use policies::sluicebox::telemetry::traces::{TraceBatch, Verdicts};
pub use sluicebox::telemetry::adding::{insert as insert_rows, insert_values};
pub use sluicebox::telemetry::batches::{Batch, Rows, Values};
pub use sluicebox::telemetry::clock::now_unix_nano;
pub use sluicebox::telemetry::contents::{
    Leaves, key_counts, leaf_counts, read as read_contents, where_keys, where_leaves,
};
pub use sluicebox::telemetry::dropping::drop as drop_rows;
pub use sluicebox::telemetry::editing::{remove_keys, rename_keys, replace_leaves, set_rows, set_values};
pub use sluicebox::telemetry::fields::{Field, Rule, Signal};
pub use sluicebox::telemetry::host_hash::Key;
pub use sluicebox::telemetry::host_state::{Bucket, Tally};
pub use sluicebox::telemetry::logging::{Line, Severity, write as write_log};
pub use sluicebox::telemetry::lookup::Table;
pub use sluicebox::telemetry::metering::{Counter, Gauge, Histogram};

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
