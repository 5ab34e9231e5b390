//! What becomes of attributes and of the entries of maps because of their keys.

use std::collections::{HashMap, HashSet};

use sluicebox_guest::{Contents, Key, Place, Value};

use crate::config::Config;
use crate::db::Family;
use crate::scan::patterns::Patterns;
use crate::scan::profile::Profile;
use crate::summary;

/// The lists of keys.
#[derive(Debug)]
pub struct KeyRules {
    /// None if all are allowed.
    allowed: Option<HashSet<String>>,
    ignored: HashSet<String>,
    ignored_patterns: Patterns,
    blocked_patterns: Patterns,
    /// What the sanitizers take.
    sanitized: HashMap<String, Sanitized>,
}

/// Which sanitizers take the values of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sanitized {
    pub is_url: bool,
    pub families: Vec<Family>,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It and its value stay as they are.
    Ignored,
    /// It goes with its value.
    Removed,
    /// Its values are hidden as a whole.
    Hidden,
    /// Its values are judged.
    Judged,
}

/// What was found of a key of a batch.
#[derive(Clone, Debug)]
pub struct Note<'a> {
    pub fate: Fate,
    pub place: Place,
    pub is_nested: bool,
    /// As it is in the batch.
    pub text: &'a [u8],
    pub sanitized: Option<&'a Sanitized>,
}

impl KeyRules {
    pub fn new(config: &Config, ignored_patterns: Patterns, blocked_patterns: Patterns) -> KeyRules {
        let allowed = config.allowed_keys.iter().cloned().chain(summary::names());
        let mut sanitized: HashMap<String, Sanitized> = HashMap::new();
        for attribute in config.url.iter().flat_map(|url| &url.attributes) {
            sanitized.entry(attribute.clone()).or_default().is_url = true;
        }
        for system in &config.db.systems {
            for attribute in &system.attributes {
                sanitized.entry(attribute.clone()).or_default().families.push(system.family);
            }
        }
        KeyRules {
            allowed: (!config.allow_all_keys).then(|| allowed.collect()),
            ignored: config.ignored_keys.iter().cloned().collect(),
            ignored_patterns,
            blocked_patterns,
            sanitized,
        }
    }

    /// A note for each key of a batch, in order.
    pub fn judge<'a>(&'a self, contents: &'a Contents) -> Vec<Note<'a>> {
        contents.keys().map(|key| self.note(key)).collect()
    }

    /// Whether it was a pattern that its fate is due to, and not that it is not allowed.
    pub fn is_blocked(&self, note: &Note<'_>) -> bool {
        let is_ruled = !note.is_nested || note.place == Place::LogBody;
        let is_listed = |list: &HashSet<String>| std::str::from_utf8(note.text).is_ok_and(|text| list.contains(text));
        !is_ruled || self.allowed.as_ref().is_none_or(is_listed)
    }

    /// As the Collector: of attributes the key itself counts, of bodies the keys of all maps. Only blocked keys are looked for within
    /// attributes too.
    fn note<'a>(&'a self, key: Key<'a>) -> Note<'a> {
        let bytes = match key.text {
            Value::Str(text) => text.as_bytes(),
            Value::Bytes(bytes) => bytes,
            _ => &[],
        };
        let profile = Profile::of(bytes);
        let is_ruled = !key.is_nested || key.place == Place::LogBody;
        let text = key.text.as_str();
        let is_in = |list: &HashSet<String>| text.is_some_and(|text| list.contains(text));
        let fate = if is_ruled && (is_in(&self.ignored) || self.ignored_patterns.is_match(bytes, profile)) {
            Fate::Ignored
        } else if is_ruled && self.allowed.as_ref().is_some_and(|allowed| !is_in(allowed)) {
            Fate::Removed
        } else if self.blocked_patterns.is_match(bytes, profile) {
            Fate::Hidden
        } else {
            Fate::Judged
        };
        let sanitized = if self.sanitized.is_empty() { None } else { text.and_then(|text| self.sanitized.get(text)) };
        Note { fate, place: key.place, is_nested: key.is_nested, text: bytes, sanitized }
    }
}
