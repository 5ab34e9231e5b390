//! YAML text into a tree of values with places: anchors, merge keys and substitution resolved, every bound checked.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::code::Code;
use super::include::{Loader, Within};
use super::report::Problem;
use super::source::{Place, Source};
use super::substitute;
use super::tree::{Entry, Node, Substituted, Value, shortened, type_plain};

/// Deepest nesting of lists and maps.
pub const DEPTH_MAX: usize = 64;
/// Most values of a file, with aliases expanded.
pub const NODES_MAX: usize = 100_000;

/// Reads the main file with all that it includes. Problems that leave a tree behind, such as duplicate keys, are added to `problems`;
/// None means that there is no tree, and an error says why.
pub(super) fn parse(loader: &mut Loader<'_>, problems: &mut Vec<Problem>) -> Option<Node> {
    let source = loader.main();
    let root = document(&source, loader, problems)?;
    if root.is_null() {
        let help = "define receivers, exporters and service.pipelines";
        problems.push(Problem::new(Code::Empty, None, "the file holds no configuration", help));
        return None;
    }
    (!loader.has_failed()).then_some(root)
}

/// Reads a file that another one includes, as [`parse`] does.
pub(super) fn included(source: &Source, loader: &mut Loader<'_>, problems: &mut Vec<Problem>) -> Option<Node> {
    let root = document(source, loader, problems)?;
    if root.is_null() && root.place == Place::default() {
        let help = "write \"null\" if nothing is meant";
        problems.push(Problem::new(Code::Empty, source.line_place(1), "the included file holds nothing", help));
        return None;
    }
    Some(root)
}

/// A document that is not there at all is a null without a place.
fn document(source: &Source, loader: &mut Loader<'_>, problems: &mut Vec<Problem>) -> Option<Node> {
    let mut builder =
        Builder { source, loader, problems, stack: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let mut parser = Parser::new_from_str(source.text());
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => Err(syntax(source, &error)),
        };
        if let Err(problem) = step {
            builder.problems.push(problem);
            return None;
        }
    }
    Some(builder.root.take().unwrap_or(Node::new(Value::Null, Place::default())))
}

struct Builder<'a, 'l> {
    source: &'a Source,
    loader: &'a mut Loader<'l>,
    problems: &'a mut Vec<Problem>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// A list or map whose end has not come yet.
struct Frame {
    place: Place,
    anchor: usize,
    kind: FrameKind,
}

enum FrameKind {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// Set between a key and its value.
        key: Option<(String, Place)>,
        /// Values of `<<`, in order.
        merged: Vec<Node>,
    },
}

impl Builder<'_, '_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.document(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref();
                match self.key_expected() {
                    true => self.key(text.into_owned(), span),
                    false => {
                        let node = self.scalar(&text, style, tag, span)?;
                        self.value(node, anchor)
                    }
                }
            }
            Event::SequenceStart(anchor, tag) => self.open(FrameKind::List(Vec::new()), anchor, tag.as_deref(), span),
            Event::MappingStart(anchor, tag) => {
                let kind = FrameKind::Map { entries: Vec::new(), key: None, merged: Vec::new() };
                self.open(kind, anchor, tag.as_deref(), span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn document(&mut self, span: Span) -> Result<(), Problem> {
        if self.root.is_none() {
            return Ok(());
        }
        Err(Problem::new(
            Code::SeveralDocuments,
            self.place(span),
            "the file holds more than one YAML document",
            "keep one, and remove the \"---\" line before the next",
        ))
    }

    fn key_expected(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { kind: FrameKind::Map { key: None, .. }, .. }))
    }

    fn key(&mut self, text: String, span: Span) -> Result<(), Problem> {
        let place = self.place(span);
        if text.is_empty() {
            return Err(unusable_key(place));
        }
        let Some(Frame { kind: FrameKind::Map { entries, key, merged, .. }, .. }) = self.stack.last_mut() else {
            return Ok(());
        };
        let first = entries.iter().find(|entry| entry.key == text).map(|entry| entry.key_place);
        let merge_again = text == "<<" && !merged.is_empty();
        if let Some(first) = first.or(merge_again.then(|| merged[0].place)) {
            let message = format!("key \"{}\" stands twice in one map", shortened(&text));
            let problem = Problem::new(Code::DuplicateKey, place, message, "remove one, or rename it");
            let detail = format!("first at line {}, column {}", first.line, first.column);
            // What `<<` names may stand in another file.
            self.problems.push(if first.file == place.file { problem.detail(detail) } else { problem });
        }
        *key = Some((text, place));
        Ok(())
    }

    fn open(&mut self, kind: FrameKind, anchor: usize, tag: Option<&Tag>, span: Span) -> Result<(), Problem> {
        let place = self.place(span);
        if self.key_expected() {
            return Err(unusable_key(place));
        }
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            return Err(unusable_tag(tag, place));
        }
        if self.stack.len() >= DEPTH_MAX {
            return Err(too_deep(place));
        }
        self.count(1, place)?;
        self.stack.push(Frame { place, anchor, kind });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        let Some(Frame { place, anchor, kind }) = self.stack.pop() else { return Ok(()) };
        let value = match kind {
            FrameKind::List(items) => Value::List(items),
            FrameKind::Map { mut entries, merged, .. } => {
                for node in merged {
                    self.merge(&mut entries, node)?;
                }
                Value::Map(entries)
            }
        };
        self.value(Node::new(value, place), anchor)
    }

    /// `<<`: what the map itself says wins, then the first of several.
    fn merge(&mut self, entries: &mut Vec<Entry>, node: Node) -> Result<(), Problem> {
        let place = node.place;
        let maps = match node.value {
            Value::List(items) => items,
            value => vec![Node::new(value, place)],
        };
        for map in maps {
            let Value::Map(inherited) = map.value else {
                return Err(Problem::new(
                    Code::UnusableYaml,
                    map.place,
                    "\"<<\" takes a map or a list of maps",
                    "name an anchor of a map: \"<<: *name\"",
                ));
            };
            for entry in inherited {
                if entries.iter().all(|own| own.key != entry.key) {
                    entries.push(entry);
                }
            }
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Problem> {
        let place = self.place(span);
        if self.key_expected() {
            return Err(unusable_key(place));
        }
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Problem::new(
                Code::UnusableYaml,
                place,
                "an alias stands within what it names",
                "write the value out here",
            ));
        };
        if self.stack.len() + node.depth() > DEPTH_MAX {
            return Err(too_deep(place));
        }
        let (count, node) = (node.count(), node.clone());
        self.count(count, place)?;
        self.value(node, 0)
    }

    fn value(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        if anchor > 0 {
            // A named value is held twice, so it counts twice.
            self.count(node.count(), node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut().map(|frame| &mut frame.kind) {
            None => self.root = Some(node),
            Some(FrameKind::List(items)) => items.push(node),
            Some(FrameKind::Map { entries, key, merged }) => match key.take() {
                Some((key, _)) if key == "<<" => merged.push(node),
                Some((key, key_place)) => entries.push(Entry { key, key_place, value: node }),
                None => return Err(unusable_key(node.place)),
            },
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Result<Node, Problem> {
        let place = self.place(span);
        self.count(1, place)?;
        if !text.contains('$') {
            return Ok(Node::new(typed(text, style, tag, place)?, place));
        }
        let source = self.source;
        let locate = |nth| reference_place(source, span, nth).unwrap_or(place);
        if let Some(path) = substitute::whole_file(text).filter(|_| tag.is_none()) {
            return self.include(path, locate(0), place);
        }
        let mut named = Within { loader: &mut *self.loader, source };
        let expanded = substitute::expand(text, &mut named, locate, self.problems);
        if expanded.references == 0 {
            return Ok(Node::new(Value::Text(expanded.text), place));
        }
        let style = if expanded.whole { ScalarStyle::Plain } else { ScalarStyle::SingleQuoted };
        let value = match (&expanded.unset, expanded.text.is_empty()) {
            (Some(_), true) => Value::Null,
            _ => typed(&expanded.text, style, tag, place)?,
        };
        let (written, text) = (text.to_owned(), expanded.text);
        let substituted = Substituted { place, written, text, unset: expanded.unset, from_file: expanded.from_file };
        Ok(Node { value, place: locate(0), substituted: Some(Box::new(substituted)) })
    }

    /// What a file holds in place of a reference to it. Where that cannot be had, nothing is checked: all of it would follow from that.
    fn include(&mut self, path: &str, place: Place, whole: Place) -> Result<Node, Problem> {
        let node = self.loader.node(path, self.source, (place, whole), self.problems);
        let node = node.unwrap_or(Node::new(Value::Null, place));
        if self.stack.len() + node.depth() > DEPTH_MAX {
            return Err(too_deep(place));
        }
        self.count(node.count(), place)?;
        Ok(node)
    }

    fn count(&mut self, nodes: usize, place: Place) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= NODES_MAX {
            return Ok(());
        }
        Err(Problem::new(
            Code::TooManyNodes,
            place,
            format!("the file holds more than {NODES_MAX} values, aliases expanded"),
            "use fewer or smaller aliases, or split the file",
        ))
    }

    fn place(&self, span: Span) -> Place {
        self.source.place(position(&span.start), position(&span.end))
    }
}

/// Line and column from 1; saphyr counts columns from 0.
fn position(marker: &Marker) -> (usize, usize) {
    (marker.line(), marker.col() + 1)
}

fn reference_place(source: &Source, span: Span, nth: usize) -> Option<Place> {
    let offset = |marker: &Marker| {
        let (line, column) = position(marker);
        source.offset(line, column)
    };
    let (start, end) = (offset(&span.start), offset(&span.end));
    let (index, bytes) = substitute::references(source.text().get(start..end)?).nth(nth)?;
    Some(source.place_at(start + index, bytes))
}

/// Quoted text stays text; a core tag decides before the style does.
fn typed(text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Result<Value, Problem> {
    let plain = || type_plain(text);
    let value = match tag {
        None if style == ScalarStyle::Plain => return Ok(plain()),
        None => return Ok(Value::Text(text.to_owned())),
        Some(tag) if !tag.is_yaml_core_schema() => return Err(unusable_tag(tag, place)),
        Some(tag) => match (tag.suffix.as_str(), plain()) {
            ("str", _) => Some(Value::Text(text.to_owned())),
            ("int", value @ Value::Int(_)) => Some(value),
            ("float", value @ Value::Float(_)) => Some(value),
            #[allow(clippy::cast_precision_loss, reason = "the file asks for a float")]
            ("float", Value::Int(value)) => Some(Value::Float(value as f64)),
            ("bool", value @ Value::Bool(_)) => Some(value),
            ("null", value @ Value::Null) => Some(value),
            _ => None,
        },
    };
    value.ok_or_else(|| {
        let tag = tag.map_or("", |tag| tag.suffix.as_str());
        Problem::new(
            Code::UnusableYaml,
            place,
            format!("tag \"!!{tag}\" does not fit its value"),
            "remove the tag, or write a value of its type",
        )
    })
}

fn syntax(source: &Source, error: &ScanError) -> Problem {
    let at = position(error.marker());
    let place = source.place(at, (at.0, at.1 + 1));
    let line = source.line(place.line);
    let indent = &line[..line.len() - line.trim_start().len()];
    let help = match indent.contains('\t') {
        true => "indent with spaces: YAML does not allow tabs there",
        false => "check quotes, brackets and indentation here and on the line above",
    };
    Problem::new(Code::Syntax, place, format!("the text is not YAML: {}", error.info()), help)
}

fn too_deep(place: Place) -> Problem {
    Problem::new(
        Code::TooDeep,
        place,
        format!("lists and maps nest deeper than {DEPTH_MAX}"),
        "check the indentation and brackets; no key needs such depth",
    )
}

fn unusable_key(place: Place) -> Problem {
    Problem::new(Code::UnusableYaml, place, "a key must be text", "write a name before the colon")
}

fn unusable_tag(tag: &Tag, place: Place) -> Problem {
    let message = format!("tag \"{tag}\" has no meaning in a configuration");
    Problem::new(Code::UnusableYaml, place, message, "remove the tag")
}

#[cfg(test)]
mod tests;
