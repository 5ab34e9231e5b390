//! What a shard may hold: bounds, the process budget, and that memory comes back.

use super::*;

/// A request of `traces` traces, each with `spans` spans of some bytes. Ids are numbers from `from` on.
fn traces(from: u32, traces: u32, spans: u8) -> Bytes {
    let of =
        |id: u32| (0..spans).map(move |number| sized(id, number, 200 + usize::from(number) * 7 + id as usize % 50));
    request("shop", (from..from + traces).flat_map(of).collect())
}

fn sized(id: u32, number: u8, bytes: usize) -> Span {
    Span { trace_id: u128::from(id).to_be_bytes().to_vec(), name: "n".repeat(bytes), ..span(0, number) }
}

#[test]
fn never_more_is_held_than_may_be_and_what_does_not_fit_changes_nothing() {
    for bytes_max in [600 << 10, 1 << 20, 5 << 20] {
        let mut lab = Lab::new(|settings| {
            settings.bytes_max = bytes_max;
            settings.traces_max = 1 << 20;
            settings.evicts = false;
        });
        let mut sent = 0;
        loop {
            let before = lab.shard.load();
            let taken = lab.try_take(traces(sent, 10, 3));
            let after = lab.shard.load();
            assert!(after.bytes <= bytes_max, "{} of {bytes_max}", after.bytes);
            if taken.is_err() {
                assert_eq!((after.traces, after.spans), (before.traces, before.spans));
                break;
            }
            sent += 10;
        }
        assert!(lab.shard.load().bytes > bytes_max / 10 * 7, "{} of {bytes_max}", lab.shard.load().bytes);
        assert!(lab.shard.explain(u128::from(sent).to_be_bytes()).is_none());
        // With room again, it goes on.
        lab.shard.drain();
        assert!(lab.settle(drop_it).decisions.len() > 100);
        assert!(lab.try_take(traces(sent, 10, 3)).is_ok());
    }
}

#[test]
fn under_pressure_the_oldest_are_decided_and_more_fits() {
    let bytes_max = 1 << 20;
    let mut lab = Lab::new(|settings| (settings.bytes_max, settings.traces_max) = (bytes_max, 1 << 20));
    let mut oldest = 0;
    for from in (0..20_000).step_by(20) {
        lab.millis += 1;
        lab.try_take(traces(from, 20, 2)).expect("there is room, as what is due is decided");
        while let Some(due) = lab.shard.due(lab.now()) {
            for (id, trigger) in due.traces.ids.iter().zip(&due.traces.triggers) {
                assert_eq!((u128::from_be_bytes(*id), *trigger), (oldest, Trigger::Memory as u8));
                oldest += 1;
            }
            let count = due.traces.len();
            lab.shard.settle(lab.now(), due, vec![drop_it(0); count]);
        }
        assert!(lab.shard.load().bytes <= bytes_max / 10 * 9 + 1000, "{} bytes", lab.shard.load().bytes);
    }
    assert!(oldest > 15_000 && lab.shard.load().traces > 500, "{oldest} decided, {:?}", lab.shard.load());
}

#[test]
fn the_process_budget_is_asked_first_and_gets_everything_back() {
    let budget = Budget::new(2 << 20);
    let mut lab = Lab::within(&budget, |settings| settings.evicts = false);
    let mut sent = 0;
    while lab.try_take(traces(sent, 10, 3)).is_ok() {
        sent += 10;
        assert!(lab.shard.load().bytes <= budget.bytes_used(), "what is held is charged");
        assert!(budget.bytes_used() <= budget.bytes_max());
    }
    assert!(budget.bytes_used() > budget.bytes_max() / 2);
    lab.shard.drain();
    while !lab.settle(drop_it).decisions.is_empty() {}
    assert!(lab.shard.load().bytes <= budget.bytes_used());
    assert!(lab.try_take(traces(sent, 10, 3)).is_ok());
    let budget = Arc::clone(&lab.budget);
    drop(lab);
    assert_eq!(budget.bytes_used(), 0);
}

#[test]
fn memory_comes_back() {
    let mut lab = Lab::new(|settings| settings.traces_max = 1 << 20);
    let empty = lab.shard.load().bytes;
    for from in (0..30_000).step_by(100) {
        lab.try_take(traces(from, 100, 3)).expect("there is room");
    }
    let full = lab.shard.load();
    assert!(full.bytes - empty < 30_000 * (3 * 370 + 150), "{full:?}");
    lab.shard.drain();
    while !lab.settle(drop_it).decisions.is_empty() {}
    let after = lab.shard.load().bytes;
    assert!(after - empty < full.bytes / 20, "{empty} when empty, {} when full, {after} after", full.bytes);
}

#[test]
fn gaps_are_closed_and_what_is_left_stays_as_it_is() {
    let mut lab = Lab::new(|settings| {
        settings.traces_max = 1 << 20;
        settings.span_limit = Some(7);
    });
    let mut sent = Vec::new();
    for round in 0..6_u8 {
        for from in (0..20_000_u32).step_by(100) {
            // All but every eighth get a seventh span and go, so that what stays lies between gaps.
            let spans = (from..from + 100).flat_map(|id| {
                let count = if round == 5 && id % 8 != 0 { 2 } else { 1 };
                (0..count).map(move |twice| sized(id, round * 2 + twice, 100 + id as usize % 40))
            });
            let spans: Vec<_> = spans.collect();
            lab.try_take(request("shop", spans.clone())).expect("there is room");
            let eighth = spans.into_iter().filter(|span| span.trace_id[15] % 8 == 0).collect();
            sent.push(request("shop", eighth));
        }
    }
    let full = lab.shard.load().bytes;
    let mut gone = 0;
    loop {
        let settled = lab.settle(drop_it).decisions.len();
        if settled == 0 {
            break;
        }
        gone += settled;
    }
    assert_eq!((gone, lab.shard.load().traces), (17_500, 2_500));
    // A quarter of gaps, or nearly, is left; without moving anything it would be all segments.
    assert!(lab.shard.load().bytes < full / 2, "{} of {full} bytes", lab.shard.load().bytes);
    lab.shard.drain();
    let mut left = Vec::new();
    loop {
        let settled = lab.settle(keep);
        if settled.decisions.is_empty() {
            break;
        }
        left.extend(settled.released.into_iter().map(|released| released.body));
    }
    assert!(content(&left) == content(&sent), "what was moved has changed");
}

#[test]
fn remembered_ids_never_take_more_than_their_share() {
    let bytes_max = 1 << 20;
    let mut lab = Lab::new(|settings| {
        settings.bytes_max = bytes_max;
        settings.traces_max = 1 << 20;
        settings.dropped_ids_max = 1 << 20;
        settings.kept_ids_max = 1 << 20;
    });
    let mut last = 0;
    for from in (0..60_000).step_by(500) {
        lab.try_take(traces(from, 500, 1)).expect("there is room");
        lab.shard.drain();
        while !lab.settle(|id| if id % 2 == 0 { keep(id) } else { drop_it(id) }).decisions.is_empty() {}
        last = from;
        assert!(lab.shard.load().bytes < bytes_max / 2, "{} bytes", lab.shard.load().bytes);
    }
    assert!(lab.shard.explain(u128::from(last).to_be_bytes()).is_some(), "the last ones are remembered");
}
