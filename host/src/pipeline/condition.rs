//! The health of a stage as all threads share it: one load while all is well, a lock when something is wrong or the stage is paused; what
//! changes is counted and logged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::observe::health::{HealthMetrics, StageState};
use crate::observe::metrics::Metrics;
use crate::observe::throttle::Throttle;
use crate::pipeline::health::{Admission, Event, FAILURES_MAX, Health, RESTARTS_MAX, RESTARTS_WINDOW};
use crate::pipeline::stage::{Fault, FaultKind};

/// Between two log lines on faults of a stage.
const FAULT_LOG_INTERVAL: Duration = Duration::from_secs(5);
/// What senders are told to wait at most while a stage is paused: it may be resumed at any time.
const PAUSED_RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// How a stage fares, whatever generation serves.
#[derive(Debug)]
pub struct Condition {
    stage: String,
    started: Instant,
    /// Calls need not ask, and successes need not be told.
    is_well: AtomicBool,
    course: Mutex<Course>,
    metrics: HealthMetrics,
    /// A guest that faults at every call must not flood the log.
    fault_lines: Throttle,
}

#[derive(Debug)]
struct Course {
    health: Health,
    /// Of the last failure.
    fault: Option<Fault>,
    /// When the state became what it is.
    since: SystemTime,
    pause: Option<Pause>,
    /// Pauses so far, and which one's time was over last.
    pauses: u64,
    ended_in_time: u64,
}

/// Somebody has a stage not called, whatever generation serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Who.
    pub by: String,
    /// When it ends by itself; None: when it is told to.
    pub until: Option<SystemTime>,
}

/// What is told of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its state.
    pub state: StageState,
    /// When that began.
    pub since: SystemTime,
    /// Where it is not well: its last fault, which never holds telemetry.
    pub fault: Option<Fault>,
    /// Restarts that its budget was charged with.
    pub restarts: usize,
    /// Where it is paused.
    pub pause: Option<Pause>,
}

/// A stage that is not called now.
#[derive(Clone, Debug)]
pub(super) struct HeldBack {
    /// For so long.
    pub left: Duration,
    /// What it failed with last.
    pub fault: Fault,
    /// It did not fail: somebody paused it.
    pub is_paused: bool,
}

impl Condition {
    /// Of a stage that nothing serves yet.
    pub fn new(stage: &str, metrics: &Metrics) -> Arc<Condition> {
        let metrics = metrics.health(stage);
        metrics.show(StageState::Starting, false);
        Arc::new(Condition {
            stage: stage.to_owned(),
            started: Instant::now(),
            is_well: AtomicBool::new(false),
            course: Mutex::new(Course {
                health: Health::default(),
                fault: None,
                since: SystemTime::now(),
                pause: None,
                pauses: 0,
                ended_in_time: 0,
            }),
            metrics,
            fault_lines: Throttle::new(FAULT_LOG_INTERVAL),
        })
    }

    /// This generation serves from now on, and starts afresh.
    pub fn committed(&self, generation: u64) {
        self.note(Event::Committed(generation), None);
    }

    /// The engine stops.
    pub fn stopped(&self) {
        self.note(Event::Stopped, None);
    }

    /// How it fares now.
    pub fn told(&self) -> Told {
        let mut course = self.course();
        self.end_pause_in_time(&mut course);
        let Course { health, fault, since, pause, .. } = &*course;
        let fault = if health.is_well() { None } else { fault.clone() };
        let restarts = health.restarts(self.now());
        Told { state: course.state(), since: *since, fault, restarts, pause: pause.clone() }
    }

    /// The last fault, however it fares now.
    pub fn last_fault(&self) -> Option<Fault> {
        self.course().fault.clone()
    }

    /// From now on nothing is called, until [`resume`](Self::resume) or its end: what it would have judged fares by its `on_fault`. What
    /// was paused before is paused by this instead. Returns its number.
    pub fn pause(&self, pause: Pause) -> u64 {
        let mut course = self.course();
        tracing::warn!(
            stage = self.stage,
            by = pause.by,
            "the stage is paused: it is not called, and what it would have judged fares by its on_fault"
        );
        self.change(&mut course, |course| course.pause = Some(pause));
        course.pauses += 1;
        course.pauses
    }

    /// Has it called again; false where it was not paused.
    pub fn resume(&self) -> bool {
        let mut course = self.course();
        let was_paused = course.pause.is_some();
        if was_paused {
            tracing::info!(stage = self.stage, "the stage is resumed");
            self.change(&mut course, |course| course.pause = None);
        }
        was_paused
    }

    /// Whether the pause of this number ended since its time was over, the last one that did.
    pub fn has_ended_in_time(&self, number: u64) -> bool {
        self.course().ended_in_time == number
    }

    /// Ends a pause whose time is over; true where one ended.
    pub fn end_pause(&self) -> bool {
        self.end_pause_in_time(&mut self.course())
    }

    fn end_pause_in_time(&self, course: &mut Course) -> bool {
        let is_over = |pause: &Pause| pause.until.is_some_and(|until| until <= SystemTime::now());
        let ends = course.pause.as_ref().is_some_and(is_over);
        if ends {
            tracing::info!(stage = self.stage, "the stage is resumed: the time of its pause is over");
            self.change(course, |course| course.pause = None);
            course.ended_in_time = course.pauses;
        }
        ends
    }

    /// Does something that may change the state; the new one, if so.
    fn change(&self, course: &mut Course, change: impl FnOnce(&mut Course)) -> Option<StageState> {
        let before = course.state();
        change(course);
        self.is_well.store(course.health.is_well() && course.pause.is_none(), Ordering::Relaxed);
        let state = course.state();
        if state == before {
            return None;
        }
        course.since = SystemTime::now();
        let is_held_back = matches!(course.health.state(), StageState::Recoverable | StageState::Permanent);
        self.metrics.show(state, is_held_back);
        Some(state)
    }

    /// Whether a fault is to be logged now, and how many were not since the last line.
    pub(super) fn fault_line(&self) -> Option<u64> {
        self.fault_lines.admit()
    }

    /// Whether this generation may be called now. Who asks and may, calls.
    pub(super) fn admit(&self, generation: u64) -> Result<(), HeldBack> {
        if self.is_well.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut course = self.course();
        self.end_pause_in_time(&mut course);
        if let Some(pause) = &course.pause {
            let left = pause.until.and_then(|until| until.duration_since(SystemTime::now()).ok());
            let left = left.map_or(PAUSED_RETRY_AFTER_MAX, |left| left.min(PAUSED_RETRY_AFTER_MAX));
            let fault = Fault { kind: FaultKind::ReturnedError, message: "the stage is paused".to_owned() };
            return Err(HeldBack { left, fault, is_paused: true });
        }
        match course.health.admit(generation, self.now()) {
            Admission::Call => Ok(()),
            Admission::Wait(left) => {
                let unknown = || Fault { kind: FaultKind::Trap, message: String::new() };
                Err(HeldBack { left, fault: course.fault.clone().unwrap_or_else(unknown), is_paused: false })
            }
        }
    }

    /// A call of this generation ended well.
    pub(super) fn judged(&self, generation: u64) {
        if !self.is_well.load(Ordering::Relaxed) {
            self.note(Event::Judged(generation), None);
        }
    }

    /// A call of this generation failed, and so did a new instance where one was tried.
    pub(super) fn failed(&self, generation: u64, fault: &Fault) {
        if fault.kind.is_of_stage() {
            self.note(Event::Failed(generation), Some(fault));
        }
    }

    /// A new instance judged what failed on one that had judged `calls` calls.
    pub(super) fn recovered(&self, generation: u64, calls: u64, fault: &Fault) {
        if fault.kind.is_of_stage() {
            self.note(Event::Recovered { generation, calls }, Some(fault));
        }
    }

    fn note(&self, event: Event, fault: Option<&Fault>) {
        let mut course = self.course();
        if let Some(fault) = fault {
            course.fault = Some(fault.clone());
        }
        let (before, now) = (course.state(), self.now());
        // Under the lock, so that the last state that is shown is the last one there was.
        let changed = self.change(&mut course, |course| {
            course.health.note(event, now);
        });
        let Some(state) = changed else { return };
        let fault = course.fault.clone();
        drop(course);
        self.tell(before, state, fault);
    }

    /// One line for each change of state; by who must act.
    fn tell(&self, before: StageState, state: StageState, fault: Option<Fault>) {
        let stage = &self.stage;
        let fault = fault.map(|fault| fault.to_string()).unwrap_or_default();
        match state {
            StageState::Recoverable => tracing::warn!(
                stage,
                fault,
                "the stage is recoverable: {FAILURES_MAX} calls failed and none ended well between them; it is called now and then, \
                 and what it would have judged fares by its on_fault; if it does not recover, swap its component or its config"
            ),
            StageState::Permanent => tracing::error!(
                stage,
                fault,
                "the stage is permanent: {RESTARTS_MAX} of its instances were replaced after faults within {} minutes; it is not called any \
                 more, and what it would have judged fares by its on_fault; swap its component or its config",
                RESTARTS_WINDOW.as_secs() / 60
            ),
            StageState::Ok if before != StageState::Starting => tracing::info!(stage, "the stage is ok again"),
            StageState::Starting | StageState::Ok | StageState::Paused | StageState::Stopped => {}
        }
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Course {
    /// The state that is shown.
    fn state(&self) -> StageState {
        match (self.health.state(), &self.pause) {
            (StageState::Stopped, _) => StageState::Stopped,
            (_, Some(_)) => StageState::Paused,
            (state, None) => state,
        }
    }
}

/// In a line, for people.
impl std::fmt::Display for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "paused by {}", self.by)?;
        match self.until {
            Some(until) => write!(f, " until {}", httpdate::fmt_http_date(until)),
            None => f.write_str(" until it is resumed"),
        }
    }
}

impl FaultKind {
    /// False where neither the stage nor what it was shown is to blame for not having been judged: the process had no memory, or the
    /// sender's bytes are malformed.
    fn is_of_stage(self) -> bool {
        !matches!(self, FaultKind::ProcessMemory | FaultKind::Malformed)
    }

    /// Whether a new instance may judge what one that had judged others could not: its own memory may have been worn out, or broken.
    pub(super) fn may_be_of_instance(self) -> bool {
        matches!(self, FaultKind::Trap | FaultKind::Memory | FaultKind::BadOutput)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trap() -> Fault {
        Fault { kind: FaultKind::Trap, message: "unreachable (in a <- b)".to_owned() }
    }

    fn shown(metrics: &Metrics) -> Vec<String> {
        let text = metrics.text();
        let shown = |line: &&str| line.ends_with(" 1") && line.contains("stage=");
        text.lines().filter(shown).map(str::to_owned).collect()
    }

    #[test]
    fn states_are_shown_and_nobodys_faults_are_not_counted() {
        let metrics = Metrics::new();
        let condition = Condition::new("wasm/a", &metrics);
        assert_eq!(shown(&metrics), [r#"sluicebox_stage_state{stage="wasm/a",state="starting"} 1"#]);
        condition.committed(1);
        for kind in [FaultKind::ProcessMemory, FaultKind::Malformed] {
            (0..2 * FAILURES_MAX).for_each(|_| condition.failed(1, &Fault { kind, ..trap() }));
        }
        assert!(condition.admit(1).is_ok());
        assert_eq!(shown(&metrics), [r#"sluicebox_stage_state{stage="wasm/a",state="ok"} 1"#]);
        (0..FAILURES_MAX).for_each(|_| condition.failed(1, &trap()));
        let HeldBack { left, fault, .. } = condition.admit(1).expect_err("it is open");
        assert!(left <= crate::pipeline::health::BACKOFF_MIN);
        assert_eq!(fault, trap());
        let told = condition.told();
        assert_eq!((told.state, told.fault), (StageState::Recoverable, Some(trap())));
        assert!(shown(&metrics).contains(&r#"sluicebox_stage_breaker_open{stage="wasm/a"} 1"#.to_owned()));
        condition.committed(2);
        assert!(condition.admit(2).is_ok());
        assert_eq!(condition.told().fault, None);
        assert_eq!(shown(&metrics), [r#"sluicebox_stage_state{stage="wasm/a",state="ok"} 1"#]);
    }

    #[test]
    fn while_the_breaker_is_open_few_threads_get_through() {
        let condition = Condition::new("wasm/a", &Metrics::new());
        condition.committed(1);
        let calls = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if condition.admit(1).is_ok() {
                            calls.fetch_add(1, Ordering::Relaxed);
                            condition.failed(1, &trap());
                        }
                    }
                });
            }
        });
        // Each thread may have been on its way when it opened; and it takes seconds for more than a few backoffs to pass.
        assert!((FAILURES_MAX..FAILURES_MAX + 4 + 8).contains(&calls.into_inner()));
    }

    fn pause(seconds: Option<u64>) -> Pause {
        let until = seconds.and_then(|seconds| SystemTime::now().checked_add(Duration::from_secs(seconds)));
        Pause { by: "api (alice)".to_owned(), until }
    }

    #[test]
    fn a_pause_holds_for_every_generation_and_ends_when_it_is_told_to() {
        let metrics = Metrics::new();
        let condition = Condition::new("wasm/a", &metrics);
        condition.committed(1);
        condition.pause(pause(None));
        for generation in [1, 2] {
            let held = condition.admit(generation).expect_err("it is paused");
            assert_eq!((held.is_paused, held.left), (true, PAUSED_RETRY_AFTER_MAX));
        }
        // What was under way when it was paused, and a swap, change nothing of it.
        condition.judged(1);
        condition.committed(2);
        assert!(condition.admit(2).is_err());
        assert_eq!(condition.told().state, StageState::Paused);
        assert_eq!(shown(&metrics), [r#"sluicebox_stage_state{stage="wasm/a",state="paused"} 1"#]);
        assert!(condition.resume() && !condition.resume());
        assert!(condition.admit(2).is_ok());
        assert_eq!((condition.told().state, condition.told().pause), (StageState::Ok, None));
    }

    #[test]
    fn a_pause_ends_when_its_time_is_over_and_shows_what_is_beneath() {
        let condition = Condition::new("wasm/a", &Metrics::new());
        condition.committed(1);
        (0..FAILURES_MAX).for_each(|_| condition.failed(1, &trap()));
        condition.pause(pause(Some(3_600)));
        assert!(!condition.end_pause());
        assert_eq!(condition.told().state, StageState::Paused);
        condition.pause(pause(Some(0)));
        assert_eq!(condition.told().state, StageState::Recoverable);
        assert!(!condition.end_pause() && !condition.resume(), "it ended when it was looked at");
    }
}
