//! Addresses of IPv4 in dotted form and of IPv6 in all its forms (RFC 4291, section 2.2).

use std::net::Ipv6Addr;

use super::{Found, before, is_joined_before, is_word};

/// The longest text of an address, with a word before it and a port after it.
const V6_BYTES_MAX: usize = 64;

pub fn find_v4(text: &[u8], found: &mut Found) {
    let mut at = 0;
    while let Some(skipped) = text[at..].iter().position(u8::is_ascii_digit) {
        let start = at + skipped;
        at = match v4_end(text, start) {
            Some(end) if !is_joined_before(text, start, b".") && !is_product(text, start, end) => {
                found.push(start..end);
                end
            }
            _ => start + super::digits_at(text, start),
        };
    }
}

/// The end of four numbers up to 255 that nothing continues.
fn v4_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    for place in 0..4 {
        if place > 0 {
            text.get(at).filter(|byte| **byte == b'.')?;
            at += 1;
        }
        let len = super::digits_at(text, at);
        let number = text.get(at..at + len).filter(|_| (1..=3).contains(&len))?;
        let value = number.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
        if value > 255 || len > 1 && number[0] == b'0' {
            return None;
        }
        at += len;
    }
    let goes_on = text.get(at) == Some(&b'.') && text.get(at + 1).is_some_and(u8::is_ascii_digit);
    (!goes_on && !is_word(text.get(at).copied())).then_some(at)
}

/// Whether it is a product's version, as in `Chrome/120.0.0.0`: no host has such an address.
fn is_product(text: &[u8], start: usize, end: usize) -> bool {
    text[start..end].ends_with(b".0.0.0")
        && before(text, start) == Some(b'/')
        && before(text, start - 1).is_some_and(|byte| byte.is_ascii_alphabetic())
}

pub fn find_v6(text: &[u8], found: &mut Found) {
    if memchr::memchr_iter(b':', text).count() < 2 {
        return;
    }
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b':' || *byte == b'.';
    let mut floor = 0;
    while let Some(colon) = memchr::memchr(b':', &text[floor..]) {
        let colon = floor + colon;
        let start = colon - text[floor..colon].iter().rev().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let end = colon + text[colon..].iter().take_while(|byte| is_part(byte)).count();
        floor = end;
        if end - start <= V6_BYTES_MAX
            && let Some((start, end)) = v6_within(text, start, end)
        {
            found.push(start..end);
        }
    }
}

/// The address in a run of hexadecimal digits, colons and dots; a word before it and a port after it may be joined to it by a colon.
fn v6_within(text: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let run = &text[start..end];
    let end = start + run.len() - run.iter().rev().take_while(|byte| **byte == b'.').count();
    let is_lone = |two: [Option<u8>; 2]| two[0] == Some(b':') && two[1] != Some(b':');
    let start = start + usize::from(is_lone([text.get(start).copied(), text.get(start + 1).copied()]));
    let end = if end > start + 1 && is_lone([Some(text[end - 1]), Some(text[end - 2])]) { end - 1 } else { end };
    let colon = |at: Option<usize>| at.map(|at| start + at);
    let after_word = colon(text.get(start..end)?.iter().position(|byte| *byte == b':')).map(|at| (at + 1, end));
    let before_port = colon(text[start..end].iter().rposition(|byte| *byte == b':')).map(|at| (start, at));
    // Which of the two it is cannot be told of nine groups, so all of them go.
    let tries = [Some((start, end)), after_word, before_port];
    tries.into_iter().flatten().any(|(start, end)| is_v6(text, start, end)).then_some((start, end))
}

fn is_v6(text: &[u8], start: usize, end: usize) -> bool {
    let Some(address) = text.get(start..end) else { return false };
    // Paths of programming languages consist of letters: `face::add`.
    address.iter().any(u8::is_ascii_digit)
        && address.iter().filter(|byte| **byte == b':').count() >= 2
        && !is_word(before(text, start))
        && !is_word(text.get(end).copied())
        && std::str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
}
