//! Capabilities natively: what is logged, counted and looked up, and what the host would not allow.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use sluicebox_guest::testing::{Given, Measured, TestBatch, TestTable, Tester};
use sluicebox_guest::{
    Batch, Counter, Field, Gauge, Histogram, Level, LogLine, NewValue, Processor, Rule, Severity, Table, log,
    now_unix_nano,
};

/// What is opened.
struct Opened {
    line: LogLine,
    counter: Counter,
    gauge: Gauge,
    histogram: Histogram,
    key: Field,
    target: Field,
    table: Table,
    rule: Rule,
}

type Call = Box<dyn FnOnce(&Opened, &Batch) -> Result<(), String>>;

thread_local! {
    /// What the next call does.
    static NEXT: RefCell<Option<Call>> = const { RefCell::new(None) };
}

struct Scripted(Opened);

impl Processor for Scripted {
    fn configure(config: &str) -> Result<Self, String> {
        log(Severity::Info, config);
        Ok(Scripted(Opened {
            line: LogLine::open(Severity::Warn, "{} of {}")?,
            counter: Counter::open("seen", "What was seen", &[("of", "spans")])?,
            gauge: Gauge::open("level", "How it stands", &[])?,
            histogram: Histogram::open("size_bytes", "How large", &[1.0, 10.0], &[])?,
            key: Field::open(&["span.name", "span.attributes[\"code\"]"])?,
            target: Field::open_to_write("span.attributes[\"team\"]")?,
            table: Table::open("owners", &["mail", "team"])?,
            rule: Rule::open("lookup")?,
        }))
    }

    fn process(&mut self, batch: &Batch) -> Result<(), String> {
        NEXT.take().map_or(Ok(()), |call| call(&self.0, batch))
    }
}

fn given() -> Given {
    let owners = TestTable::new("owners", "service", &["service", "team", "mail"])
        .row(["cart", "red", "red@example.com"])
        .row::<NewValue>([NewValue::Int(404), "nobody".into(), NewValue::Absent]);
    Given::new().table(owners)
}

fn tester() -> Tester<Scripted> {
    Tester::configure_with("a text", &given()).unwrap()
}

fn call(
    tester: &mut Tester<Scripted>,
    call: impl FnOnce(&Opened, &Batch) -> Result<(), String> + 'static,
) -> Result<(), String> {
    NEXT.set(Some(Box::new(call)));
    tester.process(&TestBatch::traces().span("cart")).map(drop)
}

#[test]
fn lines_stay_and_metrics_of_a_failed_call_do_not() {
    let mut tester = tester();
    let act = |opened: &Opened| {
        opened.line.write(&[1.0, 2.5]);
        opened.counter.add(2);
        opened.gauge.set(-0.5);
        opened.histogram.observe(&[1.0, 1.5, 11.0]);
    };
    call(&mut tester, move |opened, _| {
        act(opened);
        Ok(())
    })
    .unwrap();
    let told = call(&mut tester, move |opened, _| {
        act(opened);
        Err("no".to_owned())
    });
    assert_eq!(told, Err("no".to_owned()));
    let said = |severity, text: &str| (severity, text.to_owned());
    let line = said(Severity::Warn, "1 of 2.5");
    assert_eq!(tester.lines(), [said(Severity::Info, "a text"), line.clone(), line]);
    assert_eq!(tester.metric("seen"), Some(Measured::Counter(2)));
    assert_eq!(tester.metric("level"), Some(Measured::Gauge(Some(-0.5))));
    let size = Measured::Histogram { bounds: vec![1.0, 10.0], counts: vec![1, 1, 1], sum: 13.5 };
    assert_eq!((tester.metric("size_bytes"), tester.metric("other")), (Some(size), None));
}

#[test]
fn the_clock_stands_still_within_a_call() {
    let mut tester = tester();
    thread_local! {
        static TOLD: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }
    for _ in 0..2 {
        let read = |_: &Opened, _: &Batch| {
            TOLD.with_borrow_mut(|told| told.extend([now_unix_nano(), now_unix_nano()]));
            Ok(())
        };
        call(&mut tester, read).unwrap();
        tester.advance(Duration::from_millis(1500));
    }
    let told = TOLD.take();
    assert_eq!([told[1] - told[0], told[2] - told[1], told[3] - told[2]], [0, 1_500_000_000, 0]);
}

/// A key of two paths has two rows, one after the other.
#[test]
fn rows_are_found_for_each_path_of_a_key() {
    let mut tester = tester();
    NEXT.set(Some(Box::new(|opened, batch| {
        let keys = batch.values(&opened.key);
        let rows = opened.table.find(&keys);
        let row = |entry: usize| -> Vec<NewValue> { (0..4).map(|at| rows.tuple(entry).get(at).into()).collect() };
        assert!(rows.tuple(0).is_absent());
        let mail = || NewValue::from("red@example.com");
        assert_eq!(row(1), [mail(), "red".into(), NewValue::Absent, "nobody".into()]);
        assert_eq!(row(2), [NewValue::Absent, NewValue::Absent, NewValue::Absent, NewValue::Absent]);
        let teams = (0..).zip(rows.tuples()).map(|(entry, row)| (entry, row.get(1)));
        batch.insert_entries(&opened.target, &opened.key, teams, &opened.rule);
        Ok(())
    })));
    let batch =
        TestBatch::traces().span("cart").attribute("code", 404).span("other").span("cart").attribute("team", "mine");
    let outcome = tester.process(&batch.attribute("code", 404)).unwrap();
    let team = |row| outcome.value(Level::Span, row, "attributes[\"team\"]");
    assert_eq!([team(0), team(1), team(2)], ["red".into(), NewValue::Absent, "mine".into()]);
    assert_eq!(outcome.edited_by("lookup"), [(Level::Span, 0)]);
}

#[test]
fn what_the_host_would_fault_panics() {
    type Misuse = fn(&Opened, &Batch) -> Result<(), String>;
    let faults: [Misuse; 4] = [
        |_, _| {
            log(Severity::Error, "late");
            Ok(())
        },
        |opened, _| {
            opened.line.write(&[1.0]);
            Ok(())
        },
        |opened, _| {
            opened.gauge.set(f64::NAN);
            Ok(())
        },
        |opened, _| {
            opened.histogram.observe(&[f64::INFINITY]);
            Ok(())
        },
    ];
    for fault in faults {
        let mut tester = tester();
        assert!(catch_unwind(AssertUnwindSafe(|| call(&mut tester, fault))).is_err());
    }
}

#[test]
fn what_cannot_be_opened_is_told() {
    type Open = fn() -> Result<(), String>;
    let wrong: [(&str, Open); 10] = [
        ("cannot be the name", || Counter::open("x_total", "x", &[]).map(drop)),
        ("cannot be the name", || Counter::open("Größe", "x", &[]).map(drop)),
        ("its help", || Gauge::open("x", "", &[]).map(drop)),
        ("cannot be a label", || Gauge::open("x", "x", &[("stage", "x")]).map(drop)),
        ("already there", || Gauge::open("twice", "x", &[]).and_then(|_| Gauge::open("twice", "x", &[])).map(drop)),
        ("ascending", || Histogram::open("x", "x", &[2.0, 1.0], &[]).map(drop)),
        ("more than 8 numbers", || LogLine::open(Severity::Info, "{}{}{}{}{}{}{}{}{}").map(drop)),
        ("more than 64 lines", || (0..65).try_for_each(|_| LogLine::open(Severity::Info, "x").map(drop))),
        ("no table is called `owner`; there are `owners`", || Table::open("owner", &["team"]).map(drop)),
        ("no column `teams`; it has: service, team, mail", || Table::open("owners", &["teams"]).map(drop)),
    ];
    thread_local! {
        static OPEN: RefCell<Option<Open>> = const { RefCell::new(None) };
    }
    struct Opens;
    impl Processor for Opens {
        fn configure(_config: &str) -> Result<Self, String> {
            OPEN.take().map_or(Ok(()), |open| open())?;
            Ok(Opens)
        }
        fn process(&mut self, _batch: &Batch) -> Result<(), String> {
            Counter::open("late", "x", &[]).map(drop)
        }
    }
    for (told, open) in wrong {
        OPEN.set(Some(open));
        let error = Tester::<Opens>::configure_with("{}", &given()).map(drop).expect_err(told);
        assert!(error.contains(told), "{error}");
    }
    let late = Tester::<Opens>::configure("{}").unwrap().process(&TestBatch::logs().log("x")).map(drop);
    assert_eq!(late, Err("metrics are opened while configuring only".to_owned()));
}
