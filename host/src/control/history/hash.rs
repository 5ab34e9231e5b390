//! What tells two configurations apart without telling what is in them.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Of the hash, so that people can compare it.
const HEX_DIGITS: usize = 16;

/// The first 16 hex digits of the SHA-256 of a configuration, in a form that does not depend on how it is written: JSON without white
/// space, keys of maps in the order of their bytes. A text that is no JSON stands for itself.
pub fn config_hash(config: &str) -> String {
    let canonical = serde_json::from_str::<Value>(config).map_or_else(
        |_| config.to_owned(),
        |value| {
            let mut text = String::with_capacity(config.len());
            write(&value, &mut text);
            text
        },
    );
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(canonical) {
        let _infallible = write!(hex, "{byte:02x}");
    }
    hex.truncate(HEX_DIGITS);
    hex
}

/// Sorts keys itself: whether serde_json does depends on what other packages ask of it.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_str());
            text.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                separate(index, text);
                let _infallible = write!(text, "{}:", Value::from(key.as_str()));
                write(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(index, text);
                write(item, text);
            }
            text.push(']');
        }
        scalar => {
            let _infallible = write!(text, "{scalar}");
        }
    }
}

fn separate(index: usize, text: &mut String) {
    if index > 0 {
        text.push(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests are those that `printf '{...}' | sha256sum` prints.
    #[test]
    fn the_same_configuration_has_the_same_hash_however_it_is_written() {
        let hash = config_hash(r#"{"b":[1,{"d":null,"c":"x"}],"a":true}"#);
        assert_eq!(hash, "f124912702a4df29");
        assert_eq!(config_hash("{ \"a\": true,\n \"b\": [1, {\"c\": \"x\", \"d\": null}] }"), hash);
        assert_ne!(config_hash(r#"{"a":true,"b":[{"c":"x","d":null},1]}"#), hash, "lists have an order");
        assert_eq!(config_hash("{}"), "44136fa355b3678a");
        assert_eq!(config_hash("no JSON").len(), HEX_DIGITS);
    }
}
