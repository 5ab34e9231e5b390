//! Buckets and tallies in memory: what they hold over time, over a live change, and after an error.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use sluicebox_guest::testing::{TestBatch, Tester};
use sluicebox_guest::{Batch, Bucket, Processor, Tally};

type Call = Box<dyn FnOnce(&[Bucket], &[Tally]) -> Result<(), String>>;

thread_local! {
    /// What the next call does.
    static NEXT: RefCell<Option<Call>> = const { RefCell::new(None) };
}

/// Opens what its configuration lists: `bucket NAME RATE BURST` and `tally NAME WIDTH HALF-LIFE KEYS`, one on a line.
struct Scripted {
    buckets: Vec<Bucket>,
    tallies: Vec<Tally>,
}

impl Processor for Scripted {
    fn configure(config: &str) -> Result<Self, String> {
        let (mut buckets, mut tallies) = (Vec::new(), Vec::new());
        for line in config.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["bucket", name, rate, burst] => {
                    buckets.push(Bucket::open(name, rate.parse().unwrap(), burst.parse().unwrap())?);
                }
                ["tally", name, width, half_life, keys] => {
                    let [width, keys] = [width, keys].map(|text| text.parse().unwrap());
                    tallies.push(Tally::open(name, width, half_life.parse().unwrap(), keys)?);
                }
                _ => panic!("{line}"),
            }
        }
        Ok(Scripted { buckets, tallies })
    }

    fn process(&mut self, _batch: &Batch) -> Result<(), String> {
        NEXT.take().map_or(Ok(()), |call| call(&self.buckets, &self.tallies))
    }
}

fn configure(config: &str) -> Tester<Scripted> {
    Tester::configure(config).unwrap()
}

fn call(tester: &mut Tester<Scripted>, call: impl FnOnce(&[Bucket], &[Tally]) + 'static) {
    NEXT.set(Some(Box::new(move |buckets, tallies| {
        call(buckets, tallies);
        Ok(())
    })));
    tester.process(&TestBatch::logs()).unwrap();
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[test]
fn a_bucket_is_full_at_first_and_fills_up_to_its_burst() {
    let mut tester = configure("bucket b 2 10");
    call(&mut tester, |b, _| {
        assert_eq!(
            b[0].take(&[(1, 11), (1, 6), (1, 5), (1, 4), (1, 0), (1, 1)]),
            [false, true, false, true, true, false]
        );
        assert_eq!(b[0].take(&[(2, 10)]), [true], "each key has its own");
    });
    tester.advance(seconds(1.5));
    call(&mut tester, |b, _| assert_eq!(b[0].take(&[(1, 4), (1, 3), (1, 1)]), [false, true, false]));
    tester.advance(seconds(100.0));
    call(&mut tester, |b, _| assert_eq!(b[0].take(&[(1, 10), (1, 1)]), [true, false]));
}

#[test]
fn rows_of_a_tally_fade_by_half_in_each_half_life() {
    let mut tester = configure("tally t 2 10 8\ntally lasting 1 0 8");
    call(&mut tester, |_, t| {
        t[0].add(&[(5, 0, 4.0), (5, 1, 1.0), (5, 0, 4.0)]);
        t[1].add(&[(5, 0, 3.0)]);
        let rows = t[0].read(&[6, 5]);
        assert_eq!(rows.iter().collect::<Vec<_>>(), [[0.0, 0.0], [8.0, 1.0]], "a call sees what it has added");
        assert_eq!((rows.len(), rows.get(1), rows.get(2)), (2, &[8.0, 1.0][..], &[][..]));
    });
    tester.advance(seconds(20.0));
    call(&mut tester, |_, t| t[0].add(&[(5, 0, 1.0)]));
    tester.advance(seconds(10.0));
    call(&mut tester, |_, t| {
        assert_eq!(t[0].read(&[5]).get(0), [1.5, 0.125]);
        assert_eq!(t[1].read(&[5]).get(0), [3.0]);
        assert_eq!(t[0].keys(), [5]);
    });
}

#[test]
fn rows_used_least_recently_are_forgotten() {
    let mut tester = configure("tally t 1 0 2");
    call(&mut tester, |_, t| {
        t[0].add(&[(1, 0, 1.0), (2, 0, 1.0)]);
        assert_eq!(t[0].read(&[1]).get(0), [1.0]);
        t[0].add(&[(3, 0, 1.0)]);
        let mut keys = t[0].keys();
        keys.sort_unstable();
        assert_eq!(keys, [1, 3]);
        assert_eq!(t[0].read(&[2]).get(0), [0.0]);
    });
}

#[test]
fn a_live_change_keeps_what_has_the_same_name_and_kind() {
    let mut tester = configure("bucket b 0 10\nbucket other 0 10\ntally t 1 0 4\ntally wide 1 0 4");
    call(&mut tester, |b, t| {
        assert_eq!(b[0].take(&[(1, 7)]), [true]);
        assert_eq!(b[1].take(&[(1, 7)]), [true]);
        t[0].add(&[(1, 0, 5.0)]);
        t[1].add(&[(1, 0, 5.0)]);
    });
    tester.reconfigure("tally t 1 0 4\ntally wide 2 0 4\ntally other 1 0 4\nbucket b 1 4").unwrap();
    call(&mut tester, |b, t| {
        assert_eq!(b[0].take(&[(1, 4), (1, 3)]), [false, true]);
        assert_eq!(t[0].read(&[1]).get(0), [5.0]);
        assert_eq!(t[1].read(&[1]).get(0), [0.0, 0.0], "another width begins anew");
        assert_eq!(t[2].read(&[1]).get(0), [0.0], "so does another kind");
    });
    tester.advance(seconds(60.0));
    call(&mut tester, |b, _| {
        assert_eq!(b[0].take(&[(1, 5), (1, 4)]), [false, true], "rate and burst are the new ones")
    });
}

#[test]
fn after_a_refused_change_the_one_before_goes_on() {
    let mut tester = configure("bucket b 0 10");
    call(&mut tester, |b, _| assert_eq!(b[0].take(&[(1, 7)]), [true]));
    assert!(tester.reconfigure("bucket b 0 100\nbucket b 0 100").is_err());
    call(&mut tester, |b, _| assert_eq!(b[0].take(&[(1, 4), (1, 3)]), [false, true]));
}

#[test]
fn a_call_that_fails_has_changed_nothing() {
    let mut tester = configure("bucket b 0 1\ntally t 1 0 4");
    NEXT.set(Some(Box::new(|b, t| {
        assert_eq!(b[0].take(&[(1, 1)]), [true]);
        t[0].add(&[(1, 0, 1.0)]);
        Err("no".to_owned())
    })));
    assert_eq!(tester.process(&TestBatch::logs()).unwrap_err(), "no");
    call(&mut tester, |b, t| {
        assert_eq!((b[0].take(&[(1, 1)]), t[0].keys()), (vec![true], vec![]));
    });
}

#[test]
fn opening_is_checked() {
    let refused = |config: &str| Tester::<Scripted>::configure(config).err().unwrap();
    assert_eq!(refused("bucket b NaN 1"), "`b`: the rate NaN is not a number from 0");
    assert_eq!(refused("bucket b 1 -1"), "`b`: the burst -1 is not a number from 0");
    assert_eq!(refused("tally t 1 inf 1"), "`t`: the half-life inf is not a number from 0");
    assert_eq!(refused("tally t 1025 0 1024"), "`t`: 1024 rows of 1025 cells are not 1 to 1048576 cells");
    assert_eq!(refused("tally t 0 0 1"), "`t`: 1 rows of 0 cells are not 1 to 1048576 cells");
    assert_eq!(refused("bucket x 1 1\ntally x 1 0 1"), "`x` is already there");
    assert!(refused(&format!("bucket {} 1 1", "n".repeat(65))).ends_with("is not of 1 to 64 bytes"));
    let many: Vec<String> = (0..65).map(|number| format!("bucket b{number} 1 1")).collect();
    assert_eq!(refused(&many.join("\n")), "more than 64 buckets and tallies");
    assert!(Tester::<Scripted>::configure(&many[1..].join("\n")).is_ok());
    assert_eq!(Bucket::open("late", 1.0, 1.0).unwrap_err(), "buckets are opened while configuring only");
    assert_eq!(Tally::open("late", 1, 0.0, 1).unwrap_err(), "tallies are opened while configuring only");
}

#[test]
fn what_is_added_stays_a_number() {
    let mut tester = configure("tally t 1 1 4");
    call(&mut tester, |_, t| t[0].add(&[(1, 0, f64::MAX), (1, 0, f64::MAX)]));
    tester.advance(seconds(1.0));
    call(&mut tester, |_, t| assert_eq!(t[0].read(&[1]).get(0), [f64::MAX / 2.0]));
}

#[test]
fn misuses_are_faults() {
    type Misuse = fn(&[Bucket], &[Tally]);
    let misuses: [(Misuse, &str); 3] = [
        (|_, t| t[0].add(&[(1, 1, 1.0)]), "cell 1 of 1"),
        (|_, t| t[0].add(&[(1, 0, -1.0)]), "an amount is not a number from 0"),
        (|_, t| t[0].add(&[(1, 0, f64::NAN)]), "an amount is not a number from 0"),
    ];
    for (misuse, told) in misuses {
        let mut tester = configure("tally t 1 0 4");
        let panic = catch_unwind(AssertUnwindSafe(|| call(&mut tester, misuse))).unwrap_err();
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        assert!(text.contains(told), "{text}");
    }
    let used_early = catch_unwind(|| {
        // A component that uses its state while it is configured.
        struct Hasty;
        impl Processor for Hasty {
            fn configure(_config: &str) -> Result<Self, String> {
                Tally::open("t", 1, 0.0, 1)?.keys();
                Ok(Hasty)
            }
            fn process(&mut self, _batch: &Batch) -> Result<(), String> {
                Ok(())
            }
        }
        Tester::<Hasty>::configure("").is_ok()
    });
    let told = used_early.unwrap_err().downcast_ref::<&str>().copied().unwrap_or_default();
    assert!(told.contains("host state was used outside of a call"), "{told}");
}
