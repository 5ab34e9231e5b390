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

use crate::memory::{self, Data, Row, configuring};
use crate::{Batch, Level, Processor};

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
    pub fn log(self, body: impl Into<TestValue>) -> TestBatch {
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
    pub fn attribute(self, key: &str, value: impl Into<TestValue>) -> TestBatch {
        self.set(&format!("attributes[{key:?}]"), value)
    }

    /// Sets a field of the last row by its name in paths, such as `kind` or `status.code`.
    ///
    /// # Panics
    /// If the level has no such field.
    pub fn set(mut self, name: &str, value: impl Into<TestValue>) -> TestBatch {
        assert!(memory::is_known(self.last, name), "a {} has no field `{name}`", self.last.as_str());
        let value = value.into().encode();
        let last = self.data.rows_mut(self.last).and_then(|rows| rows.last_mut());
        let Some(row) = last else { panic!("there is no row to set `{name}` of") };
        row.fields.retain(|(has, _)| has != name);
        row.fields.push((name.to_owned(), value));
        self
    }
}

/// A value to put into a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum TestValue {
    /// A string.
    Str(String),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating point number.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An array, as the bytes of an OTLP `AnyValue` message.
    Array(Vec<u8>),
    /// A map, as the bytes of an OTLP `AnyValue` message.
    Map(Vec<u8>),
    /// There, but without a value.
    Empty,
}

impl TestValue {
    fn encode(self) -> (u8, Vec<u8>) {
        match self {
            TestValue::Str(text) => (1, text.into_bytes()),
            TestValue::Bool(bool) => (2, vec![u8::from(bool)]),
            TestValue::Int(int) => (3, int.to_le_bytes().to_vec()),
            TestValue::Double(double) => (4, double.to_le_bytes().to_vec()),
            TestValue::Bytes(bytes) => (5, bytes),
            TestValue::Array(bytes) => (6, bytes),
            TestValue::Map(bytes) => (7, bytes),
            TestValue::Empty => (8, Vec::new()),
        }
    }
}

impl From<&str> for TestValue {
    fn from(text: &str) -> Self {
        TestValue::Str(text.to_owned())
    }
}

impl From<bool> for TestValue {
    fn from(bool: bool) -> Self {
        TestValue::Bool(bool)
    }
}

impl From<i64> for TestValue {
    fn from(int: i64) -> Self {
        TestValue::Int(int)
    }
}

impl From<f64> for TestValue {
    fn from(double: f64) -> Self {
        TestValue::Double(double)
    }
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
        let (processor, rules) = configuring(|| P::configure(config));
        Ok(Tester { processor: processor?, rules })
    }

    /// The names of the rules that were opened, in order.
    pub fn rules(&self) -> &[String] {
        &self.rules
    }

    /// Calls the processor. On an error nothing is dropped, as at the host.
    pub fn process(&mut self, batch: &TestBatch) -> Result<Outcome, String> {
        let data = Rc::new(batch.data.clone());
        let call = memory::Batch::new(data.clone());
        self.processor.process(&Batch::__of_call(&call))?;
        let mut outcome = Outcome::untouched(&data);
        for (level, rows, rule) in call.into_drops() {
            for (row, _) in rows.iter().enumerate().filter(|(_, set)| **set) {
                outcome.drop(&data, level, row, &self.rules[rule]);
            }
        }
        outcome.sweep(&data);
        Ok(outcome)
    }
}

/// What a call left of a batch.
#[derive(Clone, Debug)]
pub struct Outcome {
    left: Vec<(Level, Vec<bool>)>,
    drops: Vec<(String, Level, u32)>,
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

    /// True if nothing was dropped.
    pub fn is_unchanged(&self) -> bool {
        self.drops.is_empty()
    }

    fn untouched(data: &Data) -> Outcome {
        let left = data.levels().map(|level| (level, vec![true; data.rows(level).len()])).collect();
        Outcome { left, drops: Vec::new() }
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
