//! What stands in the place of what is hidden: a text, or a hash by which equal values stay equal.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use sha3::Sha3_256;
use sluicebox_guest::HashKey;

/// The Collector's mask.
pub const DEFAULT: &str = "****";

/// How to hide.
#[derive(Debug)]
pub enum Mask {
    Text(String),
    Hash(Hash),
    /// HMAC-SHA-256 under a key that only the host knows.
    Host(HashKey),
}

/// A hash that is made here; in hexadecimal digits, as the Collector's.
#[derive(Debug)]
pub enum Hash {
    Md5,
    Sha1,
    Sha3,
    HmacSha256(Vec<u8>),
    HmacSha512(Vec<u8>),
}

/// What hides each of several texts.
#[derive(Debug)]
pub enum Masked<'m> {
    Same(&'m str),
    Each(Vec<String>),
}

impl Mask {
    /// Hides texts. One call for many is cheaper.
    pub fn hide(&self, texts: &[&[u8]]) -> Masked<'_> {
        match self {
            Mask::Text(mask) => Masked::Same(mask),
            Mask::Hash(hash) => Masked::Each(texts.iter().map(|text| hash.of(text)).collect()),
            Mask::Host(_) if texts.is_empty() => Masked::Each(Vec::new()),
            Mask::Host(key) => Masked::Each(key.hmac_sha256(texts).iter().map(|hash| hex(hash)).collect()),
        }
    }
}

impl Masked<'_> {
    /// What hides the text of this number.
    pub fn get(&self, number: usize) -> &str {
        match self {
            Masked::Same(mask) => mask,
            // A host that answers with fewer hashes than it was asked for gets the mask in their place.
            Masked::Each(masks) => masks.get(number).map_or(DEFAULT, String::as_str),
        }
    }
}

impl Hash {
    fn of(&self, text: &[u8]) -> String {
        match self {
            Hash::Md5 => hex(&Md5::digest(text)),
            Hash::Sha1 => hex(&Sha1::digest(text)),
            Hash::Sha3 => hex(&Sha3_256::digest(text)),
            Hash::HmacSha256(key) => keyed::<Hmac<Sha256>>(key, text),
            Hash::HmacSha512(key) => keyed::<Hmac<Sha512>>(key, text),
        }
    }
}

fn keyed<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> String {
    // HMAC takes keys of any length.
    M::new_from_slice(key)
        .map_or_else(|_| DEFAULT.to_owned(), |mac| hex(&mac.chain_update(text).finalize().into_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(hash: Hash) -> String {
        Mask::Hash(hash).hide(&[b"abc"]).get(0).to_owned()
    }

    #[test]
    fn hashes_are_the_published_ones() {
        assert_eq!(hash(Hash::Md5), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hash(Hash::Sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hash(Hash::Sha3), "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
        // RFC 4231, test case 2.
        let question = |hash: Hash| Mask::Hash(hash).hide(&[b"what do ya want for nothing?"]).get(0).to_owned();
        let of_256 = question(Hash::HmacSha256(b"Jefe".to_vec()));
        assert_eq!(of_256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert!(
            question(Hash::HmacSha512(b"Jefe".to_vec()))
                .starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd6")
        );
    }
}
