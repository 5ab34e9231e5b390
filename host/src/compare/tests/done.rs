//! Random requests, edited at random: what is told is what was done.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::*;

const KEYS: [&str; 4] = ["k", "http.route", "a\"]b", ""];

fn flats(rng: &mut StdRng) -> Vec<Flat> {
    let mut resource = 0;
    let flat = |rng: &mut StdRng, resource: &mut u32| {
        *resource += u32::from(rng.random_ratio(1, 3));
        let keys: Vec<_> = KEYS.iter().filter(|_| rng.random()).collect();
        let attributes =
            keys.into_iter().map(|key| ((*key).to_owned(), Any::IntValue(rng.random_range(0..3)))).collect();
        let text = format!("t{}", rng.random_range(0..3));
        Flat { resource: *resource, tier: format!("tier-{resource}"), text, attributes }
    };
    (0..rng.random_range(1..30)).map(|_| flat(rng, &mut resource)).collect()
}

/// What one edit of a field should be told as.
type Told = (String, Option<Value>, Option<Value>);

/// Edits one record at random; what was changed, if anything, in the order of paths.
fn edit(signal: Signal, flat: &mut Flat, rng: &mut StdRng) -> Vec<Told> {
    let (text, attributes) = paths(signal);
    let mut told = Vec::new();
    if rng.random_ratio(1, 4) {
        let before = std::mem::replace(&mut flat.text, "changed".to_owned());
        told.push((text.to_owned(), Some(json!(before)), Some(json!("changed"))));
    }
    let path = |key: &str| format!("{attributes}[{}]", json!(key));
    for key in KEYS {
        let place = flat.attributes.iter().position(|(known, _)| known == key);
        match (place, rng.random_range(0..6)) {
            (Some(place), 0) => {
                let Any::IntValue(before) = flat.attributes.remove(place).1 else { panic!("all are integers") };
                told.push((path(key), Some(json!(before)), None));
            }
            (Some(place), 1) => {
                let before = std::mem::replace(&mut flat.attributes[place].1, super::text("x"));
                let Any::IntValue(before) = before else { panic!("all are integers") };
                told.push((path(key), Some(json!(before)), Some(json!("x"))));
            }
            (None, 0) => {
                flat.attributes.insert(0, (key.to_owned(), Any::BoolValue(true)));
                told.push((path(key), None, Some(json!(true))));
            }
            _ => {}
        }
    }
    // A point stands below its metric.
    told.sort_by_key(|(path, ..)| (path.starts_with("datapoint"), path.clone()));
    told
}

#[test]
fn what_is_told_is_what_was_done() {
    for seed in 0..600 {
        let mut rng = StdRng::seed_from_u64(seed);
        let signal = Signal::ALL[rng.random_range(0..3)];
        let before = flats(&mut rng);
        let resource = rng.random_ratio(1, 3).then_some(before[0].resource);
        let (mut after, mut dropped, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for (row, flat) in (0..).zip(&before) {
            if rng.random_ratio(1, 4) {
                let rule = rng.random_range(0..3);
                dropped.push((row, rule));
                expected.push(Err(rule));
                continue;
            }
            let mut flat = flat.clone();
            let mut told = Vec::new();
            // One edit of a resource is a change of each record below it.
            if resource == Some(flat.resource) {
                let before = std::mem::replace(&mut flat.tier, "gold".to_owned());
                told.push((r#"resource.attributes["tier"]"#.to_owned(), Some(json!(before)), Some(json!("gold"))));
            }
            told.extend(edit(signal, &mut flat, &mut rng));
            expected.push(Ok(told));
            after.push(flat);
        }
        let read = |flats: &[Flat]| records(signal, &[encode(signal, flats)]).expect("it can be read");
        let (before, after) = (read(&before), read(&after));
        let told = |difference: &Difference<'_>| {
            let Change { path, before, after } = difference.to_change();
            (path, before, after)
        };
        let found = fates(&before, &after, &dropped).map(|fate| match fate {
            Fate::Dropped(rule) => Err(rule),
            Fate::Kept(changes) => Ok(changes.iter().map(told).collect::<Vec<_>>()),
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "seed {seed}, {signal}");
    }
}

#[test]
fn how_requests_are_cut_does_not_count() {
    for seed in 0..100 {
        let mut rng = StdRng::seed_from_u64(seed);
        let signal = Signal::ALL[rng.random_range(0..3)];
        let flats = flats(&mut rng);
        let whole = encode(signal, &flats);
        let at = rng.random_range(0..=flats.len());
        let (first, second) = (encode(signal, &flats[..at]), encode(signal, &flats[at..]));
        let joined = Bytes::from([&first[..], &second[..]].concat());
        let read = |bodies: &[Bytes]| records(signal, bodies).expect("it can be read");
        let expected = read(&[whole]);
        assert_eq!(expected.len(), flats.len());
        assert_eq!(read(&[first, second]), expected, "as two requests");
        assert_eq!(read(&[joined]), expected, "one behind the other");
    }
}
