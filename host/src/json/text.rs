//! Strings of JSON that stand for other things: ids, bytes, and text that no UTF-8 can carry.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// Longest id.
pub(super) const ID_BYTES_MAX: usize = 16;

/// The bytes of `digits`, of either case, into the beginning of `id`: `len` of them, or none of none.
pub(super) fn hex<'a>(digits: &[u8], len: usize, id: &'a mut [u8; ID_BYTES_MAX]) -> Option<&'a [u8]> {
    if digits.is_empty() {
        return Some(&[]);
    }
    let id = id.get_mut(..len).filter(|_| digits.len() == len * 2)?;
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?];
        *byte = (high << 4 | low) as u8;
    }
    Some(id)
}

/// Appends lower-case digits.
pub(super) fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Reads either alphabet, padded or not.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let url_safe = text.iter().any(|byte| matches!(byte, b'-' | b'_'));
    if url_safe { BASE64_URL.decode(text).ok() } else { BASE64.decode(text).ok() }
}

/// The standard alphabet, padded.
pub(super) fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// UTF-8 with U+FFFD for each unpaired surrogate, which the JSON reader hands on in three bytes (WTF-8). Any other violation of
/// UTF-8 is None.
pub(super) fn utf8(bytes: &[u8]) -> Option<Cow<'_, str>> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some(Cow::Borrowed(text));
    }
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Err(error) = std::str::from_utf8(rest) {
        let (good, bad) = rest.split_at(error.valid_up_to());
        let [0xed, 0xa0..=0xbf, 0x80..=0xbf, after @ ..] = bad else { return None };
        text.push_str(&String::from_utf8_lossy(good));
        text.push(char::REPLACEMENT_CHARACTER);
        rest = after;
    }
    text.push_str(&String::from_utf8_lossy(rest));
    Some(Cow::Owned(text))
}
