use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A stage of which generation 1 serves.
fn serving() -> Health {
    let mut health = Health::default();
    assert_eq!(health.state(), StageState::Starting);
    assert_eq!(health.note(Event::Committed(1), Duration::ZERO), Some(StageState::Ok));
    health
}

/// A stage whose breaker has just opened.
fn open(now: Duration) -> Health {
    let mut health = serving();
    for _ in 1..FAILURES_MAX {
        assert_eq!(health.note(Event::Failed(1), now), None);
        assert_eq!(health.admit(1, now), Admission::Call);
    }
    assert_eq!(health.note(Event::Failed(1), now), Some(StageState::Recoverable));
    health
}

#[test]
fn failures_without_success_open_the_breaker_and_one_success_closes_it() {
    let mut health = open(SECOND);
    assert_eq!(health.admit(1, SECOND), Admission::Wait(BACKOFF_MIN));
    assert_eq!(health.admit(1, SECOND + millis(40)), Admission::Wait(millis(60)));
    assert_eq!(health.admit(1, SECOND + millis(100)), Admission::Call);
    assert_eq!(health.admit(1, SECOND + millis(100)), Admission::Wait(BACKOFF_MIN), "one call only");
    assert_eq!(health.note(Event::Judged(1), SECOND + millis(110)), Some(StageState::Ok));
    assert!(health.is_well());
    assert_eq!(health.admit(1, SECOND + millis(111)), Admission::Call);
}

#[test]
fn the_backoff_doubles_to_its_bound_and_what_always_fails_never_spends_the_budget() {
    let mut health = open(Duration::ZERO);
    let (mut now, mut tries, mut waits) = (Duration::ZERO, 0, Vec::new());
    while now < 4 * RESTARTS_WINDOW {
        let Admission::Wait(left) = health.admit(1, now) else { panic!("closed at {now:?}") };
        waits.push(left);
        now += left;
        assert_eq!(health.admit(1, now), Admission::Call);
        assert_eq!(health.note(Event::Failed(1), now), None);
        tries += 1;
    }
    let first: Vec<_> = waits.iter().take(10).map(|wait| wait.as_millis()).collect();
    assert_eq!(first, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000]);
    assert!(waits[9..].iter().all(|&wait| wait == BACKOFF_MAX));
    assert_eq!((health.state(), tries), (StageState::Recoverable, waits.len()));
}

#[test]
fn what_opens_again_soon_waits_longer_and_after_a_minute_as_at_first() {
    for (calm, wait) in [(HEALTHY_AFTER - millis(1), 2 * BACKOFF_MIN), (HEALTHY_AFTER, BACKOFF_MIN)] {
        let mut health = open(SECOND);
        health.note(Event::Judged(1), SECOND);
        for _ in 0..FAILURES_MAX {
            health.note(Event::Failed(1), SECOND + calm);
        }
        assert_eq!(health.admit(1, SECOND + calm), Admission::Wait(wait), "{calm:?}");
    }
}

#[test]
fn poison_in_good_traffic_changes_nothing_however_much_of_it() {
    let mut health = serving();
    for n in 0..100_000 {
        for _ in 1..FAILURES_MAX {
            assert_eq!(health.note(Event::Failed(1), millis(n)), None);
        }
        assert_eq!(health.note(Event::Judged(1), millis(n)), None);
        assert_eq!(health.admit(1, millis(n)), Admission::Call);
    }
    assert_eq!(health.restarts(millis(100_000)), 0);
}

#[test]
fn what_fails_and_works_by_turns_spends_its_budget_until_another_generation_serves() {
    let mut health = serving();
    let turn = Event::Recovered { generation: 1, calls: CALLS_WORTH_A_RESTART - 1 };
    for n in 1..RESTARTS_MAX as u64 {
        assert_eq!(health.note(turn, SECOND * n as u32), None);
        assert_eq!(health.restarts(SECOND * n as u32), n as usize);
    }
    assert_eq!(health.note(turn, 100 * SECOND), Some(StageState::Permanent));
    for later in [100, 1000, 1_000_000] {
        assert_eq!(health.admit(1, later * SECOND), Admission::Wait(BACKOFF_MAX));
        assert_eq!(health.note(Event::Judged(1), later * SECOND), None, "what was under way does not help");
    }
    assert_eq!(health.note(Event::Committed(2), 2_000_000 * SECOND), Some(StageState::Ok));
    assert_eq!(health.admit(2, 2_000_000 * SECOND), Admission::Call);
}

#[test]
fn a_budget_is_not_spent_slowly_nor_by_instances_that_were_worth_it() {
    for (apart, calls, spends) in [
        (millis(5990), 0, true),
        (millis(6070), 0, false),
        (HEALTHY_AFTER, 0, false),
        (millis(1), CALLS_WORTH_A_RESTART, false),
    ] {
        let mut health = serving();
        for n in 0..10 * RESTARTS_MAX as u32 {
            health.note(Event::Recovered { generation: 1, calls }, apart * n);
        }
        assert_eq!(health.state() == StageState::Permanent, spends, "{apart:?} {calls}");
    }
}

#[test]
fn a_replaced_generation_says_nothing_of_the_serving_one() {
    let mut health = open(SECOND);
    assert_eq!(health.note(Event::Committed(2), SECOND), Some(StageState::Ok));
    for _ in 0..2 * FAILURES_MAX {
        assert_eq!(health.note(Event::Failed(1), SECOND), None);
    }
    assert!(health.is_well());
    assert_eq!(health.admit(1, SECOND), Admission::Call, "its last batches finish");
    for _ in 0..FAILURES_MAX {
        health.note(Event::Failed(2), SECOND);
    }
    assert_eq!(health.note(Event::Judged(1), SECOND), None);
    assert_eq!(health.state(), StageState::Recoverable);
}

#[test]
fn what_is_stopped_stays_so_and_still_finishes() {
    let mut health = serving();
    assert_eq!(health.note(Event::Stopped, SECOND), Some(StageState::Stopped));
    assert_eq!(health.admit(1, SECOND), Admission::Call);
    for _ in 0..FAILURES_MAX {
        assert_eq!(health.note(Event::Failed(1), SECOND), None);
    }
    assert_eq!(health.admit(1, SECOND), Admission::Wait(BACKOFF_MIN));
    assert_eq!(health.note(Event::Committed(2), SECOND), None);
}

/// What happens next, several times.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ask,
    Judged,
    Failed,
    Recovered(u64),
    Committed,
    OfAnother,
}

/// The whole past of one generation, from which everything is found anew each time.
#[derive(Default)]
struct Past {
    events: Vec<(Duration, Past1)>,
    spent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Past1 {
    Success,
    Failure,
    Restart,
    Try,
}

impl Past {
    /// Failures at the end, without a success behind them.
    fn streak(&self) -> impl Iterator<Item = &(Duration, Past1)> {
        let end = self.events.iter().rposition(|(_, event)| *event == Past1::Success).map_or(0, |last| last + 1);
        self.events[end..].iter().filter(|(_, event)| *event == Past1::Failure)
    }

    fn is_open(&self) -> bool {
        self.streak().count() >= FAILURES_MAX as usize
    }

    /// When the breaker opened or a call that was let through failed, all the time.
    fn setbacks(&self) -> Vec<Duration> {
        let (mut found, mut failures, mut tried) = (Vec::new(), 0, false);
        for (at, event) in &self.events {
            match event {
                Past1::Success => (failures, tried) = (0, false),
                Past1::Failure => {
                    failures += 1;
                    if failures == FAILURES_MAX || failures > FAILURES_MAX && tried {
                        found.push(*at);
                        tried = false;
                    }
                }
                Past1::Try => tried = true,
                Past1::Restart => {}
            }
        }
        found
    }

    fn backoff(&self) -> Duration {
        let setbacks = self.setbacks();
        let mut row = 1;
        for pair in setbacks.windows(2) {
            row = if pair[1] - pair[0] >= HEALTHY_AFTER { 1 } else { row + 1 };
        }
        // The first setback ever: nothing was before the beginning of time.
        (1..row).fold(BACKOFF_MIN, |backoff, _| (backoff * 2).min(BACKOFF_MAX))
    }

    fn admit(&mut self, now: Duration) -> Admission {
        if self.spent {
            return Admission::Wait(BACKOFF_MAX);
        }
        if !self.is_open() {
            return Admission::Call;
        }
        let tries = self.events.iter().filter(|(_, event)| *event == Past1::Try).map(|(at, _)| *at);
        let last = tries.chain(self.setbacks()).max().expect("it opened");
        let until = last + self.backoff();
        if now < until {
            return Admission::Wait(until - now);
        }
        self.events.push((now, Past1::Try));
        Admission::Call
    }

    fn note(&mut self, now: Duration, events: &[Past1]) {
        if self.spent {
            return;
        }
        for &event in events {
            self.events.push((now, event));
            let charged: Vec<_> = self.events.iter().filter(|(_, event)| *event == Past1::Restart).collect();
            let mut times: Vec<_> = charged.into_iter().chain(self.streak()).map(|(at, _)| *at).collect();
            times.sort();
            let calm = times.windows(2).rposition(|pair| pair[1] - pair[0] >= HEALTHY_AFTER).map_or(0, |at| at + 1);
            let recent = times[calm..].iter().filter(|&&at| now - at < RESTARTS_WINDOW).count();
            self.spent = event != Past1::Success && recent >= RESTARTS_MAX;
            if self.spent {
                return;
            }
        }
    }

    fn state(&self) -> StageState {
        match self.spent {
            true => StageState::Permanent,
            false if self.is_open() => StageState::Recoverable,
            false => StageState::Ok,
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<(Step, u64, u32)>> {
    let step = prop_oneof![
        4 => Just(Step::Ask),
        2 => Just(Step::Judged),
        6 => Just(Step::Failed),
        4 => (0..2 * CALLS_WORTH_A_RESTART).prop_map(Step::Recovered),
        1 => Just(Step::Committed),
        1 => Just(Step::OfAnother),
    ];
    let apart = prop_oneof![3 => 0..200_u64, 2 => 0..40_000_u64, 1 => 0..100_000_u64];
    prop::collection::vec((step, apart, 1..30_u32), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// The machine says what its whole past says.
    #[test]
    fn the_machine_does_what_the_past_says(steps in steps()) {
        let mut health = serving();
        // The breaker's first setback is judged against the beginning of time, which lies further back than any calm.
        let (mut past, mut generation, mut now) = (Past::default(), 1, HEALTHY_AFTER);
        for (step, apart, times) in steps {
            for _ in 0..times {
                now += millis(apart);
                let mut note = |event| { health.note(event, now); };
                match step {
                    Step::Ask => {
                        let said = health.admit(generation, now);
                        prop_assert_eq!(said, past.admit(now));
                    }
                    Step::Judged => { note(Event::Judged(generation)); past.note(now, &[Past1::Success]); }
                    Step::Failed => { note(Event::Failed(generation)); past.note(now, &[Past1::Failure]); }
                    Step::Recovered(calls) => {
                        note(Event::Recovered { generation, calls });
                        let all = [Past1::Success, Past1::Restart];
                        past.note(now, if calls < CALLS_WORTH_A_RESTART { &all } else { &all[..1] });
                    }
                    Step::Committed => {
                        generation += 1;
                        note(Event::Committed(generation));
                        past = Past::default();
                    }
                    Step::OfAnother => note(Event::Failed(generation - 1)),
                }
                prop_assert_eq!(health.state(), past.state());
                prop_assert_eq!(health.is_well(), past.state() == StageState::Ok && past.streak().count() == 0);
            }
        }
    }
}
