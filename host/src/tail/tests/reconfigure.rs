//! Other settings while traces wait.

use super::*;

/// Another of the lab's settings.
impl Lab {
    fn reconfigure(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.shard.settings.clone();
        change(&mut settings);
        self.shard.reconfigure(self.now(), settings);
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_waits_is_due_as_if_the_wait_had_held_from_the_beginning() {
    let mut lab = Lab::new(|_| {});
    lab.take(vec![span(1, 1)]);
    lab.millis = 4_000;
    lab.take(vec![span(2, 1)]);
    lab.reconfigure(|settings| settings.decision_wait = 2 * SECOND);
    assert_eq!(lab.due(), [(1, Trigger::Wait)], "at once, as it came 4 s ago");
    lab.millis = 5_999;
    assert_eq!(lab.due(), [(1, Trigger::Wait)]);
    lab.reconfigure(|settings| settings.decision_wait = 20 * SECOND);
    lab.take(vec![span(3, 1)]);
    lab.millis = 19_999;
    assert_eq!(lab.due(), []);
    assert_eq!(lab.shard.wake_at(), Some(20 * SECOND));
    lab.millis = 24_000;
    assert_eq!(lab.due(), [(1, Trigger::Wait), (2, Trigger::Wait)]);
    lab.millis = 26_000;
    assert_eq!(lab.due(), [(1, Trigger::Wait), (2, Trigger::Wait), (3, Trigger::Wait)]);
}

#[test]
fn roots_shorten_another_wait() {
    let mut lab = Lab::new(|settings| settings.wait_after_root = Some(3 * SECOND));
    lab.take(vec![span(1, 1), root(2, 1)]);
    lab.millis = 1_000;
    lab.take(vec![root(3, 1), root(4, 1)]);
    lab.reconfigure(|settings| settings.wait_after_root = Some(SECOND));
    assert_eq!(lab.due(), [(2, Trigger::Root)]);
    lab.reconfigure(|settings| (settings.wait_after_root, settings.decision_wait) = (Some(5 * SECOND), 4 * SECOND));
    lab.millis = 5_000;
    let due = lab.due();
    assert_eq!(due, [(1, Trigger::Wait), (2, Trigger::Wait), (3, Trigger::Wait), (4, Trigger::Wait)]);
    lab.reconfigure(|settings| settings.decision_wait = 30 * SECOND);
    lab.take(vec![root(5, 1)]);
    lab.reconfigure(|settings| settings.wait_after_root = None);
    lab.millis = 20_000;
    assert_eq!(lab.due(), [], "there is no other wait for it any more");
}

#[test]
fn limits_hold_for_what_waits() {
    let mut lab = Lab::new(|_| {});
    lab.take(vec![span(1, 1), span(2, 1), span(2, 2), span(3, 1), span(3, 2), span(3, 3)]);
    lab.reconfigure(|settings| settings.span_limit = Some(2));
    assert_eq!(lab.due(), [(2, Trigger::Limit), (3, Trigger::Limit)]);
    lab.reconfigure(|settings| settings.span_limit = None);
    lab.take(vec![root(2, 3)]);
    assert_eq!(lab.due(), [(2, Trigger::Limit), (3, Trigger::Limit)], "what was due at once stays so");
    lab.settle(keep);
    lab.take(vec![span(4, 1), span(5, 1)]);
    lab.reconfigure(|settings| settings.traces_max = 1);
    assert_eq!(lab.due(), [(1, Trigger::Memory), (4, Trigger::Memory)]);
}

/// Less memory: the shard comes down to it, and what is charged with it; more is used again.
#[test]
fn another_bound_on_bytes_holds_from_then_on() {
    let mut lab = Lab::new(|settings| (settings.kept_ids_max, settings.dropped_ids_max) = (100_000, 100_000));
    let big = |id: u8| Span { name: "x".repeat(40_000), ..span(id, 1) };
    for id in 0..200 {
        lab.take(vec![big(id)]);
    }
    assert!(lab.shard.load().bytes > 7 << 20);
    lab.reconfigure(|settings| settings.bytes_max = 2 << 20);
    assert!(lab.try_take(request("shop", vec![big(255)])).is_err(), "there is no room");
    while !lab.due().is_empty() {
        assert!(lab.due().iter().all(|(_, trigger)| *trigger == Trigger::Memory));
        lab.settle(drop_it);
    }
    let load = lab.shard.load();
    assert!(load.bytes <= 2 << 20 && load.traces > 10, "{load:?}");
    lab.reconfigure(|settings| settings.bytes_max = 64 << 20);
    for id in 0..150 {
        lab.take(vec![big(id)]);
    }
    assert_eq!(lab.due(), []);
    lab.shard.drain();
    while !lab.due().is_empty() {
        lab.settle(keep);
    }
    assert!(lab.budget.bytes_used() >= lab.shard.load().bytes);
    let budget = Arc::clone(&lab.budget);
    drop(lab);
    assert_eq!(budget.bytes_used(), 0);
}
