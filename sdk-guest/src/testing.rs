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
mod outcome;
mod policy;
mod traces;
mod tracestate;

use std::rc::Rc;
use std::time::Duration;

use crate::memory::{self, Opened, Secrets, States, configuring};
use crate::{Batch, Processor};

pub use batch::TestBatch;
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
        let keys = keys.iter().map(|(name, secret)| ((*name).to_owned(), secret.to_vec())).collect();
        Ok(Tester(Configured::new(keys, States::default(), || P::configure(config))?))
    }

    /// Configures another in its place, as a live change does: host state is kept. On an error the processor before goes on.
    pub fn reconfigure(&mut self, config: &str) -> Result<(), String> {
        self.0.follow(|| P::configure(config))
    }

    /// Lets time pass for buckets and tallies, which stands still otherwise.
    pub fn advance(&mut self, by: Duration) {
        self.0.states.advance(by);
    }

    /// The names of the rules that were opened, in order.
    pub fn rules(&self) -> &[String] {
        &self.0.opened.rules
    }

    /// Calls the processor. On an error nothing happens to the batch or to host state, as at the host.
    pub fn process(&mut self, batch: &TestBatch) -> Result<Outcome, String> {
        let data = Rc::new(batch.data.clone());
        let call = memory::Batch::new(data.clone());
        let Configured { component, states, .. } = &mut self.0;
        states.during(|| component.process(&Batch::__of_call(&call)))?;
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
    secrets: Secrets,
    states: States,
}

impl<C> Configured<C> {
    fn new(secrets: Secrets, states: States, configure: impl FnOnce() -> Result<C, String>) -> Result<Self, String> {
        let (component, opened) = configuring(secrets.clone(), &states, configure);
        Ok(Configured { component: component?, opened, secrets, states })
    }

    fn follow(&mut self, configure: impl FnOnce() -> Result<C, String>) -> Result<(), String> {
        *self = Configured::new(self.secrets.clone(), self.states.followed(), configure)?;
        Ok(())
    }
}
