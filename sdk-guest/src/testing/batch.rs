use crate::memory::{self, Data, Node, Path, Row, RowField, Slot};
use crate::{Level, NewValue};

/// Makes batches. Rows are added in order; a resource and a scope come by themselves where none was added. Attributes and fields go
/// to the row that was added last.
#[derive(Clone, Debug)]
pub struct TestBatch {
    pub(super) data: Data,
    last: Level,
}

impl TestBatch {
    /// An empty batch of spans.
    pub fn traces() -> TestBatch {
        TestBatch { data: Data::new(memory::Signal::Traces), last: Level::Resource }
    }

    /// An empty batch of metrics.
    pub fn metrics() -> TestBatch {
        TestBatch { data: Data::new(memory::Signal::Metrics), last: Level::Resource }
    }

    /// An empty batch of log records.
    pub fn logs() -> TestBatch {
        TestBatch { data: Data::new(memory::Signal::Logs), last: Level::Resource }
    }

    /// Adds a resource.
    pub fn resource(self) -> TestBatch {
        self.row(Level::Resource)
    }

    /// Adds a scope to the last resource.
    pub fn scope(self, name: &str) -> TestBatch {
        self.row(Level::Scope).set("name", name)
    }

    /// Adds a span to the last scope.
    pub fn span(self, name: &str) -> TestBatch {
        self.row(Level::Span).set("name", name)
    }

    /// Adds an event to the last span.
    pub fn event(self, name: &str) -> TestBatch {
        self.row(Level::SpanEvent).set("name", name)
    }

    /// Adds a link to the last span.
    pub fn link(self) -> TestBatch {
        self.row(Level::SpanLink)
    }

    /// Adds a log record to the last scope.
    pub fn log(self, body: impl Into<NewValue>) -> TestBatch {
        self.row(Level::Log).set("body", body)
    }

    /// Adds a metric to the last scope.
    pub fn metric(self, name: &str) -> TestBatch {
        self.row(Level::Metric).set("name", name)
    }

    /// Adds a data point to the last metric.
    pub fn point(self) -> TestBatch {
        self.row(Level::DataPoint)
    }

    /// Adds a row of a level under the last row of the level above.
    ///
    /// # Panics
    /// If the signal does not have the level, or there is no item to add to.
    pub fn row(mut self, level: Level) -> TestBatch {
        if let Some(above) = memory::above(level)
            && (self.data.rows(above).is_empty() || self.starts_anew(level))
        {
            assert!(above <= Level::Scope, "there is no {} to add a {} to", above.as_str(), level.as_str());
            self = self.row(above);
        }
        let parent = memory::above(level).map_or(0, |above| self.data.rows(above).len() - 1);
        let signal = self.data.signal;
        let Some(rows) = self.data.rows_mut(level) else { panic!("{signal:?} have no level `{}`", level.as_str()) };
        rows.push(Row { parent, fields: Vec::new() });
        self.last = level;
        self
    }

    /// An item after a resource without a scope of its own needs a new scope.
    fn starts_anew(&self, level: Level) -> bool {
        let item = memory::above(level) == Some(Level::Scope);
        item && self.data.rows(Level::Scope).last().map(|scope| scope.parent + 1)
            != Some(self.data.rows(Level::Resource).len())
    }

    /// Sets an attribute of the last row.
    pub fn attribute(self, key: &str, value: impl Into<NewValue>) -> TestBatch {
        self.set(&keyed("attributes", key), value)
    }

    /// Sets a field of the last row by its name in paths, such as `kind` or `status.code`. Some can be set and seen in
    /// [`Batch::contents`](crate::Batch::contents) that no path names: `schema_url` and `entity` of resources, `schema_url` of scopes, and
    /// `exemplar.attributes["key"]`, `exemplar.trace_id` and `exemplar.span_id` of data points.
    ///
    /// # Panics
    /// If the level has no such field, or the bytes of a list or a map are not those of one.
    pub fn set(mut self, name: &str, value: impl Into<NewValue>) -> TestBatch {
        let path = Path::of_batch(self.last, name);
        let Some(path) = path.filter(|path| path.inner_steps().is_empty()) else {
            panic!("a {} has no field `{name}`", self.last.as_str());
        };
        let value = value.into();
        assert!(memory::is_legal(&memory::encode(value.as_value())), "the bytes for `{name}` are not of their kind");
        let last = self.data.rows_mut(self.last).and_then(|rows| rows.last_mut());
        let Some(row) = last else { panic!("there is no row to set `{name}` of") };
        let key = path.key().unwrap_or_default().as_bytes();
        row.fields.retain(|field| field.name != path.name || field.slot.key != key);
        if value != NewValue::Absent {
            row.fields.push(RowField { name: path.name, slot: Slot::new(key, Node::of(value.as_value())) });
        }
        self
    }
}

fn keyed(name: &str, key: &str) -> String {
    format!("{name}[\"{}\"]", key.replace('\\', "\\\\").replace('"', "\\\""))
}
