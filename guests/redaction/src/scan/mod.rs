//! Finds what is to be hidden in a text: one pass over its bytes says what it can hold, one scan for all patterns whether any matches.

pub mod patterns;
pub mod percent;
pub mod profile;

use std::borrow::Cow;
use std::ops::Range;

use crate::detect::{Detector, Found};
use patterns::Patterns;
use profile::{Needs, PERCENT, Profile};

/// How often percent-encoding is taken off.
const DECODES_MAX: usize = 2;

/// What is looked for.
#[derive(Debug, Default)]
pub struct Scanner {
    blocked: Patterns,
    allowed: Patterns,
    detectors: Vec<(Detector, Needs)>,
    /// Those of them that keys tell something.
    by_key: Vec<Detector>,
}

/// What looked for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finder {
    /// By its number.
    Pattern(usize),
    Detector(Detector),
}

/// A stretch of a text that is to be hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch<'t> {
    /// In the text as it is.
    pub range: Range<usize>,
    pub by: Finder,
    /// What it says, without percent-encoding.
    pub says: Cow<'t, [u8]>,
}

impl Stretch<'_> {
    pub fn into_owned(self) -> Stretch<'static> {
        Stretch { range: self.range, by: self.by, says: Cow::Owned(self.says.into_owned()) }
    }
}

impl Scanner {
    pub fn new(blocked: Patterns, allowed: Patterns, detectors: &[Detector]) -> Scanner {
        let by_key = detectors.iter().copied().filter(|detector| detector.reads_keys()).collect();
        let detectors = detectors.iter().map(|detector| (*detector, detector.needs())).collect();
        Scanner { blocked, allowed, detectors, by_key }
    }

    /// The stretches to hide, in order, without overlaps. The key says what some texts are.
    pub fn scan<'t>(&self, key: &[u8], text: &'t [u8]) -> Vec<Stretch<'t>> {
        let profile = Profile::of(text);
        let mut stretches = Vec::new();
        self.find(key, text, profile, |by, range| {
            stretches.push(Stretch { says: Cow::Borrowed(&text[range.clone()]), range, by });
        });
        if profile.has(PERCENT) {
            self.find_decoded(key, text, &mut stretches);
        }
        merge(text, stretches)
    }

    /// The stretches to hide because of patterns, in a number or a boolean.
    pub fn scan_patterns<'t>(&self, text: &'t [u8]) -> Vec<Stretch<'t>> {
        let mut stretches = Vec::new();
        let found = |number, range: Range<usize>| {
            let says = Cow::Borrowed(&text[range.clone()]);
            stretches.push(Stretch { range, by: Finder::Pattern(number), says });
        };
        self.find_patterns(text, Profile::of(text), found);
        merge(text, stretches)
    }

    /// Whether the operator allowed this text.
    pub fn is_allowed(&self, text: &[u8]) -> bool {
        self.allowed.is_match(text, Profile::of(text))
    }

    /// Whether a number is one of a payment card.
    pub fn is_card(&self, digits: &[u8]) -> bool {
        self.detectors.iter().any(|(detector, _)| *detector == Detector::Card) && {
            let mut found = Found::new();
            Detector::Card.find(digits, Profile::of(digits), &mut found);
            matches!(&found[..], [only] if *only == (0..digits.len()))
        }
    }

    fn find_decoded<'t>(&self, key: &[u8], text: &'t [u8], stretches: &mut Vec<Stretch<'t>>) {
        let mut layers: Vec<percent::Decoded> = Vec::new();
        while layers.len() < DECODES_MAX {
            let encoded = layers.last().map_or(text, |layer| &layer.bytes);
            let Some(layer) = percent::decode(encoded) else { return };
            layers.push(layer);
            let Some(decoded) = layers.last().map(|layer| &layer.bytes) else { return };
            self.find(key, decoded, Profile::of(decoded), |by, range| {
                let says = Cow::Owned(decoded[range.clone()].to_vec());
                let range = layers.iter().rev().fold(range, |range, layer| layer.origin(range));
                stretches.push(Stretch { range, by, says });
            });
        }
    }

    fn find(&self, key: &[u8], text: &[u8], profile: Profile, mut found: impl FnMut(Finder, Range<usize>)) {
        self.find_patterns(text, profile, |number, range| found(Finder::Pattern(number), range));
        let mut ranges = Found::new();
        let mut keep = |detector: Detector, ranges: &mut Found| {
            if !ranges.is_empty() {
                self.retain_blocked(text, profile, ranges);
                ranges.drain(..).for_each(|range| found(Finder::Detector(detector), range));
            }
        };
        for (detector, needs) in &self.detectors {
            if needs.are_met(profile) {
                detector.find(text, profile, &mut ranges);
                keep(*detector, &mut ranges);
            }
        }
        for detector in self.by_key.iter().filter(|_| !key.is_empty()) {
            detector.find_by_key(key, text, &mut ranges);
            keep(*detector, &mut ranges);
        }
    }

    fn find_patterns(&self, text: &[u8], profile: Profile, mut found: impl FnMut(usize, Range<usize>)) {
        if !self.blocked.is_match(text, profile) {
            return;
        }
        let mut ranges = Vec::new();
        for (number, pattern) in self.blocked.iter() {
            pattern.find(text, profile, &mut ranges);
            self.retain_blocked(text, profile, &mut ranges);
            ranges.drain(..).for_each(|range| found(number, range));
        }
    }

    /// Takes out what overlaps something that the operator allowed.
    fn retain_blocked(&self, text: &[u8], profile: Profile, ranges: &mut Vec<Range<usize>>) {
        if !ranges.is_empty() && !self.allowed.is_empty() {
            let allowed = Allowed::of(&self.allowed, text, profile);
            ranges.retain(|range| !allowed.overlaps(range));
        }
    }
}

/// The stretches that the operator allowed, in order and without overlaps.
struct Allowed(Vec<Range<usize>>);

impl Allowed {
    fn of(patterns: &Patterns, text: &[u8], profile: Profile) -> Allowed {
        let mut all = Vec::new();
        patterns.iter().for_each(|(_, pattern)| pattern.find(text, profile, &mut all));
        all.sort_by_key(|range| range.start);
        all.dedup_by(|next, last| {
            let overlaps = next.start < last.end;
            last.end = if overlaps { last.end.max(next.end) } else { last.end };
            overlaps
        });
        Allowed(all)
    }

    fn overlaps(&self, range: &Range<usize>) -> bool {
        let next = self.0.partition_point(|allowed| allowed.end <= range.start);
        self.0.get(next).is_some_and(|allowed| allowed.start < range.end)
    }
}

/// Joins stretches that overlap; what is found first names the whole.
fn merge<'t>(text: &'t [u8], mut stretches: Vec<Stretch<'t>>) -> Vec<Stretch<'t>> {
    if stretches.len() < 2 {
        return stretches;
    }
    stretches.sort_by_key(|stretch| (stretch.range.start, std::cmp::Reverse(stretch.range.end)));
    let mut merged: Vec<Stretch<'t>> = Vec::with_capacity(stretches.len());
    for stretch in stretches {
        match merged.last_mut().filter(|last| stretch.range.start < last.range.end) {
            Some(last) if stretch.range.end > last.range.end => {
                last.range.end = stretch.range.end;
                last.says = Cow::Borrowed(&text[last.range.clone()]);
            }
            Some(_) => {}
            None => merged.push(stretch),
        }
    }
    merged
}
