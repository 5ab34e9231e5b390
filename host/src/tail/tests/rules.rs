//! When traces are due, and what becomes of their spans.

use super::*;
use crate::tail::explain::TraceState;
use crate::tail::traces::{MARK_ROOT, MARK_SAMPLED};
use crate::tail::verdict::THRESHOLD_UNKNOWN;

#[test]
fn a_trace_waits_from_its_first_span_on() {
    let mut lab = Lab::new(|_| {});
    assert_eq!(lab.shard.wake_at(), None);
    assert_eq!(lab.take(vec![span(1, 1)]).new_traces, 1);
    lab.millis = 4_000;
    let taken = lab.take(vec![span(1, 2), span(2, 1)]);
    assert_eq!((taken.new_traces, lab.shard.load().traces, lab.shard.load().spans), (1, 2, 3));
    assert_eq!(lab.shard.wake_at(), Some(Duration::from_secs(10)));
    lab.millis = 9_999;
    assert_eq!(lab.due(), []);
    lab.millis = 10_000;
    assert_eq!(lab.due(), [(1, Trigger::Wait)]);
    lab.millis = 14_000;
    assert_eq!(lab.due(), [(1, Trigger::Wait), (2, Trigger::Wait)]);
    let settled = lab.settle(|id| if id == 1 { keep(id) } else { drop_it(id) });
    assert_eq!(spans(&settled.released), [span(1, 1), span(1, 2)]);
    let decisions: Vec<_> = settled.decisions.iter().map(|d| (d.vote_kept, d.trigger, d.spans, d.waited)).collect();
    assert_eq!(
        decisions,
        [(true, Trigger::Wait, 2, Duration::from_secs(14)), (false, Trigger::Wait, 1, Duration::from_secs(10))]
    );
    assert_eq!((lab.shard.load().traces, lab.shard.load().spans), (0, 0));
    assert_eq!(lab.due(), []);
}

#[test]
fn policies_are_told_what_is_known_of_a_trace() {
    let mut lab = Lab::new(|_| {});
    lab.millis = 5;
    let sampled = Span { flags: 0x101, start_time_unix_nano: 500, trace_state: "ot=th:8".to_owned(), ..root(9, 1) };
    let ok = Span { status: Some(Status { code: 1, ..Status::default() }), end_time_unix_nano: 9_000, ..span(9, 3) };
    let random = Span { trace_state: "ot=th:4;rv:0123456789abcd".to_owned(), ..failed(9, 4) };
    let bytes: usize = [&sampled, &ok, &random].iter().map(|span| span.encoded_len()).sum();
    lab.take(vec![sampled, ok]);
    lab.take(vec![random, Span { trace_id: vec![1, 2], ..span(0, 5) }]);
    lab.millis = 20_000;
    let due = lab.shard.due(lab.now()).expect("both are due");
    let traces = &due.traces;
    assert_eq!(traces.now_unix_nano, STARTED_UNIX_NANO + 20_000_000_000);
    assert_eq!(traces.ids, [[9; 16], [0; 16]]);
    assert_eq!(traces.randomness, [0x0001_2345_6789_abcd, 0]);
    assert_eq!(traces.thresholds, [8 << 52, THRESHOLD_UNKNOWN]);
    assert_eq!(traces.arrivals_unix_nano, [STARTED_UNIX_NANO + 5_000_000; 2]);
    assert_eq!((&traces.starts_unix_nano[..], &traces.ends_unix_nano[..]), (&[500, 1_000][..], &[9_000, 2_000][..]));
    assert_eq!(
        (&traces.span_counts[..], &traces.error_counts[..], &traces.ok_counts[..]),
        (&[3, 1][..], &[1, 0][..], &[1, 0][..])
    );
    assert_eq!(traces.byte_counts[0], bytes as u64);
    assert_eq!(traces.marks, [MARK_ROOT | MARK_SAMPLED, 0]);
    // Without a random value it is the end of the id.
    let mut lab = Lab::new(|_| {});
    lab.take(vec![Span { trace_id: (0..16).collect(), ..span(0, 1) }]);
    lab.shard.drain();
    let due = lab.shard.due(lab.now()).expect("it is due");
    assert_eq!(due.traces.randomness, [0x0009_0a0b_0c0d_0e0f]);
}

#[test]
fn a_root_shortens_the_wait_and_never_lengthens_it() {
    let mut lab = Lab::new(|settings| settings.wait_after_root = Some(Duration::from_secs(2)));
    lab.take(vec![span(1, 1), root(2, 1), span(3, 1)]);
    lab.millis = 9_000;
    assert_eq!(lab.due(), [(2, Trigger::Root)]);
    lab.settle(keep);
    lab.take(vec![Span { parent_span_id: vec![0; 8], ..span(1, 2) }]);
    lab.take(vec![root(4, 1)]);
    lab.millis = 10_999;
    assert_eq!(lab.due(), [(1, Trigger::Wait), (3, Trigger::Wait)]);
    lab.millis = 11_000;
    assert_eq!(lab.due(), [(1, Trigger::Wait), (3, Trigger::Wait), (4, Trigger::Root)]);
}

#[test]
fn limits_are_due_at_once_and_first() {
    let mut lab = Lab::new(|settings| {
        settings.span_limit = Some(3);
        settings.trace_bytes_limit = 1000;
    });
    lab.take(vec![span(1, 1), span(2, 1), span(2, 2), span(3, 1)]);
    assert_eq!(lab.due(), []);
    lab.millis = 10_000;
    let large = Span { name: "x".repeat(1000), ..span(4, 1) };
    lab.take(vec![span(2, 3), large]);
    assert_eq!(lab.shard.wake_at(), Some(Duration::from_secs(10)));
    let expected = [(2, Trigger::Limit), (4, Trigger::Limit), (1, Trigger::Wait), (3, Trigger::Wait)];
    assert_eq!(lab.due(), expected);
}

#[test]
fn a_trace_that_is_too_large_is_dropped_with_all_its_spans() {
    let bytes = span(1, 1).encoded_len() as u64;
    let mut lab = Lab::new(|settings| settings.drop_larger_than_bytes = Some(3 * bytes));
    let taken = lab.take(vec![span(1, 1), span(1, 2), span(1, 3), span(2, 1)]);
    assert_eq!((taken.new_traces, taken.too_large), (2, 0));
    let taken = lab.take(vec![span(1, 4), span(2, 2)]);
    assert_eq!((taken.new_traces, taken.too_large), (0, 4));
    assert_eq!((lab.shard.load().traces, lab.shard.load().spans), (1, 2));
    assert_eq!(lab.take(vec![span(1, 5)]).late_dropped, 1);
    let explained = lab.shard.explain([1; 16]).expect("is remembered");
    assert_eq!(
        (explained.state, explained.trigger, explained.late_spans),
        (TraceState::Dropped, Some("limit"), Some(1))
    );
}

#[test]
fn above_the_number_of_traces_the_oldest_are_decided() {
    let mut lab = Lab::new(|settings| settings.traces_max = 2);
    for id in 1..=4 {
        lab.millis += 1;
        lab.take(vec![span(id, 1)]);
    }
    assert_eq!(lab.shard.wake_at(), Some(Duration::from_millis(4)));
    assert_eq!(lab.due(), [(1, Trigger::Memory), (2, Trigger::Memory)]);
    lab.settle(drop_it);
    assert_eq!(lab.due(), []);
    let mut lab = Lab::new(|settings| (settings.traces_max, settings.evicts) = (2, false));
    lab.take((1..=4).map(|id| span(id, 1)).collect());
    assert_eq!((lab.due(), lab.shard.wake_at()), (vec![], Some(Duration::from_secs(10))));
}

#[test]
fn at_most_512_traces_and_4_mib_are_due_at_a_time() {
    let mut lab = Lab::new(|settings| settings.traces_max = 10_000);
    for id in 0..600_u128 {
        lab.take(vec![Span { trace_id: id.to_be_bytes().to_vec(), ..span(0, 1) }]);
    }
    lab.shard.drain();
    assert_eq!(lab.settle(drop_it).decisions.len(), 512);
    assert_eq!(lab.settle(drop_it).decisions.len(), 88);
    let mut lab = Lab::new(|_| {});
    let large = |id, mib: usize| Span { name: "x".repeat(mib << 20), ..span(id, 1) };
    lab.take(vec![large(1, 2), large(2, 1), large(3, 2), large(4, 5), span(5, 1)]);
    lab.shard.drain();
    let numbers = std::iter::from_fn(|| Some(lab.settle(keep)).filter(|settled| !settled.decisions.is_empty()));
    let numbers: Vec<_> = numbers.map(|settled| (settled.decisions.len(), settled.released.len())).collect();
    // Of each trace the one large span leaves alone.
    assert_eq!(numbers, [(2, 2), (1, 1), (1, 1), (1, 1)]);
}

#[test]
fn draining_makes_everything_due() {
    let mut lab = Lab::new(|settings| settings.span_limit = Some(2));
    lab.take(vec![span(1, 1), span(2, 1), span(2, 2)]);
    lab.shard.drain();
    assert_eq!(lab.shard.wake_at(), Some(Duration::ZERO));
    assert_eq!(lab.due(), [(2, Trigger::Shutdown), (1, Trigger::Shutdown)]);
    lab.settle(keep);
    lab.take(vec![span(3, 1)]);
    assert_eq!(lab.due(), [(3, Trigger::Shutdown)]);
}

#[test]
fn late_spans_follow_the_decision() {
    let mut lab = Lab::new(|_| {});
    lab.take(vec![span(1, 1), span(2, 1)]);
    lab.millis = 10_000;
    lab.settle(|id| if id == 1 { keep(id) } else { drop_it(id) });
    let late = lab.take(vec![span(2, 2), span(1, 2), span(3, 1), span(1, 3)]);
    assert_eq!((late.late_kept, late.late_dropped, late.new_traces), (2, 1, 1));
    assert_eq!(spans(&late.released), [span(1, 2), span(1, 3)]);
    let kept = lab.shard.explain([1; 16]).expect("is remembered");
    assert_eq!((kept.state, kept.policy.as_deref(), kept.generation), (TraceState::Kept, Some("errors"), Some(3)));
    assert_eq!((kept.trigger, kept.probability, kept.late_spans), (Some("decision_wait"), Some(1.0), Some(2)));
    assert_eq!((kept.spans, kept.arrived_unix_nano), (Some(1), Some(STARTED_UNIX_NANO)));
    assert_eq!(kept.decided_unix_nano, Some(STARTED_UNIX_NANO + 10_000_000_000));
    let dropped = lab.shard.explain([2; 16]).expect("is remembered");
    assert_eq!(
        (dropped.state, dropped.policy.as_deref(), dropped.late_spans),
        (TraceState::Dropped, Some("errors"), Some(1))
    );
    let waiting = lab.shard.explain([3; 16]).expect("it waits");
    assert_eq!((waiting.state, waiting.spans), (TraceState::Waiting, Some(1)));
    assert_eq!(waiting.due_unix_nano, Some(STARTED_UNIX_NANO + 20_000_000_000));
    assert_eq!(lab.shard.explain([4; 16]), None);
}

#[test]
fn a_trace_that_is_forgotten_begins_anew() {
    let mut lab = Lab::new(|settings| (settings.dropped_ids_max, settings.history_max) = (2, 0));
    for id in 1..=5 {
        lab.take(vec![span(id, 1)]);
        lab.millis += 10_000;
        lab.settle(drop_it);
    }
    assert_eq!(lab.take(vec![span(5, 2), span(4, 2)]).late_dropped, 2);
    assert_eq!(lab.take(vec![span(1, 2)]).new_traces, 1);
}

#[test]
fn changed_traces_are_offered_early_and_wait_on_if_that_settles_nothing() {
    let mut lab = Lab::new(|_| {});
    lab.take(vec![failed(1, 1), span(2, 1), root(3, 1)]);
    let slow = Span { end_time_unix_nano: 1_000 + (1 << 20), ..span(4, 1) };
    lab.take(vec![slow.clone(), Span { end_time_unix_nano: slow.end_time_unix_nano - 1, ..span(5, 1) }]);
    assert_eq!(lab.due(), []);
    lab.shard.offer_early(true);
    assert_eq!(lab.due(), [(1, Trigger::Early), (3, Trigger::Early), (4, Trigger::Early)]);
    let settled = lab.settle(|id| Verdict { is_settled: id == 1, ..keep(id) });
    assert_eq!((settled.decisions.len(), spans(&settled.released)), (1, vec![failed(1, 1)]));
    assert_eq!(settled.decisions[0].trigger, Trigger::Early);
    // Nothing new is not offered again; what is new, not before a pause of 100 ms.
    lab.millis = 50;
    lab.take(vec![span(4, 2), failed(3, 2), failed(2, 2)]);
    assert_eq!(lab.due(), [(2, Trigger::Early)]);
    lab.settle(|id| Verdict { is_settled: false, ..keep(id) });
    let wake = lab.shard.wake_at().expect("one has changed");
    assert!((100..=102).contains(&wake.as_millis()), "{wake:?}");
    lab.millis = 99;
    assert_eq!(lab.due(), []);
    lab.millis = 102;
    assert_eq!(lab.due(), [(3, Trigger::Early)]);
    lab.settle(|id| Verdict { is_settled: false, ..drop_it(id) });
    assert_eq!(lab.shard.load().traces, 4);
    lab.millis = 10_000;
    assert_eq!(lab.due().len(), 4);
    lab.shard.offer_early(false);
    lab.take(vec![failed(7, 1)]);
    assert!(!lab.due().contains(&(7, Trigger::Early)));
}
