//! Boundaries of each guard, and chance against a model.

use super::*;

fn field() -> Subject {
    Subject::Field("span.attributes[\"email\"]".to_owned())
}

/// One batch of so many records, drops and edits.
fn one(records: u64, dropped: u64, edits: u64) -> Tally {
    let mut tally = Tally::default();
    tally.judged(records, dropped, [(field(), edits)]);
    tally
}

fn told(serving: &Tally, candidate: &Tally, samples: Samples) -> Vec<String> {
    findings(serving, candidate, samples).into_iter().map(|finding| finding.what).collect()
}

#[test]
fn what_is_the_same_is_no_worse() {
    let tally = one(1_000, 300, 500);
    assert_eq!(findings(&tally, &tally, Samples::Same), []);
    assert_eq!(findings(&Tally::default(), &Tally::default(), Samples::Same), []);
}

#[test]
fn a_fall_of_edits_by_a_fifth_is_borne_and_by_more_is_not() {
    for (before, now, is_worse) in [
        (100, 80, false),
        (100, 79, true),
        (10, 8, false),
        (10, 7, true),
        // Too few to say anything.
        (9, 0, false),
        (100, 0, true),
        (100, 200, false),
    ] {
        let found = told(&one(1_000, 0, before), &one(1_000, 0, now), Samples::Same);
        assert_eq!(!found.is_empty(), is_worse, "{before} -> {now}: {found:?}");
    }
}

#[test]
fn each_field_and_each_rule_counts_by_itself() {
    let tally = |email: u64, cards: u64| {
        let mut tally = Tally::default();
        tally.judged(500, 0, [(Subject::Rule("email".into()), email), (Subject::Rule("cards".into()), cards)]);
        tally
    };
    assert_eq!(told(&tally(100, 100), &tally(0, 1_000), Samples::Same), ["edits of rule email"]);
    let [finding] = &findings(&tally(100, 100), &tally(0, 1_000), Samples::Same)[..] else { panic!("one finding") };
    assert_eq!(finding.counts, [100, 500, 0, 500]);
    assert_eq!(finding.to_string(), "edits of rule email: 0 in 500 records, where what serves has 100 in 500");
}

#[test]
fn drops_may_rise_by_a_fifth_of_all_and_not_double() {
    for (records, before, now, is_worse) in [
        (1_000, 400, 600, false),
        (1_000, 400, 601, true),
        (1_000, 50, 100, false),
        (1_000, 50, 101, true),
        // From nothing to something, but hardly anything.
        (1_000, 0, 9, false),
        (1_000, 0, 10, true),
        (99, 0, 99, false),
        (100, 0, 100, true),
        (1_000, 500, 0, false),
    ] {
        let found = told(&one(records, before, 0), &one(records, now, 0), Samples::Same);
        assert_eq!(!found.is_empty(), is_worse, "{before} -> {now} of {records}: {found:?}");
    }
}

#[test]
fn one_fault_that_what_serves_has_not_is_enough() {
    let with = |batches: u64, faults: u64| {
        let mut tally = Tally::default();
        (faults..batches).for_each(|_| tally.judged(10, 0, []));
        (0..faults).for_each(|_| tally.faulted());
        tally
    };
    for (before, now, is_worse) in
        [((100, 0), (5, 1), true), ((100, 0), (5, 0), false), ((100, 5), (100, 10), false), ((100, 5), (100, 11), true)]
    {
        for samples in [Samples::Same, Samples::Apart] {
            let found = told(&with(before.0, before.1), &with(now.0, now.1), samples);
            assert_eq!(!found.is_empty(), is_worse, "{before:?} -> {now:?}: {found:?}");
        }
    }
}

/// A generator of which nothing but its spread matters (Marsaglia, "Xorshift RNGs", 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Batches of any size, each with a mood of its own: so many of its records are edited and dropped, in percent.
fn sampled(random: &mut Random, batches: u64, edited_percent: u64, dropped_percent: u64) -> Tally {
    let mut tally = Tally::default();
    for _ in 0..batches {
        let records = 1 + random.below(200);
        let mood = random.below(3);
        let of = |percent: u64, random: &mut Random| {
            (0..records).filter(|_| random.below(100) < percent * mood).count() as u64
        };
        let (edits, dropped) = (of(edited_percent, random), of(dropped_percent, random));
        tally.judged(records, dropped, [(field(), edits)]);
    }
    tally
}

#[test]
fn chance_alone_rolls_hardly_anything_back_and_a_missing_rule_always_does() {
    let mut random = Random(0x5eed_5eed_5eed_5eed);
    let (mut wrong, mut caught, mut dropping) = (0, 0, 0);
    for _ in 0..500 {
        let serving = sampled(&mut random, 400, 20, 10);
        wrong += usize::from(!findings(&serving, &sampled(&mut random, 20, 20, 10), Samples::Apart).is_empty());
        let missing = told(&serving, &sampled(&mut random, 20, 0, 10), Samples::Apart);
        caught += usize::from(missing.iter().any(|what| what.starts_with("edits")));
        let greedy = told(&serving, &sampled(&mut random, 200, 20, 45), Samples::Apart);
        dropping += usize::from(greedy.contains(&"drops".to_owned()));
    }
    assert!(wrong <= 5, "{wrong} of 500 good candidates were refused");
    assert_eq!(caught, 500, "of 500 candidates without the rule");
    assert!(dropping >= 450, "{dropping} of 500 candidates that drop too much");
}

#[test]
fn few_batches_apart_say_nothing_but_of_faults() {
    let tally = |batches: u64, edits: u64| {
        let mut tally = Tally::default();
        (0..batches).for_each(|_| tally.judged(100, 0, [(field(), edits)]));
        tally
    };
    let enough = BATCHES_APART_MIN;
    assert_eq!(told(&tally(100, 50), &tally(enough - 1, 0), Samples::Apart), Vec::<String>::new());
    assert_eq!(told(&tally(100, 50), &tally(enough, 0), Samples::Apart).len(), 1);
}

#[test]
fn subjects_are_bounded() {
    let mut tally = Tally::default();
    for batch in 0..100_u64 {
        tally.judged(10, 0, (0..100).map(|n| (Subject::Field(format!("{}", batch * 100 + n)), 1)));
    }
    assert!(tally.edits().count() <= SUBJECTS_MAX + 1);
    assert_eq!(tally.edits().map(|(_, count)| count).sum::<u64>(), 10_000);
}
