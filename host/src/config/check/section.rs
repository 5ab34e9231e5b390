//! A map that is read key by key: whatever nobody asked for is an unknown key.

use super::context::{Context, suggest};
use crate::config::code::Code;
use crate::config::report::Problem;
use crate::config::source::Place;
use crate::config::tree::{Entry, Node, Value, shortened};

/// What owns the keys at the top.
pub(super) const FILE: &str = "the file";

/// A map of the file and the keys of it that exist.
pub(super) struct Section<'a> {
    pub(super) context: Context<'a>,
    /// Kind and name of what the map belongs to: `exporter "otlp/x"`.
    pub(super) owner: String,
    /// Keys that led here from the owner, with dots; empty at the owner itself.
    path: String,
    /// Where to point if something is missing.
    pub(super) place: Place,
    entries: &'a [Entry],
    /// True if a value that is no map stands here, which has been reported.
    broken: bool,
    known: Vec<&'static str>,
    /// Keys of the Collector that are refused by name; not offered as help.
    refused: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The map of an owner. `null` is an empty map; anything else is an error and then empty.
    pub(super) fn open(context: Context<'a>, owner: impl Into<String>, place: Place, node: &'a Node) -> Self {
        let mut section = Self::empty(context, owner.into(), place);
        section.set(node, None);
        section
    }

    fn empty(context: Context<'a>, owner: String, place: Place) -> Self {
        Self {
            context,
            owner,
            path: String::new(),
            place,
            entries: &[],
            broken: false,
            known: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// The map under a key, or an empty one if the key is absent.
    pub(super) fn child(&mut self, key: &'static str) -> Section<'a> {
        let entry = self.entry(key);
        let mut child =
            Self::empty(self.context, self.owner.clone(), entry.map_or(self.place, |entry| entry.key_place));
        child.path = self.path_of(key);
        if let Some(entry) = entry {
            child.set(&entry.value, Some(self.named(key)));
        }
        child
    }

    /// As [`Self::child`], but None if the key is absent. A key without a value counts as present.
    pub(super) fn child_if_present(&mut self, key: &'static str) -> Option<Section<'a>> {
        self.entry(key).is_some().then(|| self.child(key))
    }

    /// The map in an item of a list under this section.
    pub(super) fn item(&self, key: &str, index: usize, node: &'a Node) -> Section<'a> {
        let mut item = Self::empty(self.context, self.owner.clone(), node.place);
        item.path = format!("{}[{index}]", self.path_of(key));
        item.set(node, Some(format!("each of {}", self.named(key))));
        item
    }

    /// The map under a key that is a name.
    pub(super) fn item_of(&self, name: &str, place: Place, node: &'a Node) -> Section<'a> {
        let mut item = Self::empty(self.context, self.owner.clone(), place);
        item.path = self.path_of(name);
        item.set(node, Some(self.named(name)));
        item
    }

    fn set(&mut self, node: &'a Node, named: Option<String>) {
        match &node.value {
            Value::Map(entries) => self.entries = entries,
            Value::Null => {}
            _ => {
                self.broken = true;
                let named = named.unwrap_or_else(|| self.owner.clone());
                let message = format!("{named} must be a map, found {}", node.found());
                let help = "write its keys below it, indented, as \"key: value\"";
                self.context.tell(Code::WrongType, node.place, message, help);
            }
        }
    }

    /// A key and its value, which may be null.
    pub(super) fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.find(key)
    }

    /// A value; null counts as absent, as in the Collector.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Node> {
        self.entry(key).map(|entry| &entry.value).filter(|node| !node.is_null())
    }

    /// A value that must be there.
    pub(super) fn required(&mut self, key: &'static str, help: &str) -> Option<&'a Node> {
        let entry = self.entry(key);
        if let Some(entry) = entry.filter(|entry| !entry.value.is_null()) {
            return Some(&entry.value);
        }
        match entry.and_then(|entry| Some((&entry.value, entry.value.unset_variable()?))) {
            Some((node, variable)) => self.context.tell(
                Code::UnsetVariable,
                node.place,
                format!("{} needs a value, and environment variable \"{variable}\" is not set", self.named(key)),
                format!("set it, or give a default: \"${{env:{variable}:-default}}\""),
            ),
            None => {
                let place = entry.map_or(self.place, |entry| entry.key_place);
                self.context.tell(Code::Missing, place, format!("{} is required", self.named(key)), help);
            }
        }
        None
    }

    /// Keys whose absence would be noticed: present, they are errors by name.
    pub(super) fn refuse(&mut self, keys: &[&'static str], help: &str) {
        for &key in keys {
            self.refused.push(key);
            if let Some(entry) = self.find(key) {
                let message = format!("{} is not supported yet", self.named(key));
                self.context.tell(Code::UnsupportedKey, entry.key_place, message, help);
            }
        }
    }

    /// A key that exists beside others of this kind, and cannot exist here.
    pub(super) fn forbid(&mut self, key: &'static str, help: &str) {
        self.refused.push(key);
        if let Some(entry) = self.find(key) {
            let message = format!("{} cannot be set", self.named(key));
            self.context.tell(Code::UnknownKey, entry.key_place, message, help);
        }
    }

    /// Keys that the Collector needs and this engine does not.
    pub(super) fn ignore(&mut self, keys: &[&'static str], why: &str) {
        for &key in keys {
            self.refused.push(key);
            if let Some(entry) = self.find(key) {
                let message = format!("{} has no effect", self.named(key));
                let problem = Problem::new(Code::NoEffect, entry.key_place, message, "remove it").detail(why);
                self.context.push(problem);
            }
        }
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(self) {
        let where_ = self.title();
        for entry in self.entries {
            let key = entry.key.as_str();
            if !self.knows(key) {
                let mut keys = self.known.clone();
                keys.sort_unstable();
                self.context.tell(
                    Code::UnknownKey,
                    entry.key_place,
                    format!("unknown key \"{}\" in {where_}", shortened(key)),
                    suggest(key, "keys", &keys),
                );
            }
        }
    }

    /// Whether a key was asked for, or is refused.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.known.contains(&key) || self.refused.contains(&key)
    }

    /// True if its value is no map, which has been reported.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// All entries: for maps whose keys are names.
    pub(super) fn entries(&self) -> &'a [Entry] {
        self.entries
    }

    /// `"protocols.grpc.endpoint" of receiver "otlp"`; a key of the file itself has no owner to name.
    pub(super) fn named(&self, key: &str) -> String {
        self.of_owner(&self.path_of(key))
    }

    /// The section itself: `"keys.pii" of processor "wasm/mine"`.
    pub(super) fn title(&self) -> String {
        if self.path.is_empty() { self.owner.clone() } else { self.of_owner(&self.path) }
    }

    fn of_owner(&self, path: &str) -> String {
        if self.owner == FILE { format!("\"{path}\"") } else { format!("\"{path}\" of {}", self.owner) }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn find(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}
