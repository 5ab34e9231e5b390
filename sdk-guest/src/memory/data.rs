use super::Signal;
use super::path::Path;
use super::tree::{Encoded, Slot};
use crate::Level;

/// The rows of a batch, level by level.
#[derive(Clone, Debug)]
pub struct Data {
    pub signal: Signal,
    levels: Vec<(Level, Vec<Row>)>,
}

/// A row: the row of the level above that it belongs to, and its fields.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub parent: usize,
    pub fields: Vec<Field>,
}

/// A field of a row: its name without what follows in brackets, and its value. An attribute's key is its slot's.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: &'static str,
    pub slot: Slot,
}

impl Row {
    /// Kind and bytes of a field; what is not set is as the protocol says.
    pub fn read(&self, path: &Path) -> Encoded {
        let field = self.fields.iter().find(|field| {
            let key = path.key().unwrap_or_default().as_bytes();
            field.slot.is_there() && field.name == path.name && field.slot.key_now() == key
        });
        let found = field.and_then(|field| field.slot.node.at(path.inner_steps()));
        found.map_or_else(|| path.unset.encode(), super::tree::Node::encode)
    }
}

impl Data {
    pub fn new(signal: Signal) -> Data {
        let levels: &[Level] = match signal {
            Signal::Traces => &[Level::Resource, Level::Scope, Level::Span, Level::SpanEvent, Level::SpanLink],
            Signal::Metrics => &[Level::Resource, Level::Scope, Level::Metric, Level::DataPoint],
            Signal::Logs => &[Level::Resource, Level::Scope, Level::Log],
            Signal::Profiles => &[Level::Resource, Level::Scope],
        };
        Data { signal, levels: levels.iter().map(|level| (*level, Vec::new())).collect() }
    }

    /// From the top.
    pub fn levels(&self) -> impl Iterator<Item = Level> {
        self.levels.iter().map(|(level, _)| *level)
    }

    pub fn has(&self, level: Level) -> bool {
        self.levels().any(|has| has == level)
    }

    /// None of a level that the signal does not have.
    pub fn rows(&self, level: Level) -> &[Row] {
        self.levels.iter().find(|(has, _)| *has == level).map_or(&[], |(_, rows)| rows)
    }

    pub fn rows_mut(&mut self, level: Level) -> Option<&mut Vec<Row>> {
        self.levels.iter_mut().find(|(has, _)| *has == level).map(|(_, rows)| rows)
    }

    /// True also for the level itself.
    pub fn is_above(&self, upper: Level, lower: Level) -> bool {
        std::iter::successors(Some(lower), |level| above(*level)).any(|level| level == upper)
    }

    /// The row of `upper` that a row of `lower` is under; `upper` has to be above.
    pub fn ancestor(&self, lower: Level, row: usize, upper: Level) -> usize {
        match above(lower) {
            Some(next) if lower != upper => self.ancestor(next, self.rows(lower)[row].parent, upper),
            _ => row,
        }
    }

    /// Kind and bytes of a field as seen from a row.
    pub fn read(&self, level: Level, row: usize, path: &Path) -> Encoded {
        self.rows(path.level)[self.ancestor(level, row, path.level)].read(path)
    }
}

/// The level above.
pub fn above(level: Level) -> Option<Level> {
    match level {
        Level::Resource => None,
        Level::Scope => Some(Level::Resource),
        Level::Span | Level::Log | Level::Metric => Some(Level::Scope),
        Level::SpanEvent | Level::SpanLink => Some(Level::Span),
        Level::DataPoint => Some(Level::Metric),
    }
}
