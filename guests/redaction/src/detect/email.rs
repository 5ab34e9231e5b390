//! E-mail addresses: RFC 5322's dot-atoms of letters, digits and `._+-'`, international ones (RFC 6531) too, at a domain name.

use super::Found;

pub fn find(text: &[u8], found: &mut Found) {
    let mut floor = 0;
    for at in memchr::memchr_iter(b'@', text) {
        let start = local_start(text, floor, at);
        if start < at
            && let Some(end) = domain_end(text, at + 1)
        {
            found.push(start..end);
            floor = end;
        }
    }
}

/// Where the part before the `@` begins.
fn local_start(text: &[u8], floor: usize, at: usize) -> usize {
    let mut start = at;
    while start > floor {
        let len = match text[start - 1] {
            b'.' | b'_' | b'+' | b'-' | b'\'' => 1,
            byte if byte.is_ascii_alphanumeric() && !is_escape(text, floor, start) => 1,
            128.. => letter_before(&text[floor..start]),
            _ => 0,
        };
        if len == 0 {
            break;
        }
        start -= len;
    }
    while start < at && matches!(text[start], b'.' | b'\'' | b'-' | b'+') {
        start += 1;
    }
    start
}

/// Whether a percent escape ends here: what it stands for is judged when it is decoded.
fn is_escape(text: &[u8], floor: usize, end: usize) -> bool {
    let is_hex = |at: usize| text[at].is_ascii_hexdigit();
    end >= floor + 3 && text[end - 3] == b'%' && is_hex(end - 2) && is_hex(end - 1)
}

/// The end of a domain name with a top level; None if there is none.
fn domain_end(text: &[u8], start: usize) -> Option<usize> {
    let mut end = None;
    let (mut at, mut labels, mut numbers) = (start, 0, 0);
    loop {
        let label = label_len(&text[at..]);
        if label == 0 {
            return end;
        }
        let is_number = text[at].is_ascii_digit();
        numbers += usize::from(is_number && labels == numbers);
        // What begins with two numbers is a version: `package@1.2.x`.
        if numbers >= 2 {
            return None;
        }
        if labels > 0 && !is_number {
            let top = if text[at..].starts_with(b"xn--") { label } else { letters_len(&text[at..at + label]) };
            if top >= 2 {
                end = Some(at + top);
            }
        }
        labels += 1;
        at += label;
        if text.get(at) != Some(&b'.') {
            return end;
        }
        at += 1;
    }
}

/// Letters, digits and inner dashes.
fn label_len(text: &[u8]) -> usize {
    let mut len = 0;
    while len < text.len() {
        match text[len] {
            b'-' if len > 0 => len += 1,
            byte if byte.is_ascii_alphanumeric() => len += 1,
            128.. => match letter_at(&text[len..]) {
                0 => break,
                more => len += more,
            },
            _ => break,
        }
    }
    len
}

fn letters_len(label: &[u8]) -> usize {
    label.iter().take_while(|byte| byte.is_ascii_alphabetic() || **byte >= 128).count()
}

/// The length of the letter or digit beyond ASCII that the text begins with; 0 if it is something else.
fn letter_at(text: &[u8]) -> usize {
    (2..=4).find(|len| is_letter(text.get(..*len))).unwrap_or(0)
}

/// The same of what it ends with.
fn letter_before(text: &[u8]) -> usize {
    (2..=4).find(|len| text.len() >= *len && is_letter(text.get(text.len() - len..))).unwrap_or(0)
}

fn is_letter(bytes: Option<&[u8]>) -> bool {
    let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
    let mut chars = text.unwrap_or_default().chars();
    chars.next().is_some_and(char::is_alphanumeric) && chars.next().is_none()
}
