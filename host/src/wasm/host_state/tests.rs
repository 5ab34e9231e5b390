use std::thread;

use super::*;

const SECOND: Nanos = 1_000_000_000;

fn bucket(name: &str, per_second: f64, burst: f64) -> StateSpec {
    StateSpec { name: name.to_owned(), kind: Kind::Bucket(Rate::new(per_second, burst).expect("is one")) }
}

fn tally(name: &str, width: u32, half_life_seconds: f64, keys_max: u32) -> StateSpec {
    let fading = Fading::new(width, half_life_seconds, keys_max).expect("is one");
    StateSpec { name: name.to_owned(), kind: Kind::Tally(fading) }
}

fn states() -> (HostStates, Arc<Budget>) {
    let budget = Budget::new(1 << 30);
    (HostStates::new(&budget), budget)
}

fn session(attached: &Arc<Attached>) -> Session {
    let mut session = Session::default();
    session.attach(Arc::clone(attached));
    session
}

/// What a call of its own takes, at this time.
fn take(attached: &Arc<Attached>, now: Nanos, key: u64, cost: u64) -> bool {
    let mut session = session(attached);
    session.begin_at(now);
    let answers = session.take(0, &[key], &[cost]).expect("may be asked");
    session.commit();
    answers == [1]
}

fn add(attached: &Arc<Attached>, now: Nanos, key: u64, amount: f64) {
    let mut session = session(attached);
    session.begin_at(now);
    session.add(0, &[key], &[0], &[amount]).expect("may be added");
    session.commit();
}

fn read(attached: &Arc<Attached>, now: Nanos, key: u64) -> Vec<f64> {
    let mut session = session(attached);
    session.begin_at(now);
    let mut out = Vec::new();
    session.read(0, &[key], &mut out).expect("may be read");
    session.commit();
    out
}

#[test]
fn instances_and_generations_of_a_stage_share_what_matches() {
    let (states, _) = states();
    let first = states.attach("a", &[bucket("b", 0.0, 10.0)]).expect("fits");
    assert!(take(&first, SECOND, 1, 6));
    assert!(!take(&first, SECOND, 1, 6));
    let next = states.attach("a", &[bucket("b", 1.0, 20.0)]).expect("fits");
    assert!(!take(&next, SECOND, 1, 6), "the rate is new, what is in it is not");
    assert!(take(&next, SECOND * 3, 1, 6));
    assert!(!take(&first, SECOND * 3, 1, 1));
    let others = [
        states.attach("other stage", &[bucket("b", 0.0, 10.0)]),
        states.attach("a", &[bucket("other name", 0.0, 10.0)]),
        states.scratch(&[bucket("b", 0.0, 10.0)]),
    ];
    for other in others {
        assert!(take(&other.expect("fits"), SECOND, 1, 10), "is another bucket");
    }
    drop((first, next));
    let anew = states.attach("a", &[bucket("b", 0.0, 10.0)]).expect("fits");
    assert!(take(&anew, SECOND, 1, 10), "nobody used it in between");
}

#[test]
fn a_tally_of_another_width_is_another() {
    let (states, _) = states();
    let first = states.attach("a", &[tally("t", 2, 0.0, 10)]).expect("fits");
    add(&first, SECOND, 7, 8.0);
    let wider = states.attach("a", &[tally("t", 3, 0.0, 10)]).expect("fits");
    assert_eq!(read(&wider, SECOND, 7), [0.0; 3]);
    let fading = states.attach("a", &[tally("t", 2, 1.0, 10)]).expect("fits");
    assert_eq!(read(&fading, SECOND * 2, 7), [4.0, 0.0]);
    assert_eq!(read(&first, SECOND * 2, 7), [8.0, 0.0]);
    let of_other_kind = states.attach("a", &[bucket("t", 0.0, 1.0)]).expect("fits");
    assert!(take(&of_other_kind, SECOND, 7, 1));
}

#[test]
fn keys_max_is_the_largest_that_is_in_use_and_charged() {
    let (states, budget) = states();
    let bytes = |keys_max| Tally::bytes_max(1, keys_max);
    let small = states.attach("a", &[tally("t", 1, 0.0, 4)]).expect("fits");
    assert_eq!(budget.bytes_used(), bytes(4));
    let large = states.attach("a", &[tally("t", 1, 0.0, 1000)]).expect("fits");
    assert_eq!(budget.bytes_used(), bytes(1000));
    for key in 0..100 {
        add(&large, SECOND, key, 1.0);
    }
    assert_eq!(read(&small, SECOND, 3), [1.0]);
    drop(large);
    assert_eq!(budget.bytes_used(), bytes(4));
    assert_eq!(read(&small, SECOND, 99), [1.0]);
    assert_eq!(read(&small, SECOND, 50), [0.0], "is forgotten");
    drop(small);
    assert_eq!(budget.bytes_used(), 0);
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_leaves_nothing() {
    let budget = Budget::new(Buckets::bytes_max() + 1000);
    let states = HostStates::new(&budget);
    let first = states.attach("a", &[bucket("b", 0.0, 1.0)]).expect("fits");
    let error = states.attach("a", &[bucket("b", 0.0, 1.0), tally("big", 1024, 0.0, 1024)]).expect_err("does not fit");
    assert_eq!(error, StateTooLarge { name: "big".to_owned(), bytes: Tally::bytes_max(1024, 1024) });
    assert!(error.to_string().contains("`big`"), "{error}");
    assert_eq!(budget.bytes_used(), Buckets::bytes_max());
    assert!(states.attach("a", &[tally("big", 1024, 0.0, 1024)]).is_err(), "still");
    assert!(take(&first, SECOND, 1, 1));
    drop(first);
    assert_eq!(budget.bytes_used(), 0);
}

#[test]
fn what_a_failed_call_took_is_given_back_and_what_it_added_is_not_there() {
    let (states, _) = states();
    let attached = states.attach("a", &[bucket("b", 0.0, 10.0), tally("t", 1, 0.0, 10)]).expect("fits");
    let mut one = session(&attached);
    one.begin_at(SECOND);
    assert_eq!(one.take(0, &[1, 2, 1], &[6, 10, 6]), Ok(vec![1, 1, 0]));
    one.add(1, &[5], &[0], &[3.0]).expect("may be added");
    let mut other = session(&attached);
    other.begin_at(SECOND);
    assert_eq!(other.take(0, &[1, 1], &[4, 1]), Ok(vec![1, 0]), "others see at once what is taken");
    let mut seen = Vec::new();
    other.read(1, &[5], &mut seen).expect("may be read");
    assert_eq!((seen, other.keys(1)), (vec![0.0], Ok(Vec::new())), "and not what is added");
    other.commit();
    one.roll_back();
    one.begin_at(SECOND);
    assert_eq!(one.take(0, &[1, 1, 2], &[6, 1, 10]), Ok(vec![1, 0, 1]));
    assert_eq!(one.keys(1), Ok(Vec::new()));
    one.commit();
    one.roll_back();
    assert!(!take(&attached, SECOND, 1, 1), "what was committed stays");
}

#[test]
fn a_call_reads_what_it_added() {
    let (states, _) = states();
    let attached = states.attach("a", &[tally("t", 2, 1.0, 10), tally("u", 1, 0.0, 10)]).expect("fits");
    add(&attached, SECOND, 5, 8.0);
    let mut session = session(&attached);
    session.begin_at(SECOND * 2);
    session.add(0, &[5, 6, 5], &[1, 0, 0], &[2.0, 3.0, 1.0]).expect("may be added");
    session.add(1, &[9], &[0], &[1.0]).expect("may be added");
    let mut out = vec![7.0];
    session.read(0, &[6, 5, 4], &mut out).expect("may be read");
    assert_eq!(out, [7.0, 3.0, 0.0, 5.0, 2.0, 0.0, 0.0]);
    let mut keys = session.keys(0).expect("may be asked");
    keys.sort_unstable();
    assert_eq!(keys, [5, 6]);
    session.commit();
    assert_eq!(read(&attached, SECOND * 2, 5), [5.0, 2.0]);
    assert_eq!(read(&attached, SECOND * 3, 6), [1.5, 0.0]);
}

#[test]
fn misuse_is_told() {
    let (states, _) = states();
    let attached = states.attach("a", &[bucket("b", 0.0, 10.0), tally("t", 2, 1.0, 10)]).expect("fits");
    let mut session = session(&attached);
    assert!(matches!(session.take(0, &[1], &[1]), Err(Wrong::Use(text)) if text.contains("outside of a call")));
    session.begin_at(SECOND);
    assert!(session.take(0, &[1], &[]).is_err());
    assert!(session.take(1, &[1], &[1]).is_err(), "a tally is no bucket");
    assert!(session.take(2, &[1], &[1]).is_err());
    assert!(session.add(0, &[1], &[0], &[1.0]).is_err());
    assert!(session.add(1, &[1, 2], &[0], &[1.0, 1.0]).is_err());
    assert!(session.add(1, &[1], &[0], &[]).is_err());
    assert!(session.add(1, &[1], &[2], &[1.0]).is_err(), "past the width");
    for amount in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(session.add(1, &[1], &[0], &[amount]).is_err(), "{amount}");
    }
    assert!(session.read(0, &[1], &mut Vec::new()).is_err());
    session.roll_back();
    assert!(session.keys(1).is_err());
    assert_eq!(read(&states.attach("a", &[tally("t", 2, 1.0, 10)]).expect("fits"), SECOND, 1), [0.0; 2]);
}

#[test]
fn one_call_adds_to_so_many_rows() {
    let (states, _) = states();
    let specs = [tally("narrow", 1, 1.0, 1 << 20), tally("wide", 1 << 20, 1.0, 1)];
    let attached = states.attach("a", &specs).expect("fits");
    let mut session = session(&attached);
    let add = |session: &mut Session, state, keys: std::ops::Range<u64>| {
        let keys: Vec<u64> = keys.collect();
        session.add(state, &keys, &vec![0; keys.len()], &vec![1.0; keys.len()])
    };
    let too_much = |answer| matches!(answer, Err(Wrong::Amount(_)));
    session.begin_at(SECOND);
    add(&mut session, 0, 0..65_536).expect("is not too much");
    add(&mut session, 0, 0..65_536).expect("are the same rows");
    assert!(too_much(add(&mut session, 0, 65_536..65_537)));
    session.roll_back();
    session.begin_at(SECOND);
    add(&mut session, 1, 0..1).expect("is not too much");
    assert!(too_much(add(&mut session, 1, 1..2)), "of all its cells");
    session.roll_back();
    session.begin_at(SECOND);
    add(&mut session, 0, 0..65_536).expect("each call has its own");
    session.commit();
    session.begin_at(SECOND);
    assert_eq!(session.keys(0).map(|keys| keys.len()), Ok(65_536));
}

#[test]
fn two_threads_never_get_more_than_the_burst() {
    let (states, _) = states();
    let attached = states.attach("a", &[bucket("b", 0.0, 10_000.0)]).expect("fits");
    let taken: u64 = thread::scope(|scope| {
        let of_thread = |_| {
            scope.spawn(|| {
                let mut session = session(&attached);
                let mut taken = 0;
                for call in 0..2000_u64 {
                    session.begin_at(SECOND);
                    let answers = session.take(0, &[1; 10], &[1 + call % 3; 10]).expect("may be asked");
                    if call % 5 == 0 {
                        session.roll_back();
                    } else {
                        session.commit();
                        taken += answers.iter().map(|&answer| u64::from(answer) * (1 + call % 3)).sum::<u64>();
                    }
                }
                taken
            })
        };
        let threads: Vec<_> = (0..2).map(of_thread).collect();
        threads.into_iter().map(|thread| thread.join().expect("ends")).sum()
    });
    let left = (0..).take_while(|_| take(&attached, SECOND, 1, 1)).count() as u64;
    assert_eq!(taken + left, 10_000);
}
