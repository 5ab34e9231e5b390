use super::Signal;
use super::path::Path;
use crate::Level;

/// The rows of a batch, level by level.
#[derive(Clone, Debug)]
pub struct Data {
    pub signal: Signal,
    levels: Vec<(Level, Vec<Row>)>,
}

/// A row: the row of the level above that it belongs to, and its fields by name within the level.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub parent: usize,
    pub fields: Vec<(String, (u8, Vec<u8>))>,
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
    pub fn read(&self, level: Level, row: usize, path: &Path) -> (u8, Vec<u8>) {
        let row = &self.rows(path.level)[self.ancestor(level, row, path.level)];
        let found = row.fields.iter().find(|(name, _)| *name == path.name);
        found.map_or_else(|| path.unset.encode(), |(_, value)| value.clone())
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
