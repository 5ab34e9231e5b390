//! Batches in memory, for the unit tests of a processor.
//!
//! ```
//! # use sluicebox_guest::{Batch, Field, Processor, Rule};
//! # struct DropHealthChecks(Field, Rule);
//! # impl Processor for DropHealthChecks {
//! #     fn configure(_: &str) -> Result<Self, String> {
//! #         Ok(Self(Field::open(&[r#"span.attributes["http.route"]"#])?, Rule::open("health-checks")?))
//! #     }
//! #     fn process(&mut self, batch: &Batch) -> Result<(), String> {
//! #         batch.drop_values(&self.0, &self.1, |route| route == "/health");
//! #         Ok(())
//! #     }
//! # }
//! use sluicebox_guest::Level;
//! use sluicebox_guest::testing::{TestBatch, Tester};
//!
//! let batch = TestBatch::traces()
//!     .resource().attribute("service.name", "checkout")
//!     .span("GET /health").attribute("http.route", "/health")
//!     .span("GET /cart").attribute("http.route", "/cart").event("retry");
//! let mut tester = Tester::<DropHealthChecks>::configure("{}")?;
//! let outcome = tester.process(&batch)?;
//! assert_eq!(outcome.left(Level::Span), [1]);
//! assert_eq!(outcome.dropped_by("health-checks"), [(Level::Span, 0)]);
//! # Ok::<(), String>(())
//! ```
//!
//! A misuse that the host answers with a fault panics here.

use std::rc::Rc;

use crate::memory::{self, Data, Edit, Node, Path, Row, RowField, Secrets, Slot, configuring};
use crate::{Batch, Level, NewValue, Processor};

/// Makes batches. Rows are added in order; a resource and a scope come by themselves where none was added. Attributes and fields go
/// to the row that was added last.
#[derive(Clone, Debug)]
pub struct TestBatch {
    data: Data,
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
    /// [`Batch::contents`] that no path names: `schema_url` and `entity` of resources, `schema_url` of scopes, and
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

/// A configured processor.
#[derive(Debug)]
pub struct Tester<P> {
    processor: P,
    rules: Vec<String>,
}

impl<P: Processor> Tester<P> {
    /// Configures a processor; fields and rules can be opened in here only.
    pub fn configure(config: &str) -> Result<Tester<P>, String> {
        Tester::configure_with_keys(config, &[])
    }

    /// Configures a processor where keys for [`HashKey`](crate::HashKey) have been configured: their names and what they hold.
    pub fn configure_with_keys(config: &str, keys: &[(&str, &[u8])]) -> Result<Tester<P>, String> {
        let keys: Secrets = keys.iter().map(|(name, secret)| ((*name).to_owned(), secret.to_vec())).collect();
        let (processor, rules) = configuring(keys, || P::configure(config));
        Ok(Tester { processor: processor?, rules })
    }

    /// The names of the rules that were opened, in order.
    pub fn rules(&self) -> &[String] {
        &self.rules
    }

    /// Calls the processor. On an error nothing happens to the batch, as at the host.
    pub fn process(&mut self, batch: &TestBatch) -> Result<Outcome, String> {
        let data = Rc::new(batch.data.clone());
        let call = memory::Batch::new(data.clone());
        self.processor.process(&Batch::__of_call(&call))?;
        let (drops, edits) = call.into_effects();
        let mut outcome = Outcome::untouched(&data);
        for (level, rows, rule) in drops {
            for (row, _) in rows.iter().enumerate().filter(|(_, set)| **set) {
                outcome.drop(&data, level, row, &self.rules[rule]);
            }
        }
        outcome.sweep(&data);
        outcome.edit(&edits, &self.rules);
        Ok(outcome)
    }
}

/// What a call left of a batch.
#[derive(Clone, Debug)]
pub struct Outcome {
    left: Vec<(Level, Vec<bool>)>,
    drops: Vec<(String, Level, u32)>,
    edits: Vec<(String, Level, u32)>,
    data: Data,
}

impl Outcome {
    /// The numbers of the rows of a level that are left.
    pub fn left(&self, level: Level) -> Vec<u32> {
        let rows = self.left.iter().find(|(has, _)| *has == level).map_or(&[][..], |(_, rows)| rows);
        (0..).zip(rows).filter(|(_, left)| **left).map(|(row, _)| row).collect()
    }

    /// The rows that were dropped by a rule, those below them not included. A row is accounted to the first rule that drops it.
    pub fn dropped_by(&self, rule: &str) -> Vec<(Level, u32)> {
        self.drops.iter().filter(|(by, ..)| by == rule).map(|(_, level, row)| (*level, *row)).collect()
    }

    /// The rows in which a rule edited something, once for each place that it edited, also where a later edit won. Rows that were
    /// dropped are not among them.
    pub fn edited_by(&self, rule: &str) -> Vec<(Level, u32)> {
        self.edits.iter().filter(|(by, ..)| by == rule).map(|(_, level, row)| (*level, *row)).collect()
    }

    /// True if nothing was dropped or edited.
    pub fn is_unchanged(&self) -> bool {
        self.drops.is_empty() && self.edits.is_empty()
    }

    /// What a field of a row holds after the call, by its name in paths (see [`TestBatch::set`]), such as `attributes["http"]["route"]`.
    ///
    /// # Panics
    /// If the level has no such field, or there is no such row.
    pub fn value(&self, level: Level, row: u32, name: &str) -> NewValue {
        let Some(path) = Path::of_batch(level, name) else { panic!("a {} has no field `{name}`", level.as_str()) };
        memory::owned(&self.data.rows(level)[row as usize].read(&path))
    }

    /// The attributes of a row after the call, in order.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn attributes(&self, level: Level, row: u32) -> Vec<(String, NewValue)> {
        let fields = self.data.rows(level)[row as usize].fields.iter();
        let attributes = fields.filter(|field| field.name == "attributes" && field.slot.is_there());
        let pair =
            |slot: &Slot| (String::from_utf8_lossy(slot.key_now()).into_owned(), memory::owned(&slot.node.encode()));
        attributes.map(|field| pair(&field.slot)).collect()
    }

    fn untouched(data: &Data) -> Outcome {
        let left = data.levels().map(|level| (level, vec![true; data.rows(level).len()])).collect();
        Outcome { left, drops: Vec::new(), edits: Vec::new(), data: data.clone() }
    }

    fn edit(&mut self, edits: &[Edit], rules: &[String]) {
        let changed = memory::apply(&mut self.data, edits);
        for (edit, _) in edits.iter().zip(changed).filter(|(_, changed)| *changed) {
            if self.is_left(edit.level, edit.row) {
                self.edits.push((rules[edit.rule].clone(), edit.level, edit.row as u32));
            }
        }
    }

    fn drop(&mut self, data: &Data, level: Level, row: usize, rule: &str) {
        if !self.is_left(level, row) {
            return;
        }
        self.drops.push((rule.to_owned(), level, row as u32));
        for (lower, rows) in self.left.iter_mut().filter(|(lower, _)| data.is_above(level, *lower)) {
            for (below, left) in rows.iter_mut().enumerate() {
                *left &= data.ancestor(*lower, below, level) != row;
            }
        }
    }

    /// A metric that lost its points goes, then a scope and a resource that lost all below them.
    fn sweep(&mut self, data: &Data) {
        let pairs = [(Level::Metric, Level::DataPoint)].into_iter();
        let items = [Level::Span, Level::Log, Level::Metric].map(|item| (Level::Scope, item));
        for (upper, lower) in pairs.chain(items).chain([(Level::Resource, Level::Scope)]) {
            for row in 0..data.rows(upper).len() {
                let mut below =
                    (0..data.rows(lower).len()).filter(|below| data.ancestor(lower, *below, upper) == row).peekable();
                if below.peek().is_some() && below.all(|below| !self.is_left(lower, below)) {
                    self.clear(upper, row);
                }
            }
        }
    }

    fn is_left(&self, level: Level, row: usize) -> bool {
        self.left.iter().any(|(has, rows)| *has == level && rows.get(row) == Some(&true))
    }

    fn clear(&mut self, level: Level, row: usize) {
        if let Some((_, rows)) = self.left.iter_mut().find(|(has, _)| *has == level) {
            rows[row] = false;
        }
    }
}
