//! What bytes a text is made of, found in one pass, and what a pattern needs: most texts cannot match anything and go no further.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Classes of bytes, as bits of a mask: kinds of characters from bit 0, capitals at bit 31, each letter in either case from bit 32.
pub const DIGIT: u64 = 1;
pub const LETTER: u64 = 1 << 1;
pub const SPACE: u64 = 1 << 2;
pub const AT: u64 = 1 << 4;
pub const PERCENT: u64 = 1 << 5;
pub const DOT: u64 = 1 << 6;
pub const COLON: u64 = 1 << 7;
pub const DASH: u64 = 1 << 8;
pub const PLUS: u64 = 1 << 10;
pub const PARENTHESIS: u64 = 1 << 16;
pub const CAPITAL: u64 = 1 << 31;

const CLASSES: [u64; 256] = classes();

/// The bits of some letters.
pub const fn letters(word: &[u8]) -> u64 {
    let mut mask = 0;
    let mut at = 0;
    while at < word.len() {
        mask |= letter(word[at]);
        at += 1;
    }
    mask
}

const fn letter(byte: u8) -> u64 {
    1 << (32 + (byte.to_ascii_lowercase() - b'a'))
}

const fn classes() -> [u64; 256] {
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
            upper @ b'A'..=b'Z' => LETTER | CAPITAL | letter(upper),
            lower @ b'a'..=b'z' => LETTER | letter(lower),
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
    classes: u64,
    digits: usize,
    dots: usize,
    len: usize,
}

impl Profile {
    pub fn of(text: &[u8]) -> Profile {
        let (eights, rest) = text.as_chunks::<8>();
        let class = |byte: u8| CLASSES[usize::from(byte)];
        // Independent lookups, so that none waits for another.
        let of_eight = |[a, b, c, d, e, f, g, h]: &[u8; 8]| {
            (class(*a) | class(*b)) | (class(*c) | class(*d)) | ((class(*e) | class(*f)) | (class(*g) | class(*h)))
        };
        let classes = eights.iter().fold(0, |classes, eight| classes | of_eight(eight));
        let classes = rest.iter().fold(classes, |classes, byte| classes | class(*byte));
        let count = |class: u64, is_one: fn(&&u8) -> bool| {
            if classes & class == 0 { 0 } else { text.iter().filter(is_one).count() }
        };
        let digits = count(DIGIT, |byte| byte.is_ascii_digit());
        let dots = count(DOT, |byte| **byte == b'.');
        Profile { classes, digits, dots, len: text.len() }
    }

    pub fn has(self, classes: u64) -> bool {
        self.classes & classes == classes
    }
}

/// What a text has at least if a pattern matches somewhere in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// All of these classes.
    pub classes: u64,
    /// Any of these, if there are some.
    pub any: u64,
    pub digits: usize,
    pub dots: usize,
    pub len: usize,
}

impl Needs {
    pub fn are_met(&self, profile: Profile) -> bool {
        profile.len >= self.len
            && profile.digits >= self.digits
            && profile.dots >= self.dots
            && profile.has(self.classes)
            && (self.any == 0 || profile.classes & self.any != 0)
    }

    /// Those of a regular expression.
    pub fn of(pattern: &Hir) -> Needs {
        let Required { classes, digits, dots } = required(pattern);
        Needs { classes, any: 0, digits, dots, len: pattern.properties().minimum_len().unwrap_or(0) }
    }

    /// What a text has at least if any of several matches.
    pub fn either(self, other: Needs) -> Needs {
        let any = if self.any == 0 || other.any == 0 { 0 } else { self.any | other.any };
        Needs {
            classes: self.classes & other.classes,
            any,
            digits: self.digits.min(other.digits),
            dots: self.dots.min(other.dots),
            len: self.len.min(other.len),
        }
    }
}

/// What is in every match: classes, and so many digits and dots.
#[derive(Clone, Copy, Default)]
struct Required {
    classes: u64,
    digits: usize,
    dots: usize,
}

impl Required {
    fn both(self, other: Required) -> Required {
        Required {
            classes: self.classes | other.classes,
            digits: self.digits.saturating_add(other.digits),
            dots: self.dots.saturating_add(other.dots),
        }
    }

    fn either(self, other: Required) -> Required {
        Required {
            classes: self.classes & other.classes,
            digits: self.digits.min(other.digits),
            dots: self.dots.min(other.dots),
        }
    }
}

fn required(pattern: &Hir) -> Required {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => Required::default(),
        HirKind::Literal(literal) => {
            let Profile { classes, digits, dots, .. } = Profile::of(&literal.0);
            Required { classes, digits, dots }
        }
        HirKind::Class(class) => required_of_class(class),
        HirKind::Repetition(repeated) if repeated.min == 0 => Required::default(),
        HirKind::Repetition(repeated) => {
            let Required { classes, digits, dots } = required(&repeated.sub);
            let times = repeated.min as usize;
            Required { classes, digits: digits.saturating_mul(times), dots: dots.saturating_mul(times) }
        }
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Concat(parts) => parts.iter().map(required).fold(Required::default(), Required::both),
        HirKind::Alternation(parts) => parts.iter().map(required).reduce(Required::either).unwrap_or_default(),
    }
}

/// What all characters of a class have in common.
fn required_of_class(class: &Class) -> Required {
    let ascii: Option<Vec<(u8, u8)>> = match class {
        Class::Unicode(class) => {
            let bound = |c: char| u8::try_from(c).ok().filter(u8::is_ascii);
            class.iter().map(|range| Some((bound(range.start())?, bound(range.end())?))).collect()
        }
        Class::Bytes(class) => Some(class.iter().map(|range| (range.start(), range.end())).collect()),
    };
    let bytes = ascii.into_iter().flatten().flat_map(|(start, end)| start..=end);
    let classes = bytes.map(|byte| CLASSES[usize::from(byte)]).reduce(|one, other| one & other).unwrap_or(0);
    Required { classes, digits: usize::from(classes & DIGIT != 0), dots: usize::from(classes & DOT != 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(pattern: &str) -> Needs {
        Needs::of(&regex_syntax::parse(pattern).unwrap())
    }

    #[test]
    fn needs_of_patterns() {
        assert_eq!(needs("4[0-9]{12}(?:[0-9]{3})?"), Needs { classes: DIGIT, digits: 13, len: 13, ..Needs::default() });
        assert_eq!(
            needs(r"[a-z]+@[a-z]+\.com"),
            Needs { classes: LETTER | AT | DOT | letters(b"com"), dots: 1, len: 7, ..Needs::default() }
        );
        assert_eq!(needs("(?i)sid="), Needs { classes: LETTER | letters(b"id") | 1 << 11, len: 4, ..Needs::default() });
        assert_eq!(
            needs(r"([0-9]{1,3}\.){3}[0-9]"),
            Needs { classes: DIGIT | DOT, digits: 4, dots: 3, len: 7, any: 0 }
        );
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
    fn every_byte_has_one_kind() {
        assert!(CLASSES.iter().all(|class| (class & (CAPITAL - 1)).count_ones() == 1));
        assert_eq!(letters(b"Az"), 1 << 32 | 1 << 57);
    }

    #[test]
    fn a_profile_is_of_the_whole_text() {
        for at in 0..20 {
            let mut text = [b'x'; 20];
            text[at] = b'@';
            assert!(Profile::of(&text).has(AT | letters(b"x")), "{at}");
        }
    }
}
