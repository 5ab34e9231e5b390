//! The API of policies on traces in memory: what they see, what their verdicts become, and what the host keeps for them.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sluicebox_guest::testing::{PolicyTester, TestBatch, TestTraces, Verdict, Vote};
use sluicebox_guest::{Field, Level, Policy, Rule, Threshold, TraceSet, Traces, Trigger, Verdicts};

type Call = Box<dyn Fn(&Traces, &mut Verdicts, &[Field], &[Rule]) -> Result<(), String>>;

thread_local! {
    /// The paths that the next policy opens, and what it does with them.
    static NEXT: RefCell<Option<(Vec<&'static str>, Call)>> = const { RefCell::new(None) };
}

struct Scripted {
    fields: Vec<Field>,
    rules: Vec<Rule>,
    call: Call,
}

impl Policy for Scripted {
    fn configure(_config: &str) -> Result<Self, String> {
        let (paths, call) = NEXT.take().ok_or("nothing to do")?;
        let fields = paths.into_iter().map(|path| Field::open(&[path])).collect::<Result<_, _>>()?;
        let rules = ["one", "two"].into_iter().map(Rule::open).collect::<Result<_, _>>()?;
        Ok(Scripted { fields, rules, call })
    }

    fn decide(&mut self, traces: &Traces, verdicts: &mut Verdicts) -> Result<(), String> {
        (self.call)(traces, verdicts, &self.fields, &self.rules)
    }
}

fn decide(
    traces: &TestTraces,
    paths: &[&'static str],
    call: impl Fn(&Traces, &mut Verdicts, &[Field], &[Rule]) + 'static,
) -> Vec<Verdict> {
    NEXT.set(Some((
        paths.to_vec(),
        Box::new(move |traces, verdicts, fields, rules| {
            call(traces, verdicts, fields, rules);
            Ok(())
        }),
    )));
    PolicyTester::<Scripted>::configure("{}").unwrap().decide(traces).unwrap()
}

/// Traces 1 and 2 from two services, their spans in turns, and one span without a proper id.
fn three_traces() -> TestTraces {
    let of = |batch: TestBatch, name: &str, trace: [u8; 16], parent: [u8; 8]| {
        batch.span(name).set("trace_id", trace).set("parent_span_id", parent)
    };
    let ids = [[1; 16], [2; 16]];
    let batch = of(TestBatch::traces().resource().attribute("service.name", "shop"), "a", ids[0], [7; 8]);
    let batch = batch.set("start_time_unix_nano", 100).set("end_time_unix_nano", 200).set("flags", 0x301);
    let batch = of(batch, "b", ids[1], [0; 8]).set("start_time_unix_nano", 50).set("end_time_unix_nano", 40);
    let batch = batch.set("status.code", 1).set("trace_state", "ot=th:8").event("e0").event("e1");
    let batch = of(batch.resource().attribute("service.name", "pay"), "b", ids[0], [7; 8]);
    let batch = batch.set("start_time_unix_nano", 90).set("end_time_unix_nano", 300).set("status.code", 2).event("e2");
    let batch = of(batch, "c", ids[1], [0; 8]).set("trace_state", "ot=rv:00000000000abc;th:c");
    let batch = batch.set("start_time_unix_nano", 70).set("end_time_unix_nano", 45).set("status.code", 2);
    TestTraces::of(&batch.span("stray").set("trace_id", [9; 3]))
}

#[test]
fn numbers_are_those_of_the_spans() {
    let verdicts = decide(&three_traces(), &[], |traces, _, _, _| {
        assert_eq!((traces.len(), traces.is_empty()), (3, false));
        assert_eq!(traces.ids(), [[1; 16], [2; 16], [0; 16]]);
        assert_eq!(traces.randomness(), [0x01_0101_0101_0101, 0xabc, 0]);
        assert_eq!(traces.thresholds(), [None, Some(Threshold::of(0.25)), None]);
        assert_eq!(traces.now_unix_nano(), 300);
        assert_eq!(traces.arrivals_unix_nano(), [90, 50, 0]);
        assert_eq!(traces.starts_unix_nano(), [90, 50, 0]);
        assert_eq!(traces.ends_unix_nano(), [300, 45, 0]);
        assert_eq!(traces.durations_nano(), [210, 0, 0]);
        assert_eq!(traces.span_counts(), [2, 2, 1]);
        assert_eq!(traces.error_counts(), [1, 1, 0]);
        assert_eq!(traces.ok_counts(), [0, 1, 0]);
        assert_eq!(traces.byte_counts(), [0, 0, 0]);
        assert_eq!(traces.has_root().iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(traces.is_sampled().iter().collect::<Vec<_>>(), [0]);
        assert_eq!(traces.triggers(), [Trigger::DecisionWait; 3]);
    });
    assert_eq!(verdicts, vec![Verdict { vote: Vote::None, rule: None, is_settled: false }; 3]);
}

#[test]
fn what_does_not_come_from_spans_is_set() {
    let traces = three_traces()
        .now_unix_nano(1000)
        .trigger(Trigger::Shutdown)
        .trigger_of(1, Trigger::Early)
        .arrival_unix_nano(2, 5)
        .randomness(0, 77)
        .byte_count(1, 4096);
    decide(&traces, &[], |traces, _, _, _| {
        assert_eq!(traces.now_unix_nano(), 1000);
        assert_eq!(traces.triggers(), [Trigger::Shutdown, Trigger::Early, Trigger::Shutdown]);
        assert_eq!(traces.arrivals_unix_nano(), [90, 50, 5]);
        assert_eq!(traces.randomness(), [77, 0xabc, 0]);
        assert_eq!(traces.byte_counts(), [0, 4096, 0]);
    });
}

#[test]
fn rows_are_found_for_traces_and_traces_for_rows() {
    let paths = ["span.name", "spanevent.name", r#"resource.attributes["service.name"]"#];
    decide(&three_traces(), &paths, |traces, _, fields, _| {
        let spans = traces.spans();
        assert_eq!((spans.len(Level::Span), traces.trace_of()), (5, vec![0, 1, 0, 1, 2]));
        let b = spans.where_values(&fields[0], |name| name == "b");
        assert_eq!((traces.where_any(&b).count(), traces.counts(&b)), (2, vec![1, 1, 0]));
        let events = spans.where_values(&fields[1], |name| !name.is_absent());
        assert_eq!(traces.counts(&events), [1, 2, 0], "rows count, not the spans they are in");
        assert_eq!(traces.where_any(&events).iter().collect::<Vec<_>>(), [0, 1]);
        let pay = spans.where_values(&fields[2], |name| name == "pay").at(Level::Span);
        assert_eq!(traces.counts(&pay), [1, 1, 1]);
        let of_second = traces.spans_of(&TraceSet::of(3, |trace| trace == 1));
        assert_eq!(traces.counts(&(of_second & b)), [0, 1, 0]);
    });
}

#[test]
fn rows_above_spans_belong_to_no_trace() {
    let told = fault(|| {
        decide(&three_traces(), &["span.name"], |traces, _, _, _| {
            traces.where_any(&traces.spans().where_rows(Level::Scope, |_| true));
        });
    });
    assert!(told.contains("rows of level `scope` belong to no trace"), "{told}");
}

#[test]
fn a_policy_that_opened_no_field_sees_no_spans() {
    decide(&three_traces(), &[], |traces, _, _, _| {
        assert_eq!((traces.spans().len(Level::Span), traces.trace_of()), (0, vec![]));
    });
}

#[test]
fn a_drop_beats_keeps_and_the_first_that_says_so_names_the_rule() {
    let verdicts = decide(&three_traces(), &[], |_, verdicts, _, rules| {
        verdicts.keep(0, Threshold::of(0.25), &rules[1]);
        verdicts.keep(0, Threshold::of(0.5), &rules[0]);
        verdicts.settle(0);
        verdicts.keep(1, Threshold::ALWAYS, &rules[0]);
        verdicts.drop(1, &rules[1]);
        verdicts.drop(1, &rules[0]);
        verdicts.keep(1, Threshold::ALWAYS, &rules[0]);
        verdicts.keep(2, Threshold::NEVER, &rules[0]);
    });
    let verdict = |vote, rule: Option<&str>, is_settled| Verdict { vote, rule: rule.map(str::to_owned), is_settled };
    let expected = [
        verdict(Vote::Keep(Threshold::of(0.5)), Some("two"), true),
        verdict(Vote::Drop, Some("two"), false),
        verdict(Vote::None, None, false),
    ];
    assert_eq!(verdicts, expected);
}

#[test]
fn a_trace_that_is_not_of_the_call_is_a_fault() {
    for call in [
        |verdicts: &mut Verdicts, _: &Rule| verdicts.settle(3),
        |verdicts: &mut Verdicts, rule: &Rule| {
            verdicts.drop(3, rule);
        },
    ] {
        let told = fault(|| {
            decide(&three_traces(), &[], move |_, verdicts, _, rules| call(verdicts, &rules[0]));
        });
        assert!(told.contains("out of bounds"), "{told}");
    }
}

#[test]
fn thresholds_are_those_of_the_specification() {
    // OpenTelemetry, "TraceState: Probability Sampling": T = 2^56 - round(p * 2^56).
    for (probability, bits) in [
        (1.0, 0),
        (0.5, 1 << 55),
        (0.25, 0xc0 << 48),
        (0.01, 0xfd_70a3_d70a_3d71),
        (1.0 / (1u64 << 56) as f64, (1 << 56) - 1),
    ] {
        let threshold = Threshold::of(probability);
        assert_eq!(threshold.to_bits(), bits, "{probability}");
        assert_eq!(Threshold::from_bits(bits), threshold);
        assert!(threshold.keeps(bits) && (bits == 0 || !threshold.keeps(bits - 1)), "{probability}");
        assert!((threshold.probability().unwrap() - probability).abs() < 1e-15, "{probability}");
    }
    for nothing in [0.0, -1.0, f64::NAN] {
        assert_eq!(Threshold::of(nothing), Threshold::NEVER);
    }
    assert_eq!(Threshold::of(7.0), Threshold::ALWAYS);
    assert!(!Threshold::NEVER.keeps((1 << 56) - 1) && !Threshold::UNKNOWN.keeps((1 << 56) - 1));
    assert_eq!(Threshold::from_bits(u64::MAX - 1), Threshold::NEVER);
    assert_eq!((Threshold::from_bits(u64::MAX), Threshold::UNKNOWN.probability()), (Threshold::UNKNOWN, None));
    let (half, tenth) = (Threshold::of(0.5), Threshold::of(0.1));
    for (one, other, either) in [
        (half, tenth, half),
        (half, Threshold::NEVER, half),
        (half, Threshold::UNKNOWN, Threshold::UNKNOWN),
        (Threshold::UNKNOWN, Threshold::ALWAYS, Threshold::ALWAYS),
    ] {
        assert_eq!((one.either(other), other.either(one)), (either, either));
    }
}

/// What a misuse that the host calls a fault says natively, where it panics.
fn fault(misuse: impl FnOnce()) -> String {
    match catch_unwind(AssertUnwindSafe(misuse)) {
        Ok(()) => String::new(),
        Err(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
    }
}
