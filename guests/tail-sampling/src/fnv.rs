//! FNV-1a of 64 bits (draft-eastlake-fnv): what the Collector hashes trace ids with, and keys of host state here.

use sluicebox_guest::Value;

/// A hash that is being made.
#[derive(Clone, Copy, Debug)]
pub struct Fnv(pub u64);

impl Fnv {
    pub fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    pub fn bytes(self, bytes: &[u8]) -> Fnv {
        Fnv(bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)))
    }

    /// A value with its kind and its length, so that different tuples of values are different bytes.
    pub fn value(self, value: Value<'_>) -> Fnv {
        let of = |kind: u8, bytes: &[u8]| self.bytes(&[kind]).bytes(&bytes.len().to_le_bytes()).bytes(bytes);
        match value {
            Value::Absent => of(0, &[]),
            Value::Str(text) => of(1, text.as_bytes()),
            Value::Bool(bool) => of(2, &[u8::from(bool)]),
            Value::Int(int) => of(3, &int.to_le_bytes()),
            Value::Double(double) => of(4, &double.to_bits().to_le_bytes()),
            Value::Bytes(bytes) => of(5, bytes),
            Value::Array(bytes) => of(6, bytes),
            Value::Map(bytes) => of(7, bytes),
            Value::Empty => of(8, &[]),
            Value::Unknown => of(9, &[]),
        }
    }
}
