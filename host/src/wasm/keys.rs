//! Keys of keyed hashes: guests name them and get hashes, nobody gets to see them.

use std::fmt;

use hmac::{Hmac, KeyInit as _};
use sha2::Sha256;

use crate::config::model::Secret;

/// HMAC-SHA-256 (RFC 2104) with its key worked in, ready to be cloned for each text.
pub(super) type KeyedHash = Hmac<Sha256>;

/// The keys that a stage's config has, by name.
#[derive(Default)]
pub(super) struct Keys(Vec<(String, KeyedHash)>);

impl Keys {
    pub(super) fn new(keys: &[(String, Secret)]) -> Self {
        let keyed = |(name, secret): &(String, Secret)| {
            let Ok(hash) = KeyedHash::new_from_slice(secret.expose()) else {
                unreachable!("HMAC takes keys of any length (RFC 2104, section 3)")
            };
            (name.clone(), hash)
        };
        Self(keys.iter().map(keyed).collect())
    }

    /// The hash keyed by the key of this name.
    pub(super) fn get(&self, name: &str) -> Option<&KeyedHash> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, hash)| hash)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// Names only.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use hmac::Mac as _;

    use super::*;
    use crate::wasm::component::hex;

    fn keys(name: &str, key: &[u8]) -> Keys {
        Keys::new(&[(name.to_owned(), Secret::new(key))])
    }

    /// RFC 4231, test cases 2 and 6: a short key, and one longer than a block.
    #[test]
    fn hashes_are_those_of_the_standard() {
        let hash = |key: &[u8], text: &str| {
            let keys = keys("salt", key);
            let hash = keys.get("salt").expect("is there").clone();
            hex(&hash.chain_update(text).finalize().into_bytes())
        };
        assert_eq!(
            hash(b"Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hash(&[0xaa; 131], "Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn no_key_is_printed() {
        let printed = format!("{:?}", keys("salt", b"hunter2"));
        assert_eq!(printed, r#"["salt"]"#);
    }
}
