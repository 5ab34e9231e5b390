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

mod batch;
mod given;
mod outcome;
mod policy;
mod traces;
mod tracestate;

use std::rc::Rc;
use std::time::Duration;

use crate::memory::{self, Opened, States, Told, configuring};
use crate::{Batch, Processor, Severity};

pub use crate::memory::{Measured, TestTable};
pub use batch::TestBatch;
pub use given::Given;
pub use outcome::Outcome;
pub use policy::{PolicyTester, Verdict, Vote};
pub use traces::TestTraces;

/// A configured processor, with the host state of its stage.
#[derive(Debug)]
pub struct Tester<P>(Configured<P>);

impl<P: Processor> Tester<P> {
    /// Configures a processor; fields and rules can be opened in here only.
    pub fn configure(config: &str) -> Result<Tester<P>, String> {
        Tester::configure_with_keys(config, &[])
    }

    /// Configures a processor where keys for [`HashKey`](crate::HashKey) have been configured: their names and what they hold.
    pub fn configure_with_keys(config: &str, keys: &[(&str, &[u8])]) -> Result<Tester<P>, String> {
        Tester::configure_with(config, &keys.iter().fold(Given::new(), |given, (name, secret)| given.key(name, secret)))
    }

    /// Configures a processor of a stage that has keys or tables.
    pub fn configure_with(config: &str, given: &Given) -> Result<Tester<P>, String> {
        Ok(Tester(Configured::new(given.clone(), States::default(), || P::configure(config))?))
    }

    /// Configures another in its place, as a live change does: host state is kept. On an error the processor before goes on.
    pub fn reconfigure(&mut self, config: &str) -> Result<(), String> {
        self.0.follow(|| P::configure(config))
    }

    /// Lets time pass for the clock, buckets and tallies, which stands still otherwise.
    pub fn advance(&mut self, by: Duration) {
        self.0.states.advance(by);
    }

    /// The lines that it has logged since it was configured.
    pub fn lines(&self) -> Vec<(Severity, String)> {
        self.0.lines()
    }

    /// What a metric is that it opened.
    pub fn metric(&self, name: &str) -> Option<Measured> {
        self.0.told.metric(name)
    }

    /// The names of the rules that were opened, in order.
    pub fn rules(&self) -> &[String] {
        &self.0.opened.rules
    }

    /// Calls the processor. On an error nothing happens to the batch or to host state, as at the host.
    pub fn process(&mut self, batch: &TestBatch) -> Result<Outcome, String> {
        let data = Rc::new(batch.data.clone());
        let call = memory::Batch::new(data.clone());
        let Configured { component, states, told, .. } = &mut self.0;
        states.during(|| told.during(states.now(), || component.process(&Batch::__of_call(&call))))?;
        let (drops, edits) = call.into_effects();
        let mut outcome = Outcome::untouched(&data);
        for (level, rows, rule) in drops {
            for (row, _) in rows.iter().enumerate().filter(|(_, set)| **set) {
                outcome.drop(&data, level, row, &self.rules()[rule]);
            }
        }
        outcome.sweep(&data);
        outcome.edit(&edits, self.rules());
        Ok(outcome)
    }
}

/// A component with what it opened and what it keeps at the host.
#[derive(Debug)]
struct Configured<C> {
    component: C,
    opened: Opened,
    given: Given,
    states: States,
    told: Told,
}

impl<C> Configured<C> {
    fn new(given: Given, states: States, configure: impl FnOnce() -> Result<C, String>) -> Result<Self, String> {
        let told = Told::default();
        let (component, opened) = configuring(given.to_memory(), &states, &told, configure);
        Ok(Configured { component: component?, opened, given, states, told })
    }

    fn lines(&self) -> Vec<(Severity, String)> {
        let severity = |severity| match severity {
            memory::Severity::Debug => Severity::Debug,
            memory::Severity::Info => Severity::Info,
            memory::Severity::Warn => Severity::Warn,
            memory::Severity::Error => Severity::Error,
        };
        self.told.lines().into_iter().map(|(of, text)| (severity(of), text)).collect()
    }

    fn follow(&mut self, configure: impl FnOnce() -> Result<C, String>) -> Result<(), String> {
        *self = Configured::new(self.given.clone(), self.states.followed(), configure)?;
        Ok(())
    }
}
