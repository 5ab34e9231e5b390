use std::time::Duration;

use super::{Configured, Given, Measured, TestTraces};
use crate::memory::States;
use crate::{Policy, Severity, Threshold, Traces, Verdicts};

/// A configured policy, with the host state of its stage.
///
/// ```
/// # use sluicebox_guest::{Policy, Rule, Threshold, Traces, Verdicts};
/// # struct Errors(Rule);
/// # impl Policy for Errors {
/// #     fn configure(_: &str) -> Result<Self, String> {
/// #         Ok(Self(Rule::open("errors")?))
/// #     }
/// #     fn decide(&mut self, traces: &Traces, verdicts: &mut Verdicts) -> Result<(), String> {
/// #         for (trace, errors) in traces.error_counts().into_iter().enumerate().filter(|(_, errors)| *errors > 0) {
/// #             verdicts.keep(trace, Threshold::ALWAYS, &self.0);
/// #         }
/// #         Ok(())
/// #     }
/// # }
/// use sluicebox_guest::testing::{PolicyTester, TestBatch, TestTraces, Vote};
///
/// let spans = TestBatch::traces()
///     .span("GET /cart").set("trace_id", [1; 16]).set("status.code", 2)
///     .span("GET /shop").set("trace_id", [2; 16]);
/// let mut tester = PolicyTester::<Errors>::configure("{}")?;
/// let verdicts = tester.decide(&TestTraces::of(&spans))?;
/// assert_eq!(verdicts[0].vote, Vote::Keep(Threshold::ALWAYS));
/// assert_eq!(verdicts[0].rule.as_deref(), Some("errors"));
/// assert_eq!(verdicts[1].vote, Vote::None);
/// # Ok::<(), String>(())
/// ```
#[derive(Debug)]
pub struct PolicyTester<P>(Configured<P>);

/// What a policy said of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its vote.
    pub vote: Vote,
    /// The name of the rule that decided.
    pub rule: Option<String>,
    /// Whether no further spans can change it.
    pub is_settled: bool,
}

/// A vote on a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// Neither.
    None,
    /// Keep it, with the probability that the threshold stands for.
    Keep(Threshold),
    /// Drop it.
    Drop,
}

impl<P: Policy> PolicyTester<P> {
    /// Configures a policy; fields, rules and host state can be opened in here only.
    pub fn configure(config: &str) -> Result<PolicyTester<P>, String> {
        PolicyTester::configure_with(config, &Given::new())
    }

    /// Configures a policy of a stage that has tables.
    pub fn configure_with(config: &str, given: &Given) -> Result<PolicyTester<P>, String> {
        Ok(PolicyTester(Configured::new(given.clone(), States::default(), || P::configure(config))?))
    }

    /// Configures another in its place, as a live change does: host state is kept. On an error the policy before goes on.
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

    /// Calls the policy: one verdict for each trace. On an error host state is as before, as at the host.
    pub fn decide(&mut self, traces: &TestTraces) -> Result<Vec<Verdict>, String> {
        let Configured { component, opened, states, told, .. } = &mut self.0;
        let (batch, spans) = traces.call(opened.has_fields);
        let mut verdicts = Verdicts::__none(traces.len());
        states.during(|| {
            told.during(states.now(), || component.decide(&Traces::__of_call(&batch, &spans), &mut verdicts))
        })?;
        let lists = verdicts.__into_lists();
        let verdict = |trace: usize| Verdict {
            vote: match lists.votes[trace] {
                0 => Vote::None,
                1 => Vote::Keep(Threshold::from_bits(lists.thresholds[trace])),
                _ => Vote::Drop,
            },
            rule: opened.rules.get(lists.rules[trace] as usize).cloned(),
            is_settled: lists.settled[trace] == 1,
        };
        Ok((0..traces.len()).map(verdict).collect())
    }
}
