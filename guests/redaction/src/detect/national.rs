//! Numbers of people: of social security in the United States, and of telephones.

use super::{Found, before, digits_at, is_joined_after, is_joined_before, is_word};

/// `AAA-GG-SSSS` or with spaces. No area is 000, 666 or from 900, no group 00, no serial 0000 (Social Security Administration).
pub fn find_us_ssn(text: &[u8], found: &mut Found) {
    let mut at = 0;
    while let Some(skipped) = text[at..].iter().position(u8::is_ascii_digit) {
        let start = at + skipped;
        at = start + digits_at(text, start);
        let Some(number) = text.get(start..start + 11) else { return };
        let is_free = !is_joined_before(text, start, b"-.") && !is_joined_after(text, start + 11, b"-.");
        if is_free && at - start == 3 && is_us_ssn(number) {
            at = start + 11;
            found.push(start..at);
        }
    }
}

fn is_us_ssn(number: &[u8]) -> bool {
    let (area, group, serial) = (&number[..3], &number[4..6], &number[7..]);
    let is_separated = number[3] == number[6] && matches!(number[3], b'-' | b' ');
    let is_number = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    let is_zero = |digits: &[u8]| digits.iter().all(|digit| *digit == b'0');
    is_separated
        && [group, serial].into_iter().all(|part| is_number(part) && !is_zero(part))
        && !is_zero(area)
        && area != b"666"
        && area[0] != b'9'
}

/// Digits of a number with its country (E.164).
const E164_DIGITS_MAX: usize = 15;
/// Fewer are taken for a number with a sign.
const E164_DIGITS_MIN: usize = 9;
const E164_SEPARATED_DIGITS_MIN: usize = 8;

/// `+` with the country's code, in any grouping, and North America's `(AAA) EEE-NNNN`, `AAA-EEE-NNNN` and `AAA.EEE.NNNN`, after `1` too.
pub fn find_phone(text: &[u8], found: &mut Found) {
    let mut at = 0;
    while let Some(skipped) = text[at..].iter().position(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'(')) {
        let start = at + skipped;
        let end = if text[start] == b'+' { e164_end(text, start) } else { american_end(text, start) };
        at = match end {
            Some(end) => {
                found.push(start..end);
                end
            }
            None => start + digits_at(text, start).max(1),
        };
    }
}

fn e164_end(text: &[u8], start: usize) -> Option<usize> {
    if is_word(before(text, start)) || !matches!(text.get(start + 1), Some(b'1'..=b'9')) {
        return None;
    }
    let is_american = text[start + 1] == b'1';
    let (mut at, mut digits, mut groups) = (start + 1, 0, 0);
    loop {
        let len = digits_at(text, at);
        let most = if is_american { 11 } else { E164_DIGITS_MAX };
        if len == 0 || digits + len > most {
            break;
        }
        digits += len;
        groups += 1;
        at += len;
        let gap = text[at..].iter().take(3).take_while(|byte| matches!(byte, b' ' | b'-' | b'.' | b'(' | b')')).count();
        if gap == 0 || digits_at(text, at + gap) == 0 || digits == most || digits + digits_at(text, at + gap) > most {
            break;
        }
        at += gap;
    }
    let least = match groups {
        _ if is_american => 11,
        1 => E164_DIGITS_MIN,
        _ => E164_SEPARATED_DIGITS_MIN,
    };
    (digits >= least && !is_joined_after(text, at, b".")).then_some(at)
}

fn american_end(text: &[u8], start: usize) -> Option<usize> {
    if is_joined_before(text, start, b"-.+/") {
        return None;
    }
    let has_country = text[start] == b'1' && matches!(text.get(start + 1), Some(b'-' | b'.' | b' '));
    let area = if has_country { start + 2 } else { start };
    let (exchange, separator) = if text.get(area) == Some(&b'(') {
        let closed = is_group(text, area + 1, 3) && text.get(area + 4) == Some(&b')');
        let space = usize::from(text.get(area + 5) == Some(&b' '));
        (closed.then_some(area + 5 + space)?, None)
    } else {
        let separator = *text.get(area + 3).filter(|byte| matches!(byte, b'-' | b'.'))?;
        (is_group(text, area, 3).then_some(area + 4)?, Some(separator))
    };
    let area_digit = text[area + usize::from(text[area] == b'(')];
    let between = *text.get(exchange + 3)?;
    let is_between = separator.map_or(matches!(between, b'-' | b'.' | b' '), |separator| between == separator);
    let is_number = is_group(text, exchange, 3) && is_between && is_group(text, exchange + 4, 4);
    let end = exchange + 8;
    ((b'2'..=b'9').contains(&area_digit) && is_number && !is_joined_after(text, end, b"-.")).then_some(end)
}

/// Whether there are exactly so many digits.
fn is_group(text: &[u8], at: usize, len: usize) -> bool {
    digits_at(text, at) == len
}
