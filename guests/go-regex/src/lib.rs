//! Regular expressions as Go reads them (RE2 syntax), in the syntax of the `regex` crate.
//!
//! The two differ in that Go's `\d`, `\w`, `\s` and `\b` are of ASCII, and in that Go's classes do not nest and have no set operations.

pub use regex::{Captures, Regex};

use regex::RegexBuilder;

/// Memory of one compiled pattern, and of what matching caches for it: 64 of both fit in a guest's memory.
const PATTERN_BYTES_MAX: usize = 256 << 10;
const CACHE_BYTES_MAX: usize = 256 << 10;

/// Compiles a pattern. The error is one line.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(&translate(pattern));
    let compiled = builder.size_limit(PATTERN_BYTES_MAX).dfa_size_limit(CACHE_BYTES_MAX).build();
    compiled.map_err(|error| message(&error.to_string()).to_owned())
}

/// The one line of an error of the `regex` crates that says what is wrong.
pub fn message(error: &str) -> &str {
    let last = error.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last)
}

/// The same pattern in the syntax of the `regex` crates, with their Unicode mode on. What is no pattern stays none.
pub fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut in_class = false;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped) => escape(escaped, in_class, &mut out),
                None => out.push('\\'),
            },
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                out.extend(chars.next_if_eq(&'^'));
                // A bracket that comes first is one of the class.
                if chars.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            '[' if chars.peek() == Some(&':') => {
                // A named class such as [:alpha:].
                out.push('[');
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '[' | '&' | '~' if in_class => out.extend(['\\', c]),
            // As in [a--]: the second is the end of the range. Written alone it can only be itself.
            '-' if in_class && out.ends_with('-') => out.push_str("\\-"),
            ']' => {
                in_class = false;
                out.push(']');
            }
            c => out.push(c),
        }
    }
    out
}

fn escape(escaped: char, in_class: bool, out: &mut String) {
    match escaped {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str("[\\t\\n\\f\\r ]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        'B' if !in_class => out.push_str("(?-u:\\B)"),
        escaped => out.extend(['\\', escaped]),
    }
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[track_caller]
    fn check(pattern: &str, matches: &[&str], others: &[&str]) {
        let regex = compile(pattern).unwrap();
        for text in matches {
            assert!(regex.is_match(text), "{pattern} should match {text:?}");
        }
        for text in others {
            assert!(!regex.is_match(text), "{pattern} should not match {text:?}");
        }
    }

    #[test]
    fn perl_classes_are_of_ascii() {
        check(r"^\d+$", &["123"], &["١٢٣", "a"]);
        check(r"^\w+$", &["snake_1"], &["é"]);
        check(r"^\s$", &[" ", "\t"], &["\u{a0}", "\u{b}"]);
        check(r"^\S\D\W$", &["aé-"], &["a1-"]);
        check(r"\bcat\b", &["a cat", "écaté cat"], &["concat"]);
    }

    #[test]
    fn classes_do_not_nest() {
        check(r"^[[a]$", &["[", "a"], &["b"]);
        check(r"^[a&&b]$", &["a", "&", "b"], &["c"]);
        check(r"^[]x]$", &["]", "x"], &["y"]);
        check(r"^[^]x]$", &["y"], &["]", "x"]);
        check(r"^[\d\-x]$", &["3", "-", "x"], &["d"]);
        check(r"^[[:alpha:]_]$", &["q", "_"], &["1", ":"]);
    }

    #[test]
    fn escaped_backslash_stays() {
        check(r"^\\d$", &[r"\d"], &["1"]);
        check(r"^\[x\]$", &["[x]"], &["x"]);
    }

    #[test]
    fn case_is_folded_beyond_ascii() {
        check(r"(?i)^straße É$", &["STRAßE é"], &["STRASSE E"]);
    }

    #[test]
    fn errors_are_one_line() {
        assert_eq!(compile("a(b").unwrap_err(), "unclosed group");
        assert_eq!(compile("*").unwrap_err(), "repetition operator missing expression");
        assert_eq!(compile("(a{100}){100}").unwrap_err(), "Compiled regex exceeds size limit of 262144 bytes.");
    }
}
