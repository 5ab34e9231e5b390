use crate::host;

/// A key that the operator configured for keyed hashes. The processor never sees it.
#[derive(Debug)]
pub struct HashKey {
    handle: host::Key,
}

impl HashKey {
    /// The key of this name. The error names the keys that there are. Only while configuring.
    pub fn open(name: &str) -> Result<HashKey, String> {
        Ok(HashKey { handle: host::Key::open(name)? })
    }

    /// HMAC-SHA-256 (RFC 2104) of each of the texts, in order. One call for many is cheaper.
    pub fn hmac_sha256(&self, texts: &[&[u8]]) -> Vec<[u8; 32]> {
        let mut offsets = Vec::with_capacity(texts.len() + 1);
        let mut bytes = Vec::with_capacity(texts.iter().map(|text| text.len()).sum());
        offsets.push(0);
        for text in texts {
            bytes.extend_from_slice(text);
            offsets.push(bytes.len() as u32);
        }
        self.handle.hmac_sha256(&offsets, &bytes).as_chunks().0.to_vec()
    }
}
