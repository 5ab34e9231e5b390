//! The operator's regular expressions, asked together first and one by one only where any of them matches.

use std::ops::Range;

use regex_automata::meta::{BuildError, Regex};
use regex_automata::util::syntax;
use regex_automata::{Input, nfa::thompson::WhichCaptures};
use regex_syntax::hir::Hir;

use super::profile::{Needs, Profile};

/// Memory of one compiled pattern, of all of a list together, and of what matching caches for each.
const PATTERN_BYTES_MAX: usize = 256 << 10;
const LIST_BYTES_MAX: usize = 2 << 20;
const PATTERN_CACHE_BYTES_MAX: usize = 256 << 10;
const LIST_CACHE_BYTES_MAX: usize = 2 << 20;

/// A list of patterns.
#[derive(Debug, Default)]
pub struct Patterns {
    joint: Option<Regex>,
    each: Vec<Pattern>,
    needs: Needs,
}

/// One of them.
#[derive(Debug)]
pub struct Pattern {
    regex: Regex,
    needs: Needs,
}

impl Patterns {
    /// Compiles patterns in Go's syntax. The errors are all that were found, each with the number of its pattern; None is the
    /// number of an error of all together.
    pub fn new(patterns: &[String]) -> Result<Patterns, Vec<(Option<usize>, String)>> {
        let (mut hirs, mut each, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (number, pattern) in patterns.iter().enumerate() {
            match Pattern::new(pattern) {
                Ok((hir, pattern)) => {
                    hirs.push(hir);
                    each.push(pattern);
                }
                Err(error) => errors.push((Some(number), error)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let joint = match &each[..] {
            [] => None,
            [one] => Some(one.regex.clone()),
            _ => Some(build(&hirs, LIST_BYTES_MAX, LIST_CACHE_BYTES_MAX).map_err(|error| vec![(None, error)])?),
        };
        let needs = each.iter().map(|pattern| pattern.needs).reduce(Needs::either).unwrap_or_default();
        Ok(Patterns { joint, each, needs })
    }

    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Whether any of them matches.
    pub fn is_match(&self, text: &[u8], profile: Profile) -> bool {
        self.joint
            .as_ref()
            .is_some_and(|joint| self.may_match(profile) && joint.is_match(Input::new(text).earliest(true)))
    }

    /// Each of them with its number.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Pattern)> {
        self.each.iter().enumerate()
    }

    fn may_match(&self, profile: Profile) -> bool {
        self.needs.are_met(profile) && self.each.iter().any(|pattern| pattern.needs.are_met(profile))
    }
}

impl Pattern {
    /// Appends all matches that are not empty.
    pub fn find(&self, text: &[u8], profile: Profile, found: &mut Vec<Range<usize>>) {
        if self.needs.are_met(profile) {
            found.extend(self.regex.find_iter(text).map(|matched| matched.range()).filter(|range| !range.is_empty()));
        }
    }

    fn new(pattern: &str) -> Result<(Hir, Pattern), String> {
        let syntax = syntax::Config::new().utf8(true);
        let hir = syntax::parse_with(&go_regex::translate(pattern), &syntax)
            .map_err(|error| go_regex::message(&error.to_string()).to_owned())?;
        let regex = build(std::slice::from_ref(&hir), PATTERN_BYTES_MAX, PATTERN_CACHE_BYTES_MAX)?;
        let needs = Needs::of(&hir);
        Ok((hir, Pattern { regex, needs }))
    }
}

fn build(patterns: &[Hir], bytes_max: usize, cache_bytes_max: usize) -> Result<Regex, String> {
    let config = Regex::config()
        .utf8_empty(false)
        .which_captures(WhichCaptures::Implicit)
        .nfa_size_limit(Some(bytes_max))
        .hybrid_cache_capacity(cache_bytes_max);
    Regex::builder().configure(config).build_many_from_hir(patterns).map_err(|error| describe(&error, bytes_max))
}

fn describe(error: &BuildError, bytes_max: usize) -> String {
    match error.size_limit() {
        Some(_) => format!("takes more than {} KiB compiled", bytes_max >> 10),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(patterns: &[&str], text: &str) -> Vec<(usize, Range<usize>)> {
        let patterns =
            Patterns::new(&patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>()).unwrap();
        let profile = Profile::of(text.as_bytes());
        let mut all = Vec::new();
        for (number, pattern) in patterns.iter().filter(|_| patterns.is_match(text.as_bytes(), profile)) {
            let mut ranges = Vec::new();
            pattern.find(text.as_bytes(), profile, &mut ranges);
            all.extend(ranges.into_iter().map(|range| (number, range)));
        }
        all
    }

    #[test]
    fn each_pattern_finds_all_of_its_own() {
        assert_eq!(found(&["ab", "bc+"], "abcc ab"), [(0, 0..2), (0, 5..7), (1, 1..4)]);
        assert_eq!(found(&["x*", "[0-9]+"], "a1"), [(1, 1..2)], "what is empty is nothing to hide");
        assert_eq!(found(&["^a$"], "a\na"), []);
    }

    #[test]
    fn bytes_that_are_no_text_are_scanned_too() {
        let patterns = Patterns::new(&["key=[a-z]+".to_owned()]).unwrap();
        let mut ranges = Vec::new();
        let bytes = b"\xff\xfekey=abc\xff k\xe9y=";
        patterns.iter().for_each(|(_, pattern)| pattern.find(bytes, Profile::of(bytes), &mut ranges));
        assert_eq!(ranges[0], 2..9);
        assert_eq!(ranges.len(), 1);
    }

    #[test]
    fn all_errors_come_with_their_numbers() {
        let patterns = ["a(b", "ok", "(a{100}){1000}"].map(str::to_owned);
        let errors = Patterns::new(&patterns).unwrap_err();
        assert_eq!(errors[0], (Some(0), "unclosed group".to_owned()));
        assert_eq!(errors[1], (Some(2), "takes more than 256 KiB compiled".to_owned()));
    }
}
