//! What a call changes: collected first, so that everything to be hashed is hashed at once, then made.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use sluicebox_guest::{Batch, NewValue, Place, Value};

use crate::mask::{Mask, Masked};
use crate::rules::{Reason, Rules};
use crate::scan::Stretch;
use crate::span_names::SpanNames;

/// What is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// By its number.
    Leaf(u32, Kind),
    /// By its number.
    Key(u32),
    /// How a key that is removed is called in the summary.
    ShownKey(u32),
    /// The entry of the tuple that spans' names are read by.
    SpanName(u32),
}

/// What a leaf becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Bytes,
}

impl Kind {
    /// Texts of the protocol cannot become bytes.
    pub fn of(value: Value<'_>, place: Place) -> Kind {
        let holds_any = is_attributes(place) || place == Place::LogBody;
        if holds_any && matches!(value, Value::Bytes(_)) { Kind::Bytes } else { Kind::Text }
    }
}

/// Whether attributes are at this place.
pub fn is_attributes(place: Place) -> bool {
    use Place::*;
    matches!(
        place,
        ResourceAttributes
            | ScopeAttributes
            | SpanAttributes
            | SpanEventAttributes
            | SpanLinkAttributes
            | LogAttributes
            | MetricMetadata
            | DatapointAttributes
            | ExemplarAttributes
    )
}

/// The edits of a call; what they hide is kept apart, in order.
#[derive(Debug, Default)]
pub struct Edits<'b> {
    edits: Vec<Edit<'b>>,
    hidden: Vec<Cow<'b, [u8]>>,
}

#[derive(Debug)]
struct Edit<'b> {
    target: Target,
    reason: Reason,
    text: Cow<'b, [u8]>,
    /// Stretches of the text to be hidden; the first of them is `hidden[first_hidden]`.
    ranges: Vec<Range<usize>>,
    first_hidden: usize,
}

impl<'b> Edits<'b> {
    /// Hides all of a text.
    pub fn hide(&mut self, target: Target, reason: Reason, text: Cow<'b, [u8]>) {
        // Also an empty one: that it is empty is not to be seen.
        let ranges = std::iter::once(0..text.len()).collect();
        self.edits.push(Edit { target, reason, text: Cow::Borrowed(&[]), ranges, first_hidden: self.hidden.len() });
        self.hidden.push(text);
    }

    /// Replaces a text, with stretches of it hidden.
    pub fn replace(&mut self, target: Target, reason: Reason, text: Cow<'b, [u8]>, stretches: Vec<Stretch<'b>>) {
        let first_hidden = self.hidden.len();
        let mut ranges = Vec::with_capacity(stretches.len());
        for stretch in stretches {
            ranges.push(stretch.range);
            self.hidden.push(stretch.says);
        }
        self.edits.push(Edit { target, reason, text, ranges, first_hidden });
    }

    /// Makes the edits. Returns the new names of keys.
    pub fn apply(self, batch: &Batch, mask: &Mask, rules: &Rules, names: Option<&SpanNames>) -> HashMap<u32, String> {
        let hidden: Vec<&[u8]> = self.hidden.iter().map(AsRef::as_ref).collect();
        let masked = mask.hide(&hidden);
        let mut by_rule: Vec<ByRule> = (0..rules.len()).map(|_| ByRule::default()).collect();
        let mut shown = HashMap::new();
        for edit in &self.edits {
            let new = edit.render(&masked);
            let Some(of) = by_rule.get_mut(rules.number(edit.reason)) else { continue };
            match edit.target {
                Target::Leaf(number, Kind::Bytes) => of.leaves.push((number, NewValue::Bytes(new))),
                Target::Leaf(number, Kind::Text) => of.leaves.push((number, NewValue::Str(text_of(new)))),
                Target::Key(number) => of.keys.push((number, text_of(new))),
                Target::ShownKey(number) => drop(shown.insert(number, text_of(new))),
                Target::SpanName(entry) => drop(of.names.insert(entry, text_of(new))),
            }
        }
        for (number, of) in by_rule.iter().enumerate() {
            let Some(rule) = rules.get(number) else { continue };
            let leaves: Vec<(u32, Value<'_>)> = of.leaves.iter().map(|(leaf, new)| (*leaf, new.as_value())).collect();
            batch.replace_leaves(&leaves, rule);
            let keys: Vec<(u32, &str)> = of.keys.iter().map(|(key, new)| (*key, new.as_str())).collect();
            batch.rename_keys(&keys, rule);
        }
        // After leaves, as the name of a span can be one of them.
        for (number, of) in by_rule.iter().enumerate().filter(|(_, of)| !of.names.is_empty()) {
            if let (Some(rule), Some(names)) = (rules.get(number), names) {
                names.set(batch, &of.names, rule);
            }
        }
        shown.extend(by_rule.into_iter().flat_map(|of| of.keys));
        shown
    }
}

#[derive(Debug, Default)]
struct ByRule {
    leaves: Vec<(u32, NewValue)>,
    keys: Vec<(u32, String)>,
    names: HashMap<u32, String>,
}

impl Edit<'_> {
    fn render(&self, masked: &Masked<'_>) -> Vec<u8> {
        let mut new = Vec::with_capacity(self.text.len() + 8);
        let mut at = 0;
        for (number, range) in self.ranges.iter().enumerate() {
            new.extend_from_slice(self.text.get(at..range.start).unwrap_or_default());
            new.extend_from_slice(masked.get(self.first_hidden + number).as_bytes());
            at = range.end;
        }
        new.extend_from_slice(self.text.get(at..).unwrap_or_default());
        new
    }
}

/// Texts stay texts; of bytes that are none, what is not text is replaced.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
