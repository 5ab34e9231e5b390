//! Hashes of values, as the Collector makes them: of the bytes of texts and of the little-endian bytes of numbers.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use sha2::{Digest as _, Sha256};
use sluicebox_guest::{HashKey, NewValue, Value};

use crate::config::Digest;

/// Hashes values in one way.
#[derive(Debug)]
pub enum Hasher {
    /// SHA-256.
    Plain,
    /// HMAC-SHA-256 with a key that the host keeps.
    Keyed {
        key: HashKey,
        /// Of the batch of the current call, so that the host is asked once for many.
        known: HashMap<Vec<u8>, [u8; 32]>,
    },
}

impl Hasher {
    pub fn open(digest: &Digest) -> Result<Hasher, String> {
        match digest {
            Digest::Plain => Ok(Hasher::Plain),
            Digest::Keyed(name) => Ok(Hasher::Keyed { key: HashKey::open(name)?, known: HashMap::new() }),
        }
    }

    /// Says what will probably be hashed.
    pub fn prepare<'v>(&mut self, values: impl Iterator<Item = Value<'v>>) {
        let Hasher::Keyed { key, known } = self else { return };
        let images: BTreeSet<_> =
            values.filter_map(image).filter(|image| !known.contains_key(image.as_ref())).collect();
        let texts: Vec<&[u8]> = images.iter().map(AsRef::as_ref).collect();
        if !texts.is_empty() {
            let hashes = key.hmac_sha256(&texts);
            known.extend(images.iter().map(|image| image.to_vec()).zip(hashes));
        }
    }

    /// The hash in hexadecimal digits; nothing of lists, maps, bytes and what is empty.
    pub fn hash(&mut self, value: Value<'_>) -> NewValue {
        let Some(image) = image(value) else { return NewValue::Str(String::new()) };
        let hash: [u8; 32] = match self {
            Hasher::Plain => Sha256::digest(&image).into(),
            Hasher::Keyed { key, known } => *known
                .entry(image.to_vec())
                .or_insert_with(|| key.hmac_sha256(&[&image]).first().copied().unwrap_or_default()),
        };
        NewValue::Str(hash.iter().flat_map(|byte| [hex(byte >> 4), hex(byte & 15)]).collect())
    }

    /// Forgets what it hashed in this call.
    pub fn forget(&mut self) {
        if let Hasher::Keyed { known, .. } = self {
            known.clear();
        }
    }
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or_default()
}

/// The bytes that are hashed.
fn image(value: Value<'_>) -> Option<Cow<'_, [u8]>> {
    Some(match value {
        Value::Str(text) => Cow::Borrowed(text.as_bytes()),
        Value::Bool(bool) => Cow::Owned(vec![u8::from(bool)]),
        Value::Int(int) => Cow::Owned(int.to_le_bytes().to_vec()),
        Value::Double(double) => Cow::Owned(double.to_le_bytes().to_vec()),
        _ => return None,
    })
}
