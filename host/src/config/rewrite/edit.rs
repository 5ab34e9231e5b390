//! The edits that make a file say something else of one stage.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;

use super::site::{Document, Site};
use super::spans::{Shape, Spot, SpotEntry};
use super::text::{NewText, scalar};
use crate::config::Environment;
use crate::config::check::processors::OWN_KEYS;
use crate::config::check::tail_sampling::BUNDLED;
use crate::config::model::{Component, Stage, StageRole};

/// Of what is written below a key, beside the key's own.
const INDENT: usize = 2;

/// Why a place is not edited, with the place.
#[derive(Debug)]
pub(super) struct EditError(pub(super) String);

/// Edits of the files of one configuration.
pub(super) struct Edits<'a> {
    file: &'a Path,
    pub(super) environment: &'a dyn Environment,
    found: Vec<(Rc<Document>, Range<usize>, String)>,
}

/// A file by its canonical path, as it is and as it is to be.
type Changed = (PathBuf, Vec<u8>, Vec<u8>);

impl<'a> Edits<'a> {
    pub(super) fn new(file: &'a Path, environment: &'a dyn Environment) -> Self {
        Self { file, environment, found: Vec::new() }
    }

    /// The files that change; the configuration file itself is the last.
    pub(super) fn finish(mut self) -> Vec<Changed> {
        let main = self.environment.canonical(self.file);
        self.found.sort_by_key(|(document, bytes, _)| (document.canonical.clone(), bytes.start));
        let mut changed: Vec<Changed> = Vec::new();
        for edits in self.found.chunk_by(|(a, ..), (b, ..)| a.canonical == b.canonical) {
            let Some((document, ..)) = edits.first() else { continue };
            let bom = document.bytes.len() - document.text.len();
            let mut new = document.bytes.get(..bom).unwrap_or_default().to_vec();
            let mut at = 0;
            for (_, bytes, text) in edits {
                new.extend_from_slice(document.text.get(at..bytes.start).unwrap_or_default().as_bytes());
                new.extend_from_slice(text.as_bytes());
                at = bytes.end;
            }
            new.extend_from_slice(document.text.get(at..).unwrap_or_default().as_bytes());
            changed.push((document.canonical.clone(), document.bytes.clone(), new));
        }
        changed.sort_by_key(|(path, ..)| *path == main);
        changed
    }

    /// Has the stage name another component.
    pub(super) fn component(&mut self, stage: &Stage, digest: &str) -> Result<(), EditError> {
        let Component::File { path, .. } = &stage.component else {
            return Err(EditError("a processor of this type cannot name a component: define \"wasm/NAME\"".to_owned()));
        };
        let block = self.block(stage)?;
        let component =
            block.get("component").ok_or_else(|| unsafe_at(&block, "does not name its component itself"))?;
        let directory = self.environment.canonical(&component.document.directory);
        let path = match self.environment.canonical(path).strip_prefix(&directory) {
            Ok(below) => Path::new("./").join(below),
            Err(_elsewhere) => path.clone(),
        };
        let path = path.to_str().ok_or_else(|| unsafe_at(&component, "cannot name a path that is not UTF-8"))?;
        self.replace_scalar(&component, path)?;
        match block.get("sha256") {
            Some(pin) => self.replace_scalar(&pin, digest),
            None => Ok(()),
        }
    }

    /// Has the stage be configured otherwise: by `value`, in the words of `written` if they are given.
    pub(super) fn config(&mut self, stage: &Stage, value: &Value, written: Option<&str>) -> Result<(), EditError> {
        let block = self.block(stage)?;
        match &stage.component {
            Component::Bundled(kind) if kind == BUNDLED && stage.role == StageRole::Policy => {
                self.policies(&block, value, written)
            }
            Component::Bundled(_) => self.whole_block(&block, &NewText { value, written }),
            Component::File { .. } | Component::Uploaded(_) => {
                let new = NewText { value, written };
                match block.get("config") {
                    Some(config) => self.replace(&config.followed(self.environment)?, &new),
                    None => self.insert(&block, "config", &new),
                }
            }
        }
    }

    /// The map that defines a stage: a processor's, or a policy's within one.
    fn block(&self, stage: &Stage) -> Result<Site, EditError> {
        let missing = |what: &str| EditError(format!("{} has no {what} that can be edited", self.file.display()));
        let follow = |site: Site| site.followed(self.environment);
        let root = follow(Site::root(Document::read(self.file, self.environment)?))?;
        let processors = follow(root.get("processors").ok_or_else(|| missing("\"processors\""))?)?;
        if let Some(block) = processors.get(&stage.name) {
            return follow(block);
        }
        // A policy that is a component is named PROCESSOR:POLICY.
        let named = || missing(&format!("\"{}\"", stage.name));
        let (sampler, policy) = stage.name.split_once(':').ok_or_else(named)?;
        let sampler = follow(processors.get(sampler).ok_or_else(named)?)?;
        let policies = follow(sampler.get("policies").ok_or_else(named)?)?;
        for item in policies.items() {
            let item = follow(item)?;
            if item.get("name").and_then(|name| follow(name).ok()).is_some_and(|name| name.text() == Some(policy)) {
                return Ok(item);
            }
        }
        Err(named())
    }

    /// Of a tail sampler's block, only `policies` is what its component reads.
    fn policies(&mut self, block: &Site, value: &Value, written: Option<&str>) -> Result<(), EditError> {
        let place = block.get("policies").ok_or_else(|| unsafe_at(block, "does not list its policies itself"))?;
        let place = place.followed(self.environment)?;
        for item in place.items() {
            if item.followed(self.environment)?.get("component").is_some() {
                return Err(unsafe_at(&place, "has components between its policies"));
            }
        }
        let value = value.get("policies").cloned().unwrap_or_default();
        let written = match written.map(|written| part(written, "policies")) {
            Some(None) => return Err(unsafe_at(&place, "is to hold a text that has no \"policies\" of its own")),
            given => given.flatten(),
        };
        self.replace(&place, &NewText { value: &value, written: written.as_deref() })
    }

    /// A bundled processor's map is its configuration, less the keys that the engine reads: those stay.
    fn whole_block(&mut self, block: &Site, new: &NewText<'_>) -> Result<(), EditError> {
        let is_own = |entry: &&SpotEntry| OWN_KEYS.contains(&entry.key.as_str());
        let entries = block.spot.entries();
        if !entries.iter().any(|entry| is_own(&entry)) {
            return self.replace(block, new);
        }
        if block.spot.is_marked {
            return Err(marked(block));
        }
        let (own, others): (Vec<_>, Vec<_>) = entries.iter().partition(is_own);
        if block.spot.is_flow() {
            let inner = new.flow_entries().ok_or_else(|| unsafe_at(block, "stands in brackets"))?;
            let text = &block.document.text;
            let own = own.iter().filter_map(|entry| text.get(entry.key_bytes.start..entry.value.bytes.end));
            let all: Vec<_> = inner.into_iter().chain(own.map(str::to_owned)).collect();
            self.edit(block, block.spot.bytes.clone(), format!("{{ {} }}", all.join(", ")));
            return Ok(());
        }
        self.entries(block, &own, &others, new)
    }

    /// Replaces the other entries of a block by new ones, whole lines.
    fn entries(
        &mut self,
        block: &Site,
        own: &[&SpotEntry],
        others: &[&SpotEntry],
        new: &NewText<'_>,
    ) -> Result<(), EditError> {
        let document = &block.document;
        let line_break = document.line_break();
        let first = own.iter().chain(others).map(|entry| entry.key_bytes.start).min().unwrap_or_default();
        let indent = document.column(first);
        let lines =
            new.block_entries(indent, line_break).ok_or_else(|| unsafe_at(block, "is to hold a text in brackets"))?;
        let lines = if lines.is_empty() { lines } else { format!("{}{lines}", " ".repeat(indent)) };
        let mut lines = Some(lines).filter(|lines| !lines.is_empty());
        for entry in others {
            let start = document.line_start(entry.key_bytes.start);
            if document.text.get(start..entry.key_bytes.start).is_none_or(|before| !before.trim().is_empty()) {
                return Err(unsafe_at(block, "does not begin on a line of its own"));
            }
            let end = document.line_end(entry.value.bytes.end.max(entry.key_bytes.end));
            match lines.take() {
                Some(lines) => self.edit(block, start..end, lines),
                None => {
                    let rest = document.text.get(end..).unwrap_or_default();
                    let after = if rest.starts_with("\r\n") { 2 } else { usize::from(!rest.is_empty()) };
                    self.edit(block, start..end + after, String::new());
                }
            }
        }
        if let (Some(lines), Some(last)) = (lines, own.last()) {
            let end = document.line_end(last.value.bytes.end.max(last.key_bytes.end));
            self.edit(block, end..end, format!("{line_break}{lines}"));
        }
        Ok(())
    }

    /// Puts something else in place of a value.
    fn replace(&mut self, site: &Site, new: &NewText<'_>) -> Result<(), EditError> {
        let Site { document, spot, key, is_in_flow } = site;
        if spot.is_marked {
            return Err(marked(site));
        }
        if matches!(&spot.shape, Shape::Scalar(text) if text.contains("${")) {
            return Err(unsafe_at(site, "comes from elsewhere"));
        }
        let line_break = document.line_break();
        if *is_in_flow || (spot.is_flow() && (new.written.is_none() || new.is_one_line_of_flow())) {
            let text = new.flow().ok_or_else(|| unsafe_at(site, "stands in brackets, which cannot hold the text"))?;
            self.edit(site, spot.bytes.clone(), text);
            return Ok(());
        }
        let Some(key) = key.as_ref().filter(|_| !spot.is_block()) else {
            let end = end_with_comment(document, spot);
            let text = new.block(document.column(spot.bytes.start), line_break);
            self.edit(site, spot.bytes.start..end, text);
            return Ok(());
        };
        // What stands on its key's line goes below it.
        let colon = self.colon(document, key).ok_or_else(|| unsafe_at(site, "does not stand behind its key"))?;
        let text = if new.is_one_line_of_flow() {
            format!(" {}", new.block(0, line_break))
        } else {
            let indent = document.column(key.start) + INDENT;
            format!("{line_break}{}{}", " ".repeat(indent), new.block(indent, line_break))
        };
        self.edit(site, colon..spot.bytes.end.max(colon), text);
        Ok(())
    }

    /// Adds a key to a map that does not have it.
    fn insert(&mut self, block: &Site, key: &str, new: &NewText<'_>) -> Result<(), EditError> {
        let (document, spot) = (&block.document, &block.spot);
        let Some(last) = spot.entries().last() else { return Err(unsafe_at(block, "is no map of its own")) };
        if block.is_in_flow || spot.is_flow() {
            let text = new.flow().ok_or_else(|| unsafe_at(block, "stands in brackets, which cannot hold the text"))?;
            let end = last.value.bytes.end;
            self.edit(block, end..end, format!(", {key}: {text}"));
            return Ok(());
        }
        let line_break = document.line_break();
        let indent = document.column(last.key_bytes.start);
        let below = indent + INDENT;
        let text = if new.is_one_line_of_flow() {
            format!(" {}", new.block(0, line_break))
        } else {
            format!("{line_break}{}{}", " ".repeat(below), new.block(below, line_break))
        };
        let end = document.line_end(last.value.bytes.end.max(last.key_bytes.end));
        self.edit(block, end..end, format!("{line_break}{}{key}:{text}", " ".repeat(indent)));
        Ok(())
    }

    fn replace_scalar(&mut self, site: &Site, text: &str) -> Result<(), EditError> {
        match &site.spot.shape {
            _ if site.spot.is_marked => Err(marked(site)),
            Shape::Scalar(old) if !old.contains("${") && !site.spot.bytes.is_empty() => {
                self.edit(site, site.spot.bytes.clone(), plain_or_quoted(text));
                Ok(())
            }
            _ => Err(unsafe_at(site, "comes from elsewhere")),
        }
    }

    /// After the colon of a key.
    fn colon(&self, document: &Document, key: &Range<usize>) -> Option<usize> {
        let rest = document.text.get(key.end..)?;
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        rest.get(blanks..)?.starts_with(':').then_some(key.end + blanks + 1)
    }

    fn edit(&mut self, site: &Site, bytes: Range<usize>, text: String) {
        self.found.push((Rc::clone(&site.document), bytes, text));
    }
}

/// A block reaches over the comment on its last line.
fn end_with_comment(document: &Document, spot: &Spot) -> usize {
    if spot.is_block() { document.line_end(spot.bytes.end) } else { spot.bytes.end }
}

/// What a text has under a key, as a text of its own.
fn part(written: &str, key: &str) -> Option<String> {
    let root = Spot::of(written)?;
    let spot = &root.entry(key)?.value;
    if spot.is_flow() {
        return written.get(spot.bytes.clone()).map(str::to_owned);
    }
    let start = written.get(..spot.bytes.start)?.rfind('\n').map_or(0, |line_break| line_break + 1);
    let end = spot.bytes.end + written.get(spot.bytes.end..)?.find('\n').unwrap_or(written.len() - spot.bytes.end);
    let is_alone = written.get(start..spot.bytes.start)?.trim().is_empty();
    is_alone.then(|| written.get(start..end).map(str::to_owned)).flatten()
}

/// Paths of usual characters need no quotes.
fn plain_or_quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-');
    let starts_plain = text.starts_with("./") || text.starts_with('/');
    if starts_plain && text.bytes().all(is_plain) { text.to_owned() } else { scalar(text) }
}

fn unsafe_at(site: &Site, why: &str) -> EditError {
    EditError(format!("what stands at {} {why}: write it by hand, and reload", site.place()))
}

fn marked(site: &Site) -> EditError {
    unsafe_at(site, "has an anchor or a tag")
}
