//! Names of components and pipelines: `type` or `type/name`.

use super::context::Context;
use crate::config::code::Code;
use crate::config::source::Place;
use crate::config::tree::shortened;

/// Longest name: it becomes a metric label.
const NAME_CHARS_MAX: usize = 128;

/// The type of `type` or `type/name`; an unusable name is an error.
pub(super) fn kind_of<'a>(context: Context<'_>, what: &str, id: &'a str, place: Place) -> Option<&'a str> {
    let (kind, name) = match id.split_once('/') {
        Some((kind, name)) => (kind, Some(name)),
        None => (id, None),
    };
    let why = if kind.is_empty() {
        "has no type before the slash"
    } else if !kind.starts_with(|c: char| c.is_ascii_alphabetic())
        || kind.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_')
    {
        "has a type with other characters than letters, digits and underscores"
    } else if name.is_some_and(|name| name.trim().is_empty()) {
        "has no name after the slash"
    } else if id.contains(|c: char| c.is_whitespace() || c.is_control()) {
        "holds white space"
    } else if id.chars().count() > NAME_CHARS_MAX {
        "is longer than 128 characters"
    } else {
        return Some(kind);
    };
    context.tell(
        Code::BadName,
        place,
        format!("{what} name \"{}\" {why}", shortened(id)),
        "write \"type\" or \"type/name\", such as \"otlp/backend\"",
    );
    None
}
