//! International bank account numbers (ISO 13616): country, check digits, account; in one piece or in groups of four.

use super::{Found, before, is_word};

pub fn find(text: &[u8], found: &mut Found) {
    let mut at = 0;
    while let Some(skipped) = text[at..].iter().position(u8::is_ascii_digit) {
        // Where there are digits, two letters before them can be a country.
        let digits = at + skipped;
        let end = digits.checked_sub(2).filter(|start| *start >= at).and_then(|start| iban_end(text, start));
        if let Some(end) = end {
            found.push(digits - 2..end);
        }
        at = end.unwrap_or(digits + super::digits_at(text, digits));
    }
}

/// The end of the number that begins here.
fn iban_end(text: &[u8], start: usize) -> Option<usize> {
    let [first, second, check_1, check_2] = *text[start..].first_chunk()?;
    if !first.is_ascii_alphabetic() || !second.is_ascii_alphabetic() || is_word(before(text, start)) {
        return None;
    }
    if !check_1.is_ascii_digit() || !check_2.is_ascii_digit() {
        return None;
    }
    let country = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
    let (_, len) = COUNTRIES.iter().find(|(known, _)| **known == country)?;
    let mut number = [0; LEN_MAX];
    let end = read(text, start, &mut number[..usize::from(*len)])?;
    let is_hex_id = number[..usize::from(*len)].iter().all(u8::is_ascii_hexdigit);
    let is_belgian = country == *b"BE" && number[4..16].iter().all(u8::is_ascii_digit);
    // Belgium's, 16 long, are the ones that a span's id could be; they are of digits.
    let is_plausible = !is_hex_id || is_belgian || country != *b"BE";
    (is_plausible && is_remainder_one(&number[..usize::from(*len)])).then_some(end)
}

/// Fills the number, which is in one piece or in groups of four with the same separator between all of them. Returns its end; None if it
/// is too short or goes on.
fn read(text: &[u8], start: usize, number: &mut [u8]) -> Option<usize> {
    let separator = text.get(start + 4).filter(|byte| matches!(byte, b' ' | b'-'));
    let mut at = start;
    for (count, character) in number.iter_mut().enumerate() {
        if separator.is_some() && count > 0 && count % 4 == 0 {
            text.get(at).filter(|byte| Some(*byte) == separator)?;
            at += 1;
        }
        *character = text.get(at).filter(|byte| byte.is_ascii_alphanumeric())?.to_ascii_uppercase();
        at += 1;
    }
    (!is_word(text.get(at).copied())).then_some(at)
}

/// ISO 7064, MOD 97-10, with the first four characters moved to the end.
fn is_remainder_one(number: &[u8]) -> bool {
    let (head, tail) = number.split_at(4);
    let remainder = tail.iter().chain(head).fold(0, |remainder, byte| match byte {
        b'0'..=b'9' => (remainder * 10 + u32::from(byte - b'0')) % 97,
        _ => (remainder * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    remainder == 1
}

const LEN_MAX: usize = 34;

/// How long a country's numbers are, by the registry of ISO 13616.
const COUNTRIES: &[(&[u8; 2], u8)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];
