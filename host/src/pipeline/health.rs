//! The health of a stage as a pure state machine: events and the time come in, answers go out. Who shares it among threads is
//! [`condition`](crate::pipeline::condition).
//!
//! Two things are bounded. What always fails is called less and less (the breaker): after [`FAILURES_MAX`] failures without any success
//! between them it is not called, except once after each backoff; a success closes the breaker. What fails and works by turns, so that
//! the breaker never opens, has a budget of instances ([`RESTARTS_MAX`]); once that is spent only another generation helps.
//!
//! Records that a guest cannot take (poison) do neither: others succeed in between, and a failure that ends in a success of others was no
//! fault of the instance, so its restart is not charged to the budget. Nor is that of an instance which had judged enough to be worth it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::observe::health::StageState;

/// Failed calls without any success between them open the breaker.
pub const FAILURES_MAX: u32 = 8;
/// After the breaker opened, one call is let through after so long; then after twice as long, and so on.
pub const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest backoff.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Instances made after faults, within [`RESTARTS_WINDOW`], that spend the budget.
pub const RESTARTS_MAX: usize = 100;
/// Restarts are forgotten after so long.
pub const RESTARTS_WINDOW: Duration = Duration::from_secs(600);
/// So long without a restart, or without an open breaker, and those before it are forgotten.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// An instance that judged so many calls before its fault was worth making.
pub const CALLS_WORTH_A_RESTART: u64 = 100;

/// What is known of how a stage's calls end. Times are since any fixed moment, and never go back.
#[derive(Debug, Default)]
pub struct Health {
    /// The serving generation; events of others say nothing. 0 before the first.
    generation: u64,
    is_stopped: bool,
    is_spent: bool,
    /// Without a success since.
    failures: u32,
    breaker: Option<Breaker>,
    /// How often the breaker opened, or stayed open after a try, without [`HEALTHY_AFTER`] in between.
    setbacks: u32,
    set_back_at: Duration,
    /// Those that count, oldest first.
    restarts: VecDeque<Duration>,
    /// The last ones among them: of failures that were not followed by a success yet.
    restarts_open: usize,
}

/// An open breaker.
#[derive(Debug)]
struct Breaker {
    /// Nothing is called before.
    until: Duration,
    /// A call was let through, and has not ended yet as far as is known.
    is_tried: bool,
}

/// Something that happened to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// This generation serves from now on.
    Committed(u64),
    /// A call of this generation ended well.
    Judged(u64),
    /// A call of this generation failed for a reason that lies in the stage, or in what it was shown; however many further calls were
    /// made to find out which.
    Failed(u64),
    /// A new instance of this generation judged what an instance that had judged `calls` calls could not.
    Recovered {
        /// The generation.
        generation: u64,
        /// Calls that ended well before the fault.
        calls: u64,
    },
    /// The engine stops.
    Stopped,
}

/// Whether a stage may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Call,
    /// It may not; who asks may come again after this.
    Wait(Duration),
}

impl Health {
    /// The state that is shown.
    pub fn state(&self) -> StageState {
        match self {
            Health { is_stopped: true, .. } => StageState::Stopped,
            Health { generation: 0, .. } => StageState::Starting,
            Health { is_spent: true, .. } => StageState::Permanent,
            Health { breaker: Some(_), .. } => StageState::Recoverable,
            _ => StageState::Ok,
        }
    }

    /// True if every call is let through, and a success would change nothing.
    pub fn is_well(&self) -> bool {
        self.generation > 0 && !self.is_spent && self.failures == 0 && self.breaker.is_none()
    }

    /// Restarts that the budget was charged with and that are not forgotten at `now`.
    pub fn restarts(&self, now: Duration) -> usize {
        let is_healthy = self.restarts.back().is_none_or(|&last| now.saturating_sub(last) >= HEALTHY_AFTER);
        let counts = |&&at: &&Duration| now.saturating_sub(at) < RESTARTS_WINDOW;
        if is_healthy { 0 } else { self.restarts.iter().filter(counts).count() }
    }

    /// Whether a call of this generation may be made now. Where the breaker is open and its backoff is over, this lets one through: who
    /// asks makes it.
    pub fn admit(&mut self, generation: u64, now: Duration) -> Admission {
        if generation != self.generation {
            // Batches that took the old snapshot finish with it.
            return Admission::Call;
        }
        if self.is_spent {
            return Admission::Wait(BACKOFF_MAX);
        }
        let backoff = backoff(self.setbacks.saturating_sub(1));
        match &mut self.breaker {
            None => Admission::Call,
            Some(breaker) if now < breaker.until => Admission::Wait(breaker.until - now),
            Some(breaker) => {
                // Should nothing ever be heard of this call, the next one follows after as long.
                *breaker = Breaker { until: now.saturating_add(backoff), is_tried: true };
                Admission::Call
            }
        }
    }

    /// Takes note of an event; the new state if it is another one.
    pub fn note(&mut self, event: Event, now: Duration) -> Option<StageState> {
        let before = self.state();
        match event {
            // It was configured and probed: it is well until it is shown not to be.
            Event::Committed(generation) => {
                *self = Health { generation, is_stopped: self.is_stopped, ..Health::default() };
            }
            Event::Stopped => self.is_stopped = true,
            Event::Judged(of) if self.counts(of) => self.judged(),
            Event::Failed(of) if self.counts(of) => self.failed(now),
            Event::Recovered { generation, calls } if self.counts(generation) => {
                self.judged();
                if calls < CALLS_WORTH_A_RESTART {
                    self.restarted(now);
                }
            }
            Event::Judged(_) | Event::Failed(_) | Event::Recovered { .. } => {}
        }
        let state = self.state();
        (state != before).then_some(state)
    }

    /// Replaced generations say nothing of the serving one, and nothing but another one helps when the budget is spent.
    fn counts(&self, generation: u64) -> bool {
        generation == self.generation && !self.is_spent
    }

    fn judged(&mut self) {
        self.failures = 0;
        self.breaker = None;
        let charged = self.restarts.len().saturating_sub(self.restarts_open);
        self.restarts.truncate(charged);
        self.restarts_open = 0;
    }

    fn failed(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.restarted(now);
        self.restarts_open += 1;
        match &self.breaker {
            None if self.failures < FAILURES_MAX => {}
            // It was under way when the breaker opened.
            Some(breaker) if !breaker.is_tried => {}
            None | Some(_) => self.set_back(now),
        }
    }

    /// The breaker opens, or stays open for longer.
    fn set_back(&mut self, now: Duration) {
        if now.saturating_sub(self.set_back_at) >= HEALTHY_AFTER {
            self.setbacks = 0;
        }
        let until = now.saturating_add(backoff(self.setbacks));
        self.breaker = Some(Breaker { until, is_tried: false });
        self.setbacks = self.setbacks.saturating_add(1);
        self.set_back_at = now;
    }

    fn restarted(&mut self, now: Duration) {
        let age = |at: &Duration| now.saturating_sub(*at);
        if self.restarts.back().is_some_and(|last| age(last) >= HEALTHY_AFTER) {
            self.restarts.clear();
        }
        while self.restarts.front().is_some_and(|first| age(first) >= RESTARTS_WINDOW) {
            self.restarts.pop_front();
        }
        self.restarts_open = self.restarts_open.min(self.restarts.len());
        self.restarts.push_back(now);
        self.is_spent = self.restarts.len() >= RESTARTS_MAX;
    }
}

/// After so many setbacks before this one.
fn backoff(setbacks: u32) -> Duration {
    BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(setbacks)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests;
