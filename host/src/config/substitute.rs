//! `${env:X}`, `${env:X:-default}`, `${X}`, `${file:X}` and `$$` within scalars. It happens after parsing, so what a variable holds
//! never becomes structure, and what it holds is not looked at again. A scalar that is one `${file:X}` and nothing else is not
//! handled here: what such a file holds stands in its place ([`super::include`]).

use std::fmt::Write as _;

use super::code::Code;
use super::report::Problem;
use super::source::Place;

/// A scalar with its references replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    /// The text.
    pub(super) text: String,
    /// How many references there were.
    pub(super) references: usize,
    /// True if the scalar was one reference and nothing else: its value is typed as if it stood in the file.
    pub(super) whole: bool,
    /// The first variable that is not set and has no default: empty.
    pub(super) unset: Option<String>,
    /// Whether a file was named.
    pub(super) from_file: bool,
}

/// What references may name.
pub(super) trait Named {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// The text of a file; an error was told at `place` if there is none.
    fn text(&mut self, path: &str, place: Place, problems: &mut Vec<Problem>) -> Option<String>;
}

/// A part of a scalar.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Literal(&'a str),
    /// Between `${` and `}`.
    Reference(&'a str),
    /// A `${` without an end, and the rest of the text.
    Unclosed(&'a str),
}

/// Replaces the references of a scalar. `place` tells where the n-th one stands, from 0.
pub(super) fn expand(
    scalar: &str,
    named: &mut dyn Named,
    place: impl Fn(usize) -> Place,
    problems: &mut Vec<Problem>,
) -> Expanded {
    let text = String::with_capacity(scalar.len());
    let mut expanded = Expanded { text, references: 0, whole: false, unset: None, from_file: false };
    let mut literals = false;
    for piece in pieces(scalar) {
        match piece {
            Piece::Literal(text) => {
                literals = true;
                expanded.text.push_str(text);
                continue;
            }
            Piece::Reference(body) => match lookup(body, named, place(expanded.references), problems) {
                Looked::Value(value) => expanded.text.push_str(&value),
                Looked::File(text) => {
                    expanded.from_file = true;
                    expanded.text.push_str(&text);
                }
                Looked::Unset(name) => expanded.unset = expanded.unset.or(Some(name)),
                Looked::Bad => {
                    let _infallible = write!(expanded.text, "${{{body}}}");
                }
            },
            Piece::Unclosed(rest) => {
                expanded.text.push_str(rest);
                problems.push(Problem::new(
                    Code::BadReference,
                    place(expanded.references),
                    "a \"${\" is never closed",
                    "close it with \"}\", or write \"$${\" for the text \"${\"",
                ));
            }
        }
        expanded.references += 1;
    }
    expanded.whole = expanded.references == 1 && !literals;
    expanded
}

/// The path of a scalar that is one `${file:...}` and nothing else.
pub(super) fn whole_file(scalar: &str) -> Option<&str> {
    let path = scalar.strip_prefix("${file:")?.strip_suffix('}')?;
    (!path.contains('}')).then_some(path)
}

/// Byte ranges of the references in a piece of source text.
pub(super) fn references(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let start = text.as_ptr() as usize;
    pieces(text).filter_map(move |piece| match piece {
        Piece::Literal(_) => None,
        Piece::Reference(body) => Some((body.as_ptr() as usize - start - 2, body.len() + 3)),
        Piece::Unclosed(rest) => Some((rest.as_ptr() as usize - start, 2)),
    })
}

fn pieces(mut rest: &str) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some(after) = rest.strip_prefix("$$") {
            let dollar = &rest[..1];
            rest = after;
            return Some(Piece::Literal(dollar));
        }
        if let Some(after) = rest.strip_prefix("${") {
            return Some(match after.find('}') {
                Some(end) => {
                    rest = &after[end + 1..];
                    Piece::Reference(&after[..end])
                }
                None => Piece::Unclosed(std::mem::take(&mut rest)),
            });
        }
        // A lone `$` is a literal: regular expressions end with one.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest[first..].find('$').map_or(rest.len(), |index| index + first);
        let (literal, after) = rest.split_at(end);
        rest = after;
        Some(Piece::Literal(literal))
    })
}

enum Looked {
    Value(String),
    File(String),
    Unset(String),
    Bad,
}

fn lookup(body: &str, named: &mut dyn Named, place: Place, problems: &mut Vec<Problem>) -> Looked {
    let name_and_default = match body.split_once(':') {
        None => body,
        Some(("env", rest)) => rest,
        Some(("file", path)) => {
            return named.text(path, place, problems).map_or(Looked::Bad, Looked::File);
        }
        Some((name, rest)) if rest.starts_with('-') && is_variable_name(name) => body,
        Some((scheme, _)) => {
            problems.push(unknown_scheme(scheme, place));
            return Looked::Bad;
        }
    };
    let (name, default) = match name_and_default.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (name_and_default, None),
    };
    if !is_variable_name(name) {
        problems.push(Problem::new(
            Code::BadReference,
            place,
            format!("\"{name}\" is not the name of an environment variable"),
            "write \"${env:NAME}\" with letters, digits and underscores, or \"$${\" for the text \"${\"",
        ));
        return Looked::Bad;
    }
    match (named.variable(name), default) {
        (Some(value), _) => Looked::Value(value),
        (None, Some(default)) => Looked::Value(default.to_owned()),
        (None, None) => {
            problems.push(Problem::new(
                Code::UnsetIsEmpty,
                place,
                format!("environment variable \"{name}\" is not set, its value is empty"),
                format!("set it, or give a default: \"${{env:{name}:-default}}\""),
            ));
            Looked::Unset(name.to_owned())
        }
    }
}

fn unknown_scheme(scheme: &str, place: Place) -> Problem {
    let message = match scheme {
        "yaml" | "http" | "https" => format!("\"${{{scheme}:...}}\" is not supported yet"),
        _ => format!("\"{scheme}\" is not a known scheme of \"${{...}}\""),
    };
    Problem::new(
        Code::ReferenceScheme,
        place,
        message,
        "use an environment variable or a file: \"${env:NAME}\", \"${env:NAME:-default}\", \"${file:PATH}\"",
    )
}

fn is_variable_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_')
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Named for Fixed {
        fn variable(&self, name: &str) -> Option<String> {
            match name {
                "A" => Some("one".to_owned()),
                "B" => Some("${env:A}".to_owned()),
                "EMPTY" => Some(String::new()),
                _ => None,
            }
        }

        fn text(&mut self, path: &str, place: Place, problems: &mut Vec<Problem>) -> Option<String> {
            if path != "a" {
                problems.push(Problem::new(Code::Unreadable, place, "no such file", ""));
            }
            (path == "a").then(|| "file ${A}".to_owned())
        }
    }

    fn expanded(scalar: &str) -> (Expanded, Vec<Code>) {
        let mut problems = Vec::new();
        let expanded = expand(scalar, &mut Fixed, |_| Place::default(), &mut problems);
        (expanded, problems.into_iter().map(|problem| problem.code).collect())
    }

    #[test]
    fn references_are_replaced_once() {
        for (scalar, text, whole) in [
            ("${env:A}", "one", true),
            ("${A}", "one", true),
            ("${env:B}", "${env:A}", true),
            ("${env:NO:-two}", "two", true),
            ("${NO:-}", "", true),
            ("${env:NO:-a:-b}", "a:-b", true),
            ("${env:EMPTY:-two}", "", true),
            ("x${env:A}é${env:A}", "xoneéone", false),
            ("Bearer ${file:a}", "Bearer file ${A}", false),
            ("$${env:A}", "${env:A}", false),
            ("$$$${A}", "$${A}", false),
            ("$$${A}", "$one", false),
            ("^/health$", "^/health$", false),
            ("$A costs $5", "$A costs $5", false),
            ("é$", "é$", false),
            ("", "", false),
        ] {
            let (expanded, problems) = expanded(scalar);
            assert_eq!(
                (expanded.text.as_str(), expanded.whole, problems.as_slice()),
                (text, whole, &[][..]),
                "{scalar}"
            );
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_told_and_kept() {
        for (scalar, text, code) in [
            ("${env:A", "${env:A", Code::BadReference),
            ("${}", "${}", Code::BadReference),
            ("${1}", "${1}", Code::BadReference),
            ("${env:${A}}", "${env:${A}}", Code::BadReference),
            ("x ${file:b}", "x ${file:b}", Code::Unreadable),
            ("${yaml:x}", "${yaml:x}", Code::ReferenceScheme),
            ("${vault:x}", "${vault:x}", Code::ReferenceScheme),
            ("${env:NO}", "", Code::UnsetIsEmpty),
        ] {
            let (expanded, problems) = expanded(scalar);
            assert_eq!((expanded.text.as_str(), problems.as_slice()), (text, &[code][..]), "{scalar}");
        }
    }

    #[test]
    fn a_whole_file_is_one_reference_and_nothing_else() {
        assert_eq!(whole_file("${file:rules.yaml}"), Some("rules.yaml"));
        for scalar in ["x${file:a}", "${file:a} ", "${file:a}${file:b}", "$${file:a}", "${env:A}", "${file:a"] {
            assert_eq!(whole_file(scalar), None, "{scalar}");
        }
    }

    #[test]
    fn references_are_found_in_source_text() {
        assert_eq!(references("a $${b} ${c} ${d").collect::<Vec<_>>(), [(8, 4), (13, 2)]);
    }
}
