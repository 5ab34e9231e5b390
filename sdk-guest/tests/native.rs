//! The API on batches in memory: what it reads, which rows it finds, what is left.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::RefCell;

use sluicebox_guest::testing::{Outcome, TestBatch, Tester};
use sluicebox_guest::{Batch, Field, Level, NewValue, Processor, Rule, Signal, Value};

type Call = Box<dyn Fn(&Batch, &Field, &Rule)>;

thread_local! {
    /// The paths that the next processor opens, and what it does with them.
    static NEXT: RefCell<Option<(Vec<&'static str>, Call)>> = const { RefCell::new(None) };
}

struct Scripted {
    field: Field,
    rule: Rule,
    call: Call,
}

impl Processor for Scripted {
    fn configure(_config: &str) -> Result<Self, String> {
        let (paths, call) = NEXT.take().ok_or("nothing to do")?;
        Ok(Scripted { field: Field::open(&paths)?, rule: Rule::open("rule")?, call })
    }

    fn process(&mut self, batch: &Batch) -> Result<(), String> {
        (self.call)(batch, &self.field, &self.rule);
        Ok(())
    }
}

fn run(batch: &TestBatch, paths: &[&'static str], call: impl Fn(&Batch, &Field, &Rule) + 'static) -> Outcome {
    NEXT.set(Some((paths.to_vec(), Box::new(call))));
    Tester::<Scripted>::configure("{}").unwrap().process(batch).unwrap()
}

fn open_error(paths: &[&'static str]) -> String {
    NEXT.set(Some((paths.to_vec(), Box::new(|_, _, _| {}))));
    Tester::<Scripted>::configure("{}").err().unwrap()
}

fn two_services() -> TestBatch {
    TestBatch::traces()
        .resource()
        .attribute("service.name", "shop")
        .span("a")
        .set("kind", 2)
        .event("e0")
        .event("e1")
        .span("b")
        .link()
        .resource()
        .attribute("service.name", "pay")
        .span("a")
        .event("e2")
}

const NAME: &[&str] = &["span.name"];

#[test]
fn different_values_come_once_and_absence_first() {
    run(&two_services(), NAME, |batch, field, _| {
        let values = batch.values(field);
        assert_eq!(values.iter().collect::<Vec<_>>(), [Value::Absent, Value::Str("a"), Value::Str("b")]);
        let rows = batch.rows(field);
        assert_eq!(rows.iter().collect::<Vec<_>>(), [Value::Str("a"), Value::Str("b"), Value::Str("a")]);
        assert_eq!((rows.entries(), rows.values().len()), (&[1, 2, 1][..], 3));
    });
}

#[test]
fn every_kind_is_read_back() {
    let kinds = [
        (NewValue::Str("x".into()), Value::Str("x")),
        (NewValue::Bool(true), Value::Bool(true)),
        (NewValue::Int(-7), Value::Int(-7)),
        (NewValue::Double(1.5), Value::Double(1.5)),
        (NewValue::Bytes(vec![255]), Value::Bytes(&[255])),
        // An `AnyValue` with an array (5) of one bool (2), and one with a map (6) of an int (3) under the key `k`.
        (NewValue::array([true]), Value::Array(&[0x2a, 4, 0x0a, 2, 0x10, 1])),
        (NewValue::map([("k", 5)]), Value::Map(&[0x32, 9, 0x0a, 7, 0x0a, 1, b'k', 0x12, 2, 0x18, 5])),
        (NewValue::Empty, Value::Empty),
    ];
    for (given, read) in kinds {
        run(&TestBatch::logs().log(given), &["log.body"], move |batch, field, _| {
            assert_eq!(batch.values(field).get(1), read)
        });
    }
}

#[test]
fn unset_fields_of_the_protocol_are_zero_and_attributes_are_absent() {
    run(
        &TestBatch::traces().span("a"),
        &["span.kind", "span.trace_id", r#"span.attributes["x"]"#],
        |batch, field, _| {
            let rows = batch.rows(field);
            let tuple = rows.tuples().next().unwrap();
            assert_eq!([tuple.get(0), tuple.get(1), tuple.get(2)], [Value::Int(0), Value::Bytes(&[]), Value::Absent]);
        },
    );
}

#[test]
fn tuples_are_read_at_the_lowest_level() {
    let paths = ["span.name", r#"resource.attributes["service.name"]"#];
    let outcome = run(&two_services(), &paths, |batch, field, rule| {
        assert_eq!(batch.values(field).len(), 4);
        batch.drop_tuples(field, rule, |tuple| tuple.get(0) == "a" && tuple.get(1) == "pay");
    });
    assert_eq!(outcome.left(Level::Span), [0, 1]);
    assert_eq!(outcome.left(Level::Resource), [0], "a resource without spans goes");
}

#[test]
fn rows_combine_and_move_between_levels() {
    run(&two_services(), NAME, |batch, field, _| {
        let a = batch.where_values(field, |name| name == "a");
        let first = batch.where_rows(Level::Span, |row| row == 0);
        assert_eq!((&a & &first).count(), 1);
        assert_eq!((&!&a | &first).count(), 2);
        assert_eq!(a.at(Level::SpanEvent).count(), 3);
        assert_eq!((!a).at(Level::Resource).count(), 1);
        assert_eq!(batch.where_rows(Level::SpanEvent, |row| row == 2).at(Level::Span).count(), 1);
    });
}

#[test]
fn dropping_takes_what_is_below_and_the_first_rule_counts() {
    let outcome = run(&two_services(), NAME, |batch, _, rule| {
        batch.drop_rows(Level::Span, rule, |row| row == 0);
        batch.drop_rows(Level::SpanEvent, rule, |row| row != 2);
    });
    assert_eq!(outcome.left(Level::SpanEvent), [2]);
    assert_eq!(outcome.dropped_by("rule"), [(Level::Span, 0)]);
}

#[test]
fn metric_goes_with_its_last_point_and_span_stays_without_events() {
    let metrics = TestBatch::metrics().metric("a").point().metric("b").point().point().metric("c");
    let outcome =
        run(&metrics, &["metric.name"], |batch, _, rule| batch.drop_rows(Level::DataPoint, rule, |row| row < 2));
    assert_eq!((outcome.left(Level::Metric), outcome.left(Level::DataPoint)), (vec![1, 2], vec![2]));
    let outcome = run(&two_services(), NAME, |batch, _, rule| batch.drop_rows(Level::SpanEvent, rule, |_| true));
    assert_eq!(outcome.left(Level::Span), [0, 1, 2]);
}

#[test]
fn a_field_of_another_signal_is_a_fault() {
    let told = fault(|| {
        run(&TestBatch::logs().log("x"), NAME, |batch, field, _| {
            assert_eq!(batch.signal(), Signal::Logs);
            batch.values(field);
        });
    });
    assert!(told.contains("a field of level `span` was read in a batch of Logs"), "{told}");
}

#[test]
fn opening_is_checked() {
    assert!(open_error(&["span.nam"]).starts_with("no field is called `span.nam`; there are `span.attributes`"));
    assert_eq!(
        open_error(&["spanevent.name", "spanlink.trace_id"]),
        "`spanevent` and `spanlink` cannot be read together"
    );
    assert_eq!(open_error(&["name"]), "`name` does not begin with a context, such as `span.`");
    assert_eq!(Field::open(NAME).unwrap_err(), "fields are opened while configuring only");
    assert_eq!(Rule::open("late").unwrap_err(), "rules are opened while configuring only");
}

#[test]
fn different_levels_do_not_combine() {
    let told = fault(|| {
        run(&two_services(), NAME, |batch, _, _| {
            let _ = batch.where_rows(Level::Span, |_| true) & batch.where_rows(Level::Resource, |_| true);
        });
    });
    assert!(told.contains("rows of level `span` combined with rows of level `resource`"), "{told}");
}

#[test]
fn levels_of_other_signals_are_faults() {
    let told = fault(|| {
        run(&two_services(), NAME, |batch, _, _| assert_eq!(batch.len(Level::Metric), 0));
    });
    assert!(told.contains("has no level `metric`"), "{told}");
}

/// What a misuse that the host calls a fault says natively, where it panics.
fn fault(misuse: impl FnOnce()) -> String {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(misuse)) {
        Ok(()) => String::new(),
        Err(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
    }
}
