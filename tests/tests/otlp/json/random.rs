//! Random messages: both directions agree with what the descriptors say, and damage is refused without a word of the content.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use sluicebox::json::{to_json, to_protobuf};
use sluicebox::signal::Signal;

use super::decoded;
use super::made::{Published, SECRET};

const MESSAGES: u64 = 250;
const DAMAGES: usize = 12;

/// Scenario: random messages of each signal, as protobuf, as JSON by the book and as JSON with every liberty.
/// Guarantees: both JSONs are read as that message; the protobuf is written as the JSON by the book; every field that the
/// descriptors have was among them.
#[test]
fn json_and_protobuf_of_the_same_message_are_each_the_other() {
    let mut published = Published::load();
    for signal in Signal::ALL {
        for seed in 0..MESSAGES {
            let made = published.request(&mut StdRng::seed_from_u64(seed), signal);
            let expected = decoded(signal, &made.protobuf).expect("is well-formed").0;
            let strict = serde_json::to_vec(&made.strict).expect("is written");
            let loose = serde_json::to_vec_pretty(&made.loose).expect("is written");
            for json in [&strict, &loose] {
                let text = || format!("{signal} {seed}: {}", String::from_utf8_lossy(json));
                let read = to_protobuf(signal, json).unwrap_or_else(|error| panic!("{error}: {}", text()));
                assert!(decoded(signal, &read).expect("is well-formed").0 == expected, "{}", text());
                assert!(read.len() <= made.protobuf.len(), "defaults are left out: {}", text());
            }
            let written = to_json(signal, &made.protobuf).expect("is written");
            let parsed: Value = serde_json::from_slice(&written).expect("is JSON");
            assert_eq!(parsed, made.strict, "{signal} {seed}");
        }
        let missing: Vec<_> = published.fields(signal).difference(&published.made).cloned().collect();
        assert!(missing.is_empty(), "never made: {missing:?}");
    }
}

/// Scenario: bytes of JSON and of protobuf are changed, cut out and doubled.
/// Guarantees: nothing panics; JSON that is still read gives protobuf that a full decode takes; errors quote nothing; protobuf that a
/// full decode takes is written as JSON that means the same.
#[test]
fn damaged_messages_are_read_as_a_full_decode_would_or_refused() {
    let mut published = Published::load();
    let (mut taken, mut refused, mut compared) = (0, 0, 0);
    for signal in Signal::ALL {
        for seed in 0..MESSAGES / 2 {
            let mut rng = StdRng::seed_from_u64(seed);
            let made = published.request(&mut rng, signal);
            let json = serde_json::to_vec(&made.loose).expect("is written");
            for _ in 0..DAMAGES {
                let damaged = damage(&mut rng, &json, b"{}[]\",:0e-\\nN");
                match to_protobuf(signal, &damaged) {
                    Ok(read) => {
                        taken += 1;
                        assert!(decoded(signal, &read).is_ok(), "{}", String::from_utf8_lossy(&damaged));
                    }
                    Err(error) => {
                        refused += 1;
                        assert!(!error.to_string().contains(SECRET), "{error}");
                    }
                }
                compared +=
                    usize::from(same_meaning(signal, &damage(&mut rng, &made.protobuf, &[0, 1, 2, 0x0a, 0x80])));
            }
        }
    }
    assert!(taken > 100 && refused > 100 && compared > 100, "{taken} {refused} {compared}");
}

/// Compares through JSON and back, where JSON can say all of it: ids of their length, NaN without bits of its own.
fn same_meaning(signal: Signal, protobuf: &[u8]) -> bool {
    let Ok((expected, _)) = decoded(signal, protobuf) else {
        // Texts that are no UTF-8 are repaired instead of refused.
        let _written_or_refused = to_json(signal, protobuf);
        return false;
    };
    let json = to_json(signal, protobuf).expect("a full decode takes it");
    let text = String::from_utf8(json).expect("is text");
    match to_protobuf(signal, text.as_bytes()) {
        Ok(read) if !text.contains("\"NaN\"") => {
            assert!(decoded(signal, &read).expect("is well-formed").0 == expected, "{text}");
            true
        }
        Ok(_) => false,
        Err(error) => {
            assert!(error.to_string().contains("hexadecimal"), "{error}: {text}");
            false
        }
    }
}

fn damage(rng: &mut StdRng, whole: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut damaged = whole.to_vec();
    if damaged.is_empty() {
        return damaged;
    }
    let at = rng.random_range(0..damaged.len());
    let end = (at + rng.random_range(1..30)).min(damaged.len());
    match rng.random_range(0..4) {
        0 => damaged[at] = bytes[rng.random_range(0..bytes.len())],
        1 => damaged[at] ^= 1 << rng.random_range(0..8),
        2 => drop(damaged.drain(at..end)),
        _ => damaged.splice(at..at, whole[at..end].to_vec()).for_each(drop),
    }
    damaged
}
