//! Credentials: JSON Web Tokens, keys of Amazon Web Services, and what stands in authorization headers.

use std::ops::Range;
use std::sync::LazyLock;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem::Finder;

use super::{Found, before, is_word};
use crate::scan::profile::{CAPITAL, Profile, letters};

/// A longer header is taken for one without being read.
const JWT_HEADER_BYTES_MAX: usize = 8 << 10;

/// As cut off as it may be.
const HEADER: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// RFC 7519: parts in base64url, of which the first is a JSON object that says `alg`. A token that lost its signature is one too, as is
/// an encrypted one, which has five parts.
pub fn find_jwt(text: &[u8], found: &mut Found) {
    static START: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"eyJ"));
    let mut at = 0;
    while let Some(skipped) = START.find(&text[at..]) {
        let start = at + skipped;
        let header_end = part_end(text, start);
        let payload_end = part_end(text, header_end + 1);
        at = header_end;
        let has_payload = text.get(header_end) == Some(&b'.') && payload_end > header_end + 1;
        if has_payload && is_jwt_header(&text[start..header_end]) {
            at = payload_end;
            while text.get(at) == Some(&b'.') && (part_end(text, at + 1) > at + 1 || is_unsigned(text, at)) {
                at = part_end(text, at + 1);
            }
            found.push(start..at);
        }
    }
}

/// Whether the dot here ends a token whose signature is empty, and no sentence.
fn is_unsigned(text: &[u8], dot: usize) -> bool {
    text.get(dot + 1).is_some_and(|byte| matches!(byte, b'"' | b'\'' | b'&' | b';' | b','))
}

fn part_end(text: &[u8], start: usize) -> usize {
    let start = start.min(text.len());
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    start + text[start..].iter().take_while(is_part).count()
}

fn is_jwt_header(part: &[u8]) -> bool {
    if part.len() > JWT_HEADER_BYTES_MAX {
        return true;
    }
    let json = HEADER.decode(part).ok();
    let header = json.and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok());
    header.is_some_and(|header| header.get("alg").is_some())
}

const ACCESS_KEY_LEN: usize = 20;
const SECRET_KEY_LEN: usize = 40;
/// Between a label and the secret that it announces.
const LABEL_REST_BYTES_MAX: usize = 24;

/// Access key ids (`AKIA`, `ASIA` and 16 more), and secret keys, of 40 characters, after a label such as `aws_secret_access_key=`.
pub fn find_aws_key(text: &[u8], profile: Profile, found: &mut Found) {
    static SECRET: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| [Finder::new(b"ecret"), Finder::new(b"ECRET")]);
    if profile.has(CAPITAL | letters(b"a")) {
        found.extend(memchr::memchr_iter(b'A', text).filter_map(|at| access_key(text, at)));
    }
    // No text that is shorter holds a label and a secret.
    if text.len() > SECRET_KEY_LEN && profile.has(letters(b"secrt")) {
        let labels = SECRET.iter().flat_map(|label| label.find_iter(text));
        found.extend(labels.filter_map(|label| labelled_secret(text, label + 5)));
    }
}

fn access_key(text: &[u8], start: usize) -> Option<Range<usize>> {
    let end = start + ACCESS_KEY_LEN;
    let key = text.get(start..end)?;
    let is_id = matches!(&key[..4], b"AKIA" | b"ASIA" | b"ABIA" | b"ACCA")
        && key.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    (is_id && !is_word(before(text, start)) && !is_word(text.get(end).copied())).then_some(start..end)
}

/// The secret after a label whose first word ends here: the rest of the label, a separator, quotes.
fn labelled_secret(text: &[u8], label: usize) -> Option<Range<usize>> {
    let rest = &text[label..text.len().min(label + LABEL_REST_BYTES_MAX)];
    let separator = rest.iter().position(|byte| matches!(byte, b'=' | b':' | b'>'))?;
    let is_label = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-' | b' ' | b'"' | b'\'' | b'.');
    if !rest[..separator].iter().all(is_label) {
        return None;
    }
    let gap =
        rest[separator..].iter().take_while(|byte| matches!(byte, b'=' | b':' | b'>' | b' ' | b'"' | b'\'')).count();
    secret_at(text, label + separator + gap)
}

fn secret_at(text: &[u8], start: usize) -> Option<Range<usize>> {
    let is_secret = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'=');
    let len = text[start..].iter().take(SECRET_KEY_LEN + 1).take_while(is_secret).count();
    (len == SECRET_KEY_LEN).then_some(start..start + len)
}

/// The whole value of a key such as `aws.secret_access_key`, if it is as long as one.
pub fn aws_secret_of_key(key: &[u8], text: &[u8]) -> Option<Range<usize>> {
    let is_labelled = text.len() == SECRET_KEY_LEN && contains_ignoring_case(key, b"secret");
    is_labelled.then(|| secret_at(text, 0)).flatten()
}

/// Authentication schemes, by IANA's registry and by use; what follows one is a secret.
const SCHEMES: &[&[u8]] = &[
    b"basic",
    b"bearer",
    b"digest",
    b"negotiate",
    b"token",
    b"apikey",
    b"api-key",
    b"key",
    b"ntlm",
    b"hoba",
    b"mutual",
    b"oauth",
    b"dpop",
    b"gnap",
    b"vapid",
    b"hawk",
    b"signature",
    b"aws4-hmac-sha256",
    b"scram-sha-1",
    b"scram-sha-256",
];
const CREDENTIALS_LEN_MIN: usize = 8;
/// A run of letters that is shorter is taken for a word.
const WORD_LEN_MAX: usize = 20;

/// The token after `Bearer` (RFC 6750), and what follows the scheme in `Authorization: ...`.
pub fn find_bearer(text: &[u8], profile: Profile, found: &mut Found) {
    static BEARER: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| [Finder::new(b"earer"), Finder::new(b"EARER")]);
    if profile.has(letters(b"bear")) {
        let bearers = BEARER.iter().flat_map(|bearer| bearer.find_iter(text));
        found.extend(bearers.filter_map(|at| bearer_token(text, at)));
    }
    if profile.has(letters(b"authorizn")) {
        find_headers(text, found);
    }
}

/// The token after a word whose second letter is here.
fn bearer_token(text: &[u8], at: usize) -> Option<Range<usize>> {
    let is_bearer = matches!(before(text, at), Some(b'b' | b'B')) && !is_word(before(text, at - 1));
    let gap = text[at + 5..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'+')).count();
    let start = at + 5 + gap;
    let end = credentials_end(text, start);
    (is_bearer && gap > 0 && is_credentials(&text[start..end])).then_some(start..end)
}

fn find_headers(text: &[u8], found: &mut Found) {
    // The rarest letter of the word.
    for at in memchr::memchr2_iter(b'z', b'Z', text) {
        let is_header =
            at >= 7 && text.get(at - 7..at + 6).is_some_and(|word| word.eq_ignore_ascii_case(b"authorization"));
        let after = &text[(at + 6).min(text.len())..];
        let gap = after
            .iter()
            .take(8)
            .take_while(|byte| matches!(byte, b':' | b'=' | b' ' | b'"' | b'\'' | b'[' | b'\\'))
            .count();
        if is_header && after[..gap].iter().any(|byte| matches!(byte, b':' | b'=')) {
            found.extend(header_credentials(text, at + 6 + gap));
        }
    }
}

/// What is secret in a header's value that begins here and goes on to the end of the line or the string.
fn header_credentials(text: &[u8], start: usize) -> Option<Range<usize>> {
    match after_scheme(text, start) {
        Some(start) => {
            let is_inner = |byte: &&u8| !matches!(byte, b'\r' | b'\n' | b'"' | b'\'' | b'\\' | b'}' | b']');
            let is_parameters =
                text[start..].iter().take(64).take_while(|byte| **byte != b' ').any(|byte| *byte == b'=');
            let end = start + text[start..].iter().take_while(is_inner).count();
            let end = if is_parameters { end } else { credentials_end(text, start).max(start) };
            (end > start).then_some(start..end)
        }
        None => {
            let end = credentials_end(text, start);
            is_credentials(&text[start..end]).then_some(start..end)
        }
    }
}

/// The whole value of a key such as `http.request.header.authorization`, but for the scheme.
pub fn credentials_of_key(key: &[u8], text: &[u8]) -> Option<Range<usize>> {
    let word = key.len().checked_sub(b"authorization".len()).map(|start| &key[start..]);
    if !word.is_some_and(|word| word.eq_ignore_ascii_case(b"authorization")) {
        return None;
    }
    let start = after_scheme(text, 0).unwrap_or(0);
    (start < text.len()).then_some(start..text.len())
}

/// Where what follows a known scheme and a space begins.
fn after_scheme(text: &[u8], start: usize) -> Option<usize> {
    let rest = &text[start..];
    let scheme = rest.iter().take(WORD_LEN_MAX).position(|byte| *byte == b' ')?;
    let is_known = SCHEMES.iter().any(|known| rest[..scheme].eq_ignore_ascii_case(known));
    let gap = rest[scheme..].iter().take_while(|byte| **byte == b' ').count();
    is_known.then_some(start + scheme + gap)
}

/// RFC 9110's `token68`.
fn credentials_end(text: &[u8], start: usize) -> usize {
    let is_token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-._~+/=:%".contains(byte);
    let len = text[start..].iter().take_while(is_token).count();
    start + len - text[start..start + len].iter().rev().take_while(|byte| matches!(byte, b'.' | b':')).count()
}

/// Whether it is no word of a sentence about tokens.
fn is_credentials(token: &[u8]) -> bool {
    let is_lower = token.iter().skip(1).all(u8::is_ascii_lowercase);
    let is_upper = token.iter().all(u8::is_ascii_uppercase);
    let is_word = token.iter().all(u8::is_ascii_alphabetic) && (is_lower || is_upper);
    token.len() >= CREDENTIALS_LEN_MIN && (!is_word || token.len() > WORD_LEN_MAX)
}

fn contains_ignoring_case(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}
