//! What bytes a text is made of, found in one pass, and what a pattern needs: most texts cannot match anything and go no further.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Classes of bytes, as bits.
pub const DIGIT: u32 = 1;
pub const LETTER: u32 = 1 << 1;
pub const SPACE: u32 = 1 << 2;
pub const AT: u32 = 1 << 4;
pub const PERCENT: u32 = 1 << 5;
pub const DOT: u32 = 1 << 6;
pub const COLON: u32 = 1 << 7;
pub const DASH: u32 = 1 << 8;

const CLASSES: [u32; 256] = classes();

const fn classes() -> [u32; 256] {
    // Each text holds the bytes of a class; control characters and bytes beyond ASCII follow from their number.
    const SINGLE: [&[u8]; 27] = [
        b" ", b"", b"@", b"%", b".", b":", b"-", b"/", b"+", b"=", b"_", b"\"", b"'", b",", b"()", b"[]", b"{}", b"<>",
        b"#", b"&", b"*", b"?", b"!", b"$", b";", b"|", b"\\",
    ];
    let mut table = [1 << 29; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'A'..=b'Z' | b'a'..=b'z' => LETTER,
            0..=31 | 127 => 1 << 3,
            128..=255 => 1 << 30,
            _ => table[byte],
        };
        byte += 1;
    }
    let mut class = 0;
    while class < SINGLE.len() {
        let mut at = 0;
        while at < SINGLE[class].len() {
            table[SINGLE[class][at] as usize] = 1 << (class + 2);
            at += 1;
        }
        class += 1;
    }
    table
}

/// What a text is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    classes: u32,
    digits: usize,
    len: usize,
}

impl Profile {
    pub fn of(text: &[u8]) -> Profile {
        let mut classes = 0;
        let mut digits = 0;
        for byte in text {
            classes |= CLASSES[usize::from(*byte)];
            digits += usize::from(byte.is_ascii_digit());
        }
        Profile { classes, digits, len: text.len() }
    }

    pub fn has(self, classes: u32) -> bool {
        self.classes & classes == classes
    }

    pub fn has_any(self, classes: u32) -> bool {
        self.classes & classes != 0
    }
}

/// What a text has at least if a pattern matches somewhere in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// All of these classes.
    pub classes: u32,
    /// Any of these, if there are some.
    pub any: u32,
    pub digits: usize,
    pub len: usize,
}

impl Needs {
    pub fn are_met(&self, profile: Profile) -> bool {
        profile.len >= self.len
            && profile.digits >= self.digits
            && profile.has(self.classes)
            && (self.any == 0 || profile.has_any(self.any))
    }

    /// Those of a regular expression.
    pub fn of(pattern: &Hir) -> Needs {
        let (classes, digits) = required(pattern);
        Needs { classes, any: 0, digits, len: pattern.properties().minimum_len().unwrap_or(0) }
    }

    /// What a text has at least if any of several matches.
    pub fn either(self, other: Needs) -> Needs {
        let any = if self.any == 0 || other.any == 0 { 0 } else { self.any | other.any };
        Needs {
            classes: self.classes & other.classes,
            any,
            digits: self.digits.min(other.digits),
            len: self.len.min(other.len),
        }
    }
}

/// Classes that are in every match, and how many digits.
fn required(pattern: &Hir) -> (u32, usize) {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => (0, 0),
        HirKind::Literal(literal) => {
            let profile = Profile::of(&literal.0);
            (profile.classes, profile.digits)
        }
        HirKind::Class(class) => required_of_class(class),
        HirKind::Repetition(repeated) if repeated.min == 0 => (0, 0),
        HirKind::Repetition(repeated) => {
            let (classes, digits) = required(&repeated.sub);
            (classes, digits.saturating_mul(repeated.min as usize))
        }
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Concat(parts) => parts.iter().map(required).fold((0, 0), |all, part| (all.0 | part.0, all.1 + part.1)),
        HirKind::Alternation(parts) => {
            let both = |one: (u32, usize), other: (u32, usize)| (one.0 & other.0, one.1.min(other.1));
            parts.iter().map(required).reduce(both).unwrap_or_default()
        }
    }
}

/// A class of characters requires a class of bytes if all of it lies in that one.
fn required_of_class(class: &Class) -> (u32, usize) {
    let ascii: Option<Vec<(u8, u8)>> = match class {
        Class::Unicode(class) => {
            let bound = |c: char| u8::try_from(c).ok().filter(u8::is_ascii);
            class.iter().map(|range| Some((bound(range.start())?, bound(range.end())?))).collect()
        }
        Class::Bytes(class) => Some(class.iter().map(|range| (range.start(), range.end())).collect()),
    };
    let bytes = ascii.into_iter().flatten().flat_map(|(start, end)| start..=end);
    let classes = bytes.fold(0, |classes, byte| classes | CLASSES[usize::from(byte)]);
    if classes.count_ones() == 1 { (classes, usize::from(classes == DIGIT)) } else { (0, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(pattern: &str) -> Needs {
        Needs::of(&regex_syntax::parse(pattern).unwrap())
    }

    #[test]
    fn needs_of_patterns() {
        assert_eq!(needs("4[0-9]{12}(?:[0-9]{3})?"), Needs { classes: DIGIT, digits: 13, len: 13, any: 0 });
        assert_eq!(needs(r"[a-z]+@[a-z]+\.com"), Needs { classes: LETTER | AT | DOT, len: 7, ..Needs::default() });
        assert_eq!(needs("a|1"), Needs { len: 1, ..Needs::default() });
        assert_eq!(needs("(?i)é|x*"), Needs::default());
        assert_eq!(needs("[é-ü]"), Needs { len: 2, ..Needs::default() });
    }

    #[test]
    fn a_text_without_what_is_needed_is_told() {
        let card = needs("[0-9]{4}-[0-9]{4}");
        assert!(card.are_met(Profile::of(b"x 1234-5678")));
        for text in ["1234-567", "12345678", "a-b", ""] {
            assert!(!card.are_met(Profile::of(text.as_bytes())), "{text}");
        }
    }

    #[test]
    fn every_byte_has_one_class() {
        assert!(CLASSES.iter().all(|class| class.count_ones() == 1));
    }
}
