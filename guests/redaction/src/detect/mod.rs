//! Named detectors: each finds stretches that certainly look like what it is named after, checksums included.
//!
//! All of them take time linear in the text: a stretch of it is looked at a bounded number of times.

mod card;
mod email;
mod iban;
mod ip;
mod national;
mod token;

use std::ops::Range;

use crate::scan::profile::{AT, COLON, DASH, DOT, LETTER, Needs, PARENTHESIS, PLUS, Profile, SPACE, letters};

/// What is found.
pub type Found = Vec<Range<usize>>;

/// A detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detector {
    Email,
    Card,
    Iban,
    Ipv4,
    Ipv6,
    UsSsn,
    Phone,
    Jwt,
    AwsKey,
    Bearer,
}

impl Detector {
    pub const ALL: [Detector; 10] = {
        use Detector::*;
        [Email, Card, Iban, Ipv4, Ipv6, UsSsn, Phone, Jwt, AwsKey, Bearer]
    };

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Detector::Email => "email",
            Detector::Card => "card",
            Detector::Iban => "iban",
            Detector::Ipv4 => "ipv4",
            Detector::Ipv6 => "ipv6",
            Detector::UsSsn => "us_ssn",
            Detector::Phone => "phone",
            Detector::Jwt => "jwt",
            Detector::AwsKey => "aws_key",
            Detector::Bearer => "bearer",
        }
    }

    /// What every text has in which it finds something, unless the text's key says what it is.
    pub const fn needs(self) -> Needs {
        let (classes, digits, len) = match self {
            Detector::Email => (AT | DOT | LETTER, 0, 6),
            Detector::Card => (0, 13, 13),
            // Check digits, and as many more as Malta's, which has the fewest that are not free to be letters.
            Detector::Iban => (LETTER, 7, 15),
            Detector::Ipv4 => (DOT, 4, 7),
            Detector::Ipv6 => (COLON, 1, 3),
            Detector::UsSsn => (0, 9, 11),
            Detector::Phone => (0, 8, 9),
            Detector::Jwt => (DOT | letters(b"eyj"), 0, 20),
            Detector::AwsKey => (LETTER, 0, 20),
            // Of "bearer" and of "authorization".
            Detector::Bearer => (letters(b"ar"), 0, 12),
        };
        let any = match self {
            Detector::UsSsn => DASH | SPACE,
            Detector::Phone => PLUS | PARENTHESIS | DASH | DOT,
            // Each of `AKIA`, `ABIA`, `ACCA`, `ASIA` and "secret" has one.
            Detector::AwsKey => letters(b"kbcs"),
            Detector::Bearer => letters(b"bz"),
            _ => 0,
        };
        let dots = if matches!(self, Detector::Ipv4) { 3 } else { 0 };
        Needs { classes, any, digits, dots, len }
    }

    /// Appends what it finds in a text that has this profile.
    pub fn find(self, text: &[u8], profile: Profile, found: &mut Found) {
        match self {
            Detector::Email => email::find(text, found),
            Detector::Card => card::find(text, found),
            Detector::Iban => iban::find(text, found),
            Detector::Ipv4 => ip::find_v4(text, found),
            Detector::Ipv6 => ip::find_v6(text, found),
            Detector::UsSsn => national::find_us_ssn(text, found),
            Detector::Phone => national::find_phone(text, found),
            Detector::Jwt => token::find_jwt(text, found),
            Detector::AwsKey => token::find_aws_key(text, profile, found),
            Detector::Bearer => token::find_bearer(text, profile, found),
        }
    }

    /// Whether keys tell it anything; see [`Detector::find_by_key`].
    pub const fn reads_keys(self) -> bool {
        matches!(self, Detector::AwsKey | Detector::Bearer)
    }

    /// Appends what it finds in a text because of the key that the text has.
    pub fn find_by_key(self, key: &[u8], text: &[u8], found: &mut Found) {
        match self {
            Detector::AwsKey => found.extend(token::aws_secret_of_key(key, text)),
            Detector::Bearer => found.extend(token::credentials_of_key(key, text)),
            _ => {}
        }
    }
}

/// The byte before a place.
fn before(text: &[u8], at: usize) -> Option<u8> {
    at.checked_sub(1).map(|at| text[at])
}

/// Whether a name or a number goes on at this byte.
fn is_word(byte: Option<u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a longer number or name with separators ends right before this place, as in `a-` and `1.`.
fn is_joined_before(text: &[u8], at: usize, separators: &[u8]) -> bool {
    let is_separator = before(text, at).is_some_and(|byte| separators.contains(&byte));
    is_word(before(text, at)) || is_separator && is_word(before(text, at - 1))
}

/// Whether a longer number or name with separators goes on at this place, as in `-a` and `.1`.
fn is_joined_after(text: &[u8], at: usize, separators: &[u8]) -> bool {
    let is_separator = text.get(at).is_some_and(|byte| separators.contains(byte));
    is_word(text.get(at).copied()) || is_separator && is_word(text.get(at + 1).copied())
}

fn digits_at(text: &[u8], at: usize) -> usize {
    text[at.min(text.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests;
