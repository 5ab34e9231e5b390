//! `keys` of a stage: keys for keyed hashes, from the environment or from files. A component names them and never sees them.

use std::path::PathBuf;

use super::section::Section;
use crate::config::code::Code;
use crate::config::files::digest_of;
use crate::config::model::Secret;
use crate::config::report::Problem;
use crate::config::source::Place;
use crate::config::tree::{Node, Value, shortened};

/// Most keys of a stage.
const KEYS_MAX: usize = 16;
/// Longest name of a key.
const NAME_BYTES_MAX: usize = 64;
/// A shorter key is guessed, and with it every text that was hashed.
const KEY_BYTES_MIN: usize = 16;
const KEY_BYTES_MAX: u64 = 4096;

const HELP: &str = "write {env: NAME} or {file: PATH}";

/// Reads the keys of a stage, by name and in the order of the file.
pub(super) fn keys(section: &mut Section<'_>) -> Vec<(String, Secret)> {
    if let Some(node) = section.get("keys").filter(|node| !matches!(node.value, Value::Map(_))) {
        hide(section, node);
    }
    let Some(all) = section.child_if_present("keys") else { return Vec::new() };
    if all.entries().len() > KEYS_MAX {
        let message = format!("\"keys\" of {} names more than {KEYS_MAX} keys", all.owner);
        all.context.tell(Code::OutOfRange, all.place, message, "keep those that the component opens");
    }
    let mut keys = Vec::new();
    for entry in all.entries() {
        if !is_name(&entry.key) {
            let message = format!("\"{}\" cannot be the name of a key of {}", shortened(&entry.key), all.owner);
            let help = "use up to 64 letters, digits, \"_\", \"-\" and \".\"";
            all.context.tell(Code::BadName, entry.key_place, message, help);
            continue;
        }
        if hide_misplaced(&all, &entry.value) {
            let message = format!("{} must be a map", all.named(&entry.key));
            all.context.tell(Code::WrongType, entry.value.place, message, HELP);
            continue;
        }
        let mut one = all.item_of(&entry.key, entry.key_place, &entry.value);
        let key = key(&mut one);
        one.finish();
        keys.extend(key.map(|key| (entry.key.clone(), key)));
    }
    keys
}

/// A key that was written out where its origin belongs is not shown. True if there is no map.
fn hide_misplaced(section: &Section<'_>, node: &Node) -> bool {
    match &node.value {
        Value::Map(entries) => {
            let others = entries.iter().filter(|entry| !matches!(&*entry.key, "env" | "file"));
            others.for_each(|entry| hide(section, &entry.value));
            false
        }
        Value::Null => false,
        _ => {
            hide(section, node);
            true
        }
    }
}

/// Keeps a value with all that is in it out of messages.
fn hide(section: &Section<'_>, node: &Node) {
    section.context.hide(node.whole_place());
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| hide(section, item)),
        Value::Map(entries) => entries.iter().for_each(|entry| hide(section, &entry.value)),
        _ => {}
    }
}

/// One key. None if there is none, which has been told.
fn key(section: &mut Section<'_>) -> Option<Secret> {
    let (env, file) = (section.get("env"), section.get("file"));
    let (bytes, place) = match (env, file) {
        (Some(node), None) => {
            let name = section.text_of("env", node)?;
            (from_variable(section, name, node.place)?, node.place)
        }
        (None, Some(node)) => {
            let path = section.context.directory(node.place).join(section.text_of("file", node)?);
            (from_file(section, path, node.place)?, node.place)
        }
        (Some(_), Some(_)) => {
            section.contradiction("file", "stands beside \"env\": a key has one origin", HELP);
            return None;
        }
        (None, None) => {
            let message = format!("{} names neither a variable nor a file", section.title());
            section.context.tell(Code::Missing, section.place, message, HELP);
            return None;
        }
    };
    if bytes.len() < KEY_BYTES_MIN {
        // Not even its length is told: it is no help, and some of a secret.
        let message = format!("{} is shorter than {KEY_BYTES_MIN} bytes", section.title());
        let help = "make one: head -c 32 /dev/urandom | base64";
        let problem = Problem::new(Code::BadKey, place, message, help);
        section.context.push(problem.detail("who guesses a short key can undo its hashes"));
        return None;
    }
    Some(Secret::new(bytes))
}

fn from_variable(section: &Section<'_>, name: &str, place: Place) -> Option<Vec<u8>> {
    let value = section.context.environment.variable(name).filter(|value| !value.is_empty());
    if value.is_none() {
        let message = format!("{} needs environment variable \"{}\"", section.title(), shortened(name));
        let problem = Problem::new(Code::UnsetVariable, place, message, "set it where the engine is started");
        section.context.push(problem.detail("it is not set, or empty"));
    }
    value.map(String::into_bytes)
}

/// A file's bytes, less one line break at the end.
fn from_file(section: &Section<'_>, path: PathBuf, place: Place) -> Option<Vec<u8>> {
    let named = format!("file \"{}\" of {}", path.display(), section.title());
    let read = section.context.environment.read(&path, KEY_BYTES_MAX + 1);
    section.context.note(path, read.as_ref().ok().map(|bytes| digest_of(bytes)));
    let mut bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("{named} cannot be read: {}", error.kind());
            section.context.tell(Code::Unreadable, place, message, "check the path and its permissions");
            return None;
        }
    };
    if bytes.len() as u64 > KEY_BYTES_MAX {
        let message = format!("{named} is larger than {} KiB", KEY_BYTES_MAX >> 10);
        section.context.tell(Code::TooLarge, place, message, "name a file that holds one key");
        return None;
    }
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    Some(bytes)
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}
