//! Secrets in every place of OTLP that can hold text, found by walking its published descriptors, and what must become of them.
//!
//! The engine has a table of such places. This one knows nothing of it: a field that is new to the descriptors is planted too.

mod build;
mod forms;
mod leak;
mod lookalikes;
mod schema;
mod secrets;

pub use build::{Holder, Place, build, places};
pub use forms::{Form, Plant};
pub use leak::Leaks;
pub use lookalikes::Lookalikes;
pub use schema::Schema;
pub use secrets::{Detector, Secret};

use prost::encoding::{WireType, encode_key, encode_varint};

/// Appends a length-delimited field.
fn field(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// Appends a varint field.
fn number_field(out: &mut Vec<u8>, number: u32, value: u64) {
    encode_key(number, WireType::Varint, out);
    encode_varint(value, out);
}

#[cfg(test)]
mod tests;
