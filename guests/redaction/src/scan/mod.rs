//! Finds what is to be hidden in a text: one pass over its bytes says what it can hold, one scan for all patterns whether any matches.

pub mod patterns;
pub mod percent;
pub mod profile;

use std::borrow::Cow;
use std::ops::Range;

use crate::detect::{Detector, Found};
use patterns::Patterns;
use profile::{PERCENT, Profile};

/// How often percent-encoding is taken off.
const DECODES_MAX: usize = 2;

/// What is looked for.
#[derive(Debug, Default)]
pub struct Scanner {
    pub blocked: Patterns,
    pub allowed: Patterns,
    pub detectors: Vec<Detector>,
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
    /// The stretches to hide, in order, without overlaps. The key says what some texts are.
    pub fn scan<'t>(&self, key: &[u8], text: &'t [u8]) -> Vec<Stretch<'t>> {
        let profile = Profile::of(text);
        let mut stretches = Vec::new();
        self.find(&self.detectors, key, text, profile, |by, range| {
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
        self.find(&[], b"", text, Profile::of(text), |by, range| {
            stretches.push(Stretch { says: Cow::Borrowed(&text[range.clone()]), range, by });
        });
        merge(text, stretches)
    }

    /// Whether the operator allowed this text.
    pub fn is_allowed(&self, text: &[u8]) -> bool {
        self.allowed.is_match(text, Profile::of(text))
    }

    /// Whether a number is one of a payment card.
    pub fn is_card(&self, digits: &[u8]) -> bool {
        self.detectors.contains(&Detector::Card) && {
            let mut found = Found::new();
            Detector::Card.find(digits, &mut found);
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
            self.find(&self.detectors, key, decoded, Profile::of(decoded), |by, range| {
                let says = Cow::Owned(decoded[range.clone()].to_vec());
                let range = layers.iter().rev().fold(range, |range, layer| layer.origin(range));
                stretches.push(Stretch { range, by, says });
            });
        }
    }

    fn find(
        &self,
        detectors: &[Detector],
        key: &[u8],
        text: &[u8],
        profile: Profile,
        mut found: impl FnMut(Finder, Range<usize>),
    ) {
        let mut all: Vec<(Finder, Range<usize>)> = Vec::new();
        self.blocked.find(text, profile, |number, range| all.push((Finder::Pattern(number), range)));
        let mut ranges = Found::new();
        for detector in detectors {
            if detector.needs().are_met(profile) {
                detector.find(text, &mut ranges);
            }
            detector.find_by_key(key, text, &mut ranges);
            all.extend(ranges.drain(..).map(|range| (Finder::Detector(*detector), range)));
        }
        if !all.is_empty() && !self.allowed.is_empty() {
            let allowed = Allowed::of(&self.allowed, text, profile);
            all.retain(|(_, range)| !allowed.overlaps(range));
        }
        for (by, range) in all {
            found(by, range);
        }
    }
}

/// The stretches that the operator allowed, in order and without overlaps.
struct Allowed(Vec<Range<usize>>);

impl Allowed {
    fn of(patterns: &Patterns, text: &[u8], profile: Profile) -> Allowed {
        let mut all = Vec::new();
        patterns.find(text, profile, |_, range| all.push(range));
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
