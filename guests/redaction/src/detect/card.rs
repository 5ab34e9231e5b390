//! Payment card numbers: 13 to 19 digits, alone or in groups, of a known issuer (ISO/IEC 7812), with Luhn's check digit.

use std::ops::Range;

use super::{Found, before};

const DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
/// Between groups of digits.
const SEPARATORS: &[u8] = b" -.+";
const GROUPS_MAX: usize = 5;
/// How far letters around digits are looked at.
const AROUND_BYTES_MAX: usize = 64;

pub fn find(text: &[u8], found: &mut Found) {
    let mut groups = Vec::new();
    let mut at = 0;
    while let Some(skipped) = text[at..].iter().position(u8::is_ascii_digit) {
        at = read_groups(text, at + skipped, &mut groups);
        find_in(text, &groups, found);
    }
}

/// Groups of digits that are one separator apart. Returns where they end.
fn read_groups(text: &[u8], start: usize, groups: &mut Vec<Range<usize>>) -> usize {
    groups.clear();
    let mut at = start;
    loop {
        let end = at + super::digits_at(text, at);
        groups.push(at..end);
        let goes_on = text.get(end).is_some_and(|byte| SEPARATORS.contains(byte))
            && text.get(end + 1).is_some_and(u8::is_ascii_digit);
        if !goes_on {
            return end;
        }
        at = end + 1;
    }
}

fn find_in(text: &[u8], groups: &[Range<usize>], found: &mut Found) {
    let mut first = 0;
    while first < groups.len() {
        let longest = groups.len().min(first + GROUPS_MAX);
        match (first..longest).rev().find(|last| is_card(text, &groups[first..=*last])) {
            Some(last) => {
                found.push(groups[first].start..groups[last].end);
                first = last + 1;
            }
            None => first += 1,
        }
    }
}

fn is_card(text: &[u8], groups: &[Range<usize>]) -> bool {
    let [first, .., last] = groups else { return groups.first().is_some_and(|only| is_card_alone(text, only.clone())) };
    let count: usize = groups.iter().map(Range::len).sum();
    let separator = text[first.end];
    DIGITS.contains(&count)
        && first.len() == 4
        && groups.iter().all(|group| group.len() <= 7)
        && groups[..groups.len() - 1].iter().all(|group| group.len() >= 3 && text[group.end] == separator)
        && !is_hex_around(text, first.start, last.end)
        && is_valid(groups.iter().flat_map(|group| &text[group.clone()]).copied())
}

fn is_card_alone(text: &[u8], digits: Range<usize>) -> bool {
    DIGITS.contains(&digits.len())
        && !is_fraction(text, digits.start)
        && !is_hex_around(text, digits.start, digits.end)
        && is_valid(text[digits].iter().copied())
}

/// Whether these digits are those after a decimal point.
fn is_fraction(text: &[u8], start: usize) -> bool {
    before(text, start) == Some(b'.') && before(text, start - 1).is_some_and(|byte| byte.is_ascii_digit())
}

/// Whether the digits are part of an id or a hash: beside them are hexadecimal digits with letters among them, and no other letters.
fn is_hex_around(text: &[u8], start: usize, end: usize) -> bool {
    let is_id = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'-';
    let left = text[..start].iter().rev().take(AROUND_BYTES_MAX).take_while(is_id);
    let right = text[end..].iter().take(AROUND_BYTES_MAX).take_while(is_id);
    let is_beside = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphabetic());
    let is_joined = is_beside(before(text, start)) || is_beside(text.get(end).copied());
    let (mut letters, mut digits) = (0, 0);
    for byte in left.chain(right).filter(|byte| **byte != b'-') {
        match byte {
            b'0'..=b'9' => digits += 1,
            byte if byte.is_ascii_hexdigit() => letters += 1,
            _ => return false,
        }
    }
    // What a dash away is of letters only is a word, as in `bad-4111...`.
    letters > 0 && (is_joined || digits > 0)
}

/// Of ASCII digits.
fn is_valid(digits: impl DoubleEndedIterator<Item = u8> + Clone) -> bool {
    has_luhn_digit(digits.clone()) && has_issuer(digits)
}

/// ISO/IEC 7812-1, annex B.
fn has_luhn_digit(digits: impl DoubleEndedIterator<Item = u8>) -> bool {
    let sum: u32 = digits
        .rev()
        .enumerate()
        .map(|(place, digit)| match u32::from(digit - b'0') {
            digit if place % 2 == 0 => digit,
            digit if digit > 4 => digit * 2 - 9,
            digit => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether an issuer's numbers begin like this and are as long. Numbers that begin with 1 are none, so that times are never cards.
fn has_issuer(digits: impl Iterator<Item = u8> + Clone) -> bool {
    let count = digits.clone().count();
    let six = digits.take(6).fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    match six {
        400_000..=499_999 => matches!(count, 13 | 16 | 18 | 19),
        510_000..=559_999 | 222_100..=272_099 => count == 16,
        340_000..=349_999 | 370_000..=379_999 => count == 15,
        300_000..=305_999 | 309_500..=309_599 | 360_000..=369_999 | 380_000..=399_999 => (14..=19).contains(&count),
        352_800..=358_999 | 220_000..=220_499 => (16..=19).contains(&count),
        601_100..=601_199 | 622_126..=622_925 | 644_000..=659_999 | 620_000..=629_999 => (16..=19).contains(&count),
        508_000..=508_999 | 600_000..=609_999 | 810_000..=829_999 => count == 16,
        500_000..=509_999 | 560_000..=589_999 | 630_000..=639_999 | 670_000..=679_999 => (13..=19).contains(&count),
        _ => false,
    }
}
