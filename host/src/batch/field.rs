//! Field paths in OTTL's spelling.

use crate::signal::Signal;

use super::catalog::{CONTEXTS, Context, Read, Scalar};
use super::levels::Level;

/// One field, or a tuple of fields, read at one level.
///
/// What is absent: attributes, a log without body, values that a data point's type does not have are kind 0. Integers of
/// proto3 without presence read as 0, texts as "", ids as no bytes, also where the message that would hold them is absent.
/// A message that is malformed where the scan looks has no fields at all: everything of it is kind 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    level: Level,
    signal: Option<Signal>,
    paths: Vec<Path>,
}

/// A path that no field has, or paths that cannot be read together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct PathError(pub String);

/// One path of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub(super) level: Level,
    pub(super) signal: Option<Signal>,
    pub(super) read: Read,
    /// For an attribute, the first is its key.
    pub(super) steps: Vec<Step>,
}

/// A step into maps and lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(u32),
}

impl Field {
    /// Parses OTTL paths, such as `span.attributes["http.route"]`; the level is the lowest of them. The signal is None where
    /// only resource and scope are named. Errors name the path and list what exists.
    pub fn open(paths: &[String]) -> Result<Field, PathError> {
        let mut field: Option<Field> = None;
        for (text, path) in paths.iter().zip(parse_all(paths)?) {
            let Some(field) = &mut field else {
                field = Some(Field { level: path.level, signal: path.signal, paths: vec![path] });
                continue;
            };
            let same_depth = field.level.depth() == path.level.depth();
            let two_signals = field.signal.zip(path.signal).is_some_and(|(a, b)| a != b);
            if two_signals || (same_depth && field.level != path.level) {
                let other = paths.iter().zip(&field.paths).find(|(_, other)| other.signal.is_some());
                let other = other.map_or("", |(text, _)| text.as_str());
                return Err(PathError(format!(
                    "{other:?} and {text:?} cannot be read together: neither is of a level above the other"
                )));
            }
            if field.level.depth() < path.level.depth() {
                field.level = path.level;
            }
            field.signal = field.signal.or(path.signal);
            field.paths.push(path);
        }
        field.ok_or_else(|| PathError("a field needs at least one path".to_owned()))
    }

    /// Parses one path of a field that can be written; errors say why another cannot.
    pub fn open_to_write(path: &str) -> Result<Field, PathError> {
        let field = Field::open(&[path.to_owned()])?;
        match field.paths.first().map(|path| path.read) {
            Some(Read::Scalar(scalar)) if scalar.is_id() => {
                Err(PathError(format!("{path:?}: ids cannot be written: they hold traces together")))
            }
            Some(Read::Scalar(Scalar::Duration)) => {
                Err(PathError(format!("{path:?}: it is the difference of two times, write these")))
            }
            Some(Read::Metric(_)) => Err(PathError(format!("{path:?}: it says what the data points mean"))),
            Some(_) => Ok(field),
            None => Err(PathError("a field needs a path".to_owned())),
        }
    }

    /// Whether it can be written.
    pub fn is_writable(&self) -> bool {
        let [path] = self.paths.as_slice() else { return false };
        match path.read {
            Read::Attribute | Read::AnyValue(_) => true,
            Read::Scalar(scalar) => !scalar.is_id() && scalar != Scalar::Duration,
            Read::Metric(_) => false,
        }
    }

    /// The level that the field is read at.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The signal that has the field; None where all have it. In a batch of another signal it is absent everywhere.
    pub fn signal(&self) -> Option<Signal> {
        self.signal
    }

    /// Paths in the tuple; 1 for a single field.
    pub fn arity(&self) -> usize {
        self.paths.len()
    }

    pub(super) fn paths(&self) -> &[Path] {
        &self.paths
    }
}

fn parse_all(paths: &[String]) -> Result<Vec<Path>, PathError> {
    paths.iter().map(|path| parse(path)).collect()
}

fn parse(text: &str) -> Result<Path, PathError> {
    let (name, steps) = match text.find('[') {
        Some(at) => {
            let (name, steps) = text.split_at(at);
            (name, parse_steps(steps).map_err(|what| PathError(format!("{text:?}: {what}")))?)
        }
        None => (text, Vec::new()),
    };
    let Some((context, read)) = find(name) else { return Err(unknown(text, name)) };
    match (read, steps.first()) {
        (Read::Attribute, Some(Step::Key(_))) | (Read::AnyValue(_), _) | (Read::Scalar(_) | Read::Metric(_), None) => {}
        (Read::Attribute, _) => {
            return Err(PathError(format!("{text:?}: name one attribute, as in {name}[\"key\"]")));
        }
        (Read::Scalar(_) | Read::Metric(_), Some(_)) => {
            return Err(PathError(format!("{text:?}: {name} is neither a map nor a list")));
        }
    }
    Ok(Path { level: context.level, signal: context.signal, read, steps })
}

fn find(name: &str) -> Option<(&'static Context, Read)> {
    let (context, field) = name.split_once('.')?;
    let context = CONTEXTS.iter().find(|known| known.name == context)?;
    let (_, read) = context.fields.iter().find(|(known, _)| *known == field)?;
    Some((context, *read))
}

/// `["key"]` and `[0]`, any number of them; in keys, `\"` and `\\` stand for `"` and `\`.
fn parse_steps(text: &str) -> Result<Vec<Step>, &'static str> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        rest = rest.strip_prefix('[').ok_or("expected [ after ]")?;
        let step;
        (step, rest) = match rest.strip_prefix('"') {
            Some(quoted) => parse_key(quoted)?,
            None => parse_index(rest)?,
        };
        rest = rest.strip_prefix(']').ok_or("expected ] after the key")?;
        steps.push(step);
    }
    Ok(steps)
}

fn parse_key(text: &str) -> Result<(Step, &str), &'static str> {
    let mut key = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((Step::Key(key), text.get(at + 1..).unwrap_or_default())),
            '\\' => match chars.next() {
                Some((_, escaped @ ('"' | '\\'))) => key.push(escaped),
                _ => return Err("in a key, \\ must be followed by \" or \\"),
            },
            other => key.push(other),
        }
    }
    Err("the key's closing \" is missing")
}

fn parse_index(text: &str) -> Result<(Step, &str), &'static str> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(digits);
    let index = digits.parse().map_err(|_| "expected a key in quotes or an index after [")?;
    Ok((Step::Index(index), rest))
}

/// Names the nearest path, else what the context has, else the contexts.
fn unknown(text: &str, name: &str) -> PathError {
    let nearest = CONTEXTS
        .iter()
        .flat_map(|context| context.fields.iter().map(|(field, _)| format!("{}.{field}", context.name)))
        .map(|known| (strsim::osa_distance(&known, name), known))
        .min();
    if let Some((distance, known)) = nearest
        && distance <= 3.min(name.len() / 3)
    {
        return PathError(format!("{text:?}: no such field; did you mean {known}?"));
    }
    let context = name.split('.').next().unwrap_or_default();
    let (what, names) = match CONTEXTS.iter().find(|known| known.name == context) {
        Some(known) => ("fields are", known.fields.iter().map(|(field, _)| *field).collect::<Vec<_>>()),
        None => ("a path begins with one of", CONTEXTS.iter().map(|known| known.name).collect()),
    };
    let prefix = if what == "fields are" { format!("{context}'s ") } else { String::new() };
    PathError(format!("{text:?}: no such field; {prefix}{what} {}", names.join(", ")))
}
