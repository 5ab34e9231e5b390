//! Where in a text each value stands, to the byte, its end included: what an edit needs and a tree of values does not have.

use std::ops::Range;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use crate::config::parse::DEPTH_MAX;

/// A value of the text.
#[derive(Debug)]
pub(super) struct Spot {
    /// From its first byte, that of an anchor included, to after its last; comments and line breaks after it are not in it, nor is the
    /// header of a block scalar.
    pub(super) bytes: Range<usize>,
    pub(super) shape: Shape,
    /// Whether it, or something in it, has an anchor or a tag.
    pub(super) is_marked: bool,
}

#[derive(Debug)]
pub(super) enum Shape {
    Map {
        entries: Vec<SpotEntry>,
        is_flow: bool,
    },
    List {
        items: Vec<Rc<Spot>>,
        is_flow: bool,
    },
    /// The text as it is read.
    Scalar(String),
    /// `*name`.
    Alias,
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct SpotEntry {
    pub(super) key: String,
    pub(super) key_bytes: Range<usize>,
    pub(super) value: Rc<Spot>,
}

impl Spot {
    /// The value of the only document of a text; None where there is none.
    pub(super) fn of(text: &str) -> Option<Spot> {
        let mut offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        offsets.push(text.len());
        let mut reader = Reader { text, offsets, open: Vec::new(), root: None };
        for event in Parser::new_from_str(text) {
            let (event, span) = event.ok()?;
            reader.event(&event, span)?;
        }
        reader.root
    }

    pub(super) fn entries(&self) -> &[SpotEntry] {
        match &self.shape {
            Shape::Map { entries, .. } => entries,
            _ => &[],
        }
    }

    pub(super) fn entry(&self, key: &str) -> Option<&SpotEntry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub(super) fn is_flow(&self) -> bool {
        matches!(self.shape, Shape::Map { is_flow: true, .. } | Shape::List { is_flow: true, .. })
    }

    pub(super) fn is_block(&self) -> bool {
        matches!(self.shape, Shape::Map { is_flow: false, .. } | Shape::List { is_flow: false, .. })
    }
}

struct Reader<'a> {
    text: &'a str,
    /// Byte offset of each character, and of the end.
    offsets: Vec<usize>,
    open: Vec<Open>,
    root: Option<Spot>,
}

struct Open {
    start: usize,
    is_marked: bool,
    is_flow: bool,
    kind: Kind,
}

enum Kind {
    Map { entries: Vec<SpotEntry>, key: Option<(String, Range<usize>)> },
    List(Vec<Rc<Spot>>),
}

impl Reader<'_> {
    /// None where the text is none that can be edited.
    fn event(&mut self, event: &Event<'_>, span: Span) -> Option<()> {
        let bytes = self.at(&span.start)..self.at(&span.end);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if let Some(Open { kind: Kind::Map { key: key @ None, .. }, .. }) = self.open.last_mut() {
                    *key = Some((text.to_string(), bytes));
                    return Some(());
                }
                let bytes = self.scalar_bytes(bytes, *style);
                let is_marked = *anchor > 0 || tag.is_some();
                self.value(Spot { bytes, shape: Shape::Scalar(text.to_string()), is_marked })
            }
            Event::Alias(_) => self.value(Spot { bytes, shape: Shape::Alias, is_marked: false }),
            Event::MappingStart(anchor, tag) => {
                self.open(bytes.start, *anchor > 0 || tag.is_some(), Kind::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(bytes.start, *anchor > 0 || tag.is_some(), Kind::List(Vec::new()))
            }
            Event::MappingEnd | Event::SequenceEnd => self.close(bytes),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Some(())
            }
        }
    }

    fn at(&self, marker: &Marker) -> usize {
        self.offsets.get(marker.index()).copied().unwrap_or(self.text.len())
    }

    /// The parser's spans reach over what follows a scalar: white space, behind quotes comments, too.
    fn scalar_bytes(&self, bytes: Range<usize>, style: ScalarStyle) -> Range<usize> {
        match style {
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                let text = self.text.get(bytes.clone()).unwrap_or_default();
                let quote = if style == ScalarStyle::SingleQuoted { '\'' } else { '"' };
                // Behind its anchor or tag, which cannot hold a quote.
                let start = text.find(quote).unwrap_or(0);
                let length = text.get(start..).and_then(quoted_bytes);
                bytes.start..length.map_or(bytes.end, |length| bytes.start + start + length)
            }
            ScalarStyle::Plain | ScalarStyle::Literal | ScalarStyle::Folded => {
                let text = self.text.get(bytes.clone()).unwrap_or_default();
                bytes.start..bytes.start + text.trim_end().len()
            }
        }
    }

    fn open(&mut self, start: usize, is_marked: bool, kind: Kind) -> Option<()> {
        if self.open.len() >= DEPTH_MAX {
            return None;
        }
        let is_flow = self.text.get(start..)?.starts_with(['{', '[']);
        self.open.push(Open { start, is_marked, is_flow, kind });
        Some(())
    }

    fn close(&mut self, bytes: Range<usize>) -> Option<()> {
        let Open { start, is_marked, is_flow, kind } = self.open.pop()?;
        let (shape, last, is_marked_within) = match kind {
            Kind::Map { entries, .. } => {
                let last = entries.last().map(|entry| entry.value.bytes.end.max(entry.key_bytes.end));
                let is_marked = entries.iter().any(|entry| entry.value.is_marked);
                (Shape::Map { entries, is_flow }, last, is_marked)
            }
            Kind::List(items) => {
                let last = items.last().map(|item| item.bytes.end);
                let is_marked = items.iter().any(|item| item.is_marked);
                (Shape::List { items, is_flow }, last, is_marked)
            }
        };
        let end = match is_flow {
            // The bracket is the last byte of the event, or the one that it points at.
            true => {
                let is_bracket = |end: usize| end > 0 && matches!(self.text.as_bytes().get(end - 1), Some(b'}' | b']'));
                [bytes.end, bytes.start + 1].into_iter().find(|&end| is_bracket(end))?
            }
            false => last.unwrap_or(start),
        };
        self.value(Spot { bytes: start..end, shape, is_marked: is_marked || is_marked_within })
    }

    fn value(&mut self, mut spot: Spot) -> Option<()> {
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(spot),
            Some(Kind::List(items)) => items.push(Rc::new(spot)),
            Some(Kind::Map { entries, key }) => {
                let (key, key_bytes) = key.take()?;
                if spot.bytes.is_empty() && matches!(spot.shape, Shape::Scalar(_)) {
                    // Nothing stands there: the place after the colon.
                    let colon = self.text.get(key_bytes.end..)?.find(':')?;
                    let end = key_bytes.end + colon + 1;
                    spot.bytes = end..end;
                }
                entries.push(SpotEntry { key, key_bytes, value: Rc::new(spot) });
            }
        }
        Some(())
    }
}

/// Length of the quoted scalar that a text begins with (YAML 1.2.2, sections 7.3.1 and 7.3.2).
fn quoted_bytes(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => {
                chars.next();
            }
            _ if c != quote => {}
            // Two of them are one within.
            '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
            }
            _ => return Some(at + 1),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each scalar of the text, in order, with what stands in the text for it.
    fn scalars<'t>(spot: &Spot, text: &'t str, found: &mut Vec<(String, &'t str)>) {
        match &spot.shape {
            Shape::Scalar(value) => found.push((value.clone(), &text[spot.bytes.clone()])),
            Shape::Alias => found.push(("*".to_owned(), &text[spot.bytes.clone()])),
            Shape::List { items, .. } => items.iter().for_each(|item| scalars(item, text, found)),
            Shape::Map { entries, .. } => {
                for entry in entries {
                    found.push((entry.key.clone(), &text[entry.key_bytes.clone()]));
                    scalars(&entry.value, text, found);
                }
            }
        }
    }

    #[test]
    fn values_reach_from_their_first_byte_to_their_last() {
        let text = "# é\na: é b   # c\n'b': \"x\\\"\\ny\"   # '\nc: |\n  one\n  two\n\nk: &l 'v''v' # w\nd:\n  - {e: [f, g ], h: }  # i\n  - *l\nj:\n";
        let spot = Spot::of(text).expect("YAML");
        let mut found = Vec::new();
        scalars(&spot, text, &mut found);
        let found: Vec<_> = found.iter().map(|(value, text)| (value.as_str(), *text)).collect();
        let expected = [
            ("a", "a"),
            ("é b", "é b"),
            ("b", "'b'"),
            ("x\"\ny", "\"x\\\"\\ny\""),
            ("c", "c"),
            // Behind the header of a block.
            ("one\ntwo\n", "one\n  two"),
            ("k", "k"),
            ("v'v", "&l 'v''v'"),
        ];
        assert_eq!(found[..8], expected);
        let list = spot.entry("d").map(|entry| &entry.value).expect("there");
        assert_eq!(&text[list.bytes.clone()], "- {e: [f, g ], h: }  # i\n  - *l");
        assert!(list.is_block() && !list.is_flow());
        let Shape::List { items, .. } = &list.shape else { panic!("a list") };
        assert_eq!(&text[items[0].bytes.clone()], "{e: [f, g ], h: }");
        assert_eq!(&text[items[0].entries()[0].value.bytes.clone()], "[f, g ]");
        let empty = spot.entry("j").map(|entry| &entry.value).expect("there");
        assert_eq!(text[..empty.bytes.start].chars().next_back(), Some(':'));
        assert!(spot.is_marked && spot.entry("k").is_some_and(|entry| entry.value.is_marked));
        assert!(!list.is_marked);
    }
}
