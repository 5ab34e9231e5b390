//! Rates of edits, and two outputs of one input.

use super::rates::{Counts, EditRates, NAME_BYTES_MAX, NAMES_MAX};
use super::*;
use crate::compare::outputs::{Disagreement, Disagreements, Output, disagreements};

fn named(text: &str, attributes: &[(&str, &str)]) -> Flat {
    let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), super::text(value))).collect();
    Flat { resource: 0, tier: "t".to_owned(), text: text.to_owned(), attributes }
}

fn read(flats: &[Flat]) -> Vec<Record> {
    records(Signal::Logs, &[encode(Signal::Logs, flats)]).expect("it can be read")
}

#[test]
fn drops_and_edits_are_counted_by_rule_and_field() {
    let before = read(&[named("a", &[("mail", "x")]), named("b", &[("mail", "y")]), named("c", &[("mail", "z")])]);
    let after = read(&[named("a", &[("mail", "***")]), named("c!", &[("mail", "***")])]);
    let rules = ["health".to_owned(), "email".to_owned()];
    let mut rates = EditRates::default();
    rates.judged(&before, &after, &[(1, 0)], &[(1, 2)], &rules);
    rates.faulted("trap");
    assert_eq!((rates.batches, rates.items, rates.dropped, rates.edited), (1, 3, 1, 2));
    let counts = |counts: &Counts| counts.iter().map(|(name, count)| (name.to_owned(), count)).collect::<Vec<_>>();
    let of = |name: &str, count| (name.to_owned(), count);
    assert_eq!(counts(&rates.dropped_by_rule), [of("health", 1)]);
    assert_eq!(counts(&rates.edited_by_rule), [of("email", 2)]);
    assert_eq!(counts(&rates.edited_by_field), [of(r#"log.attributes["mail"]"#, 2), of("log.body", 1)]);
    assert_eq!(counts(&rates.faults), [of("trap", 1)]);

    let mut twice = rates.clone();
    twice.merge(&rates);
    assert_eq!((twice.batches, twice.items, twice.dropped, twice.edited), (2, 6, 2, 4));
    assert_eq!(twice.edited_by_field.get(r#"log.attributes["mail"]"#), 4);
    let told = serde_json::to_string(&twice).expect("it can be told");
    assert_eq!(serde_json::from_str::<EditRates>(&told).expect("it can be read"), twice);
}

#[test]
fn which_names_are_told_does_not_depend_on_their_order() {
    let names: Vec<String> = (0..2000).map(|n| format!("{:04}", n * 7919 % 2000)).collect();
    let mut forward = Counts::default();
    let mut backward = Counts::default();
    let (mut half, mut other_half) = (Counts::default(), Counts::default());
    names.iter().for_each(|name| forward.add(name, 2));
    names.iter().rev().for_each(|name| backward.add(name, 2));
    names.iter().enumerate().for_each(|(n, name)| if n % 2 == 0 { &mut half } else { &mut other_half }.add(name, 2));
    half.merge(&other_half);
    assert_eq!(forward, backward);
    assert_eq!(forward, half);
    assert_eq!(forward.iter().count(), NAMES_MAX);
    assert_eq!((forward.total(), forward.get("0255"), forward.get("0256")), (4000, 2, 0));
    forward.add(&"x".repeat(NAME_BYTES_MAX + 1), 1);
    assert_eq!((forward.total(), forward.iter().count()), (4001, NAMES_MAX));
}

#[test]
fn two_outputs_of_one_input_are_compared_by_row() {
    let rows = [named("both", &[]), named("first", &[]), named("second", &[]), named("kept", &[("k", "v")])];
    let first = read(&[rows[2].clone(), named("kept", &[("k", "***")])]);
    let second = read(&[rows[1].clone(), rows[3].clone()]);
    let first = Output { records: &first, dropped: &[(0, 0), (1, 4)] };
    let second = Output { records: &second, dropped: &[(0, 1), (2, 5)] };
    let found: Vec<_> = disagreements(rows.len(), first, second).collect();
    let [(1, Disagreement::FirstDropped(4)), (2, Disagreement::SecondDropped(5)), (3, Disagreement::Different(fields))] =
        &found[..]
    else {
        panic!("{found:?}")
    };
    let paths: Vec<_> = fields.iter().map(|field| field.path).collect();
    assert_eq!(paths, [r#"log.attributes["k"]"#]);

    let mut counted = Disagreements::default();
    counted.count(rows.len(), first, second);
    counted.count(rows.len(), first, first);
    assert_eq!((counted.compared, counted.dropped_by_first_only, counted.dropped_by_second_only), (8, 1, 1));
    assert_eq!((counted.different, counted.different_by_field.get(r#"log.attributes["k"]"#)), (1, 1));
}
