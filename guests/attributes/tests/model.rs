//! Random lists of actions on random attributes, compared with a plain interpreter that goes through each row by itself, action by action.

#![allow(clippy::unwrap_used, reason = "a test")]

use attributes::Attributes;
use hmac::{Hmac, KeyInit, Mac};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use sluicebox_guest::testing::{TestBatch, Tester};
use sluicebox_guest::{Level, NewValue};

const RUNS: u64 = 3_000;
const KEYS: &[&str] = &["a", "b", "c.d", "x1", "x2", "other"];
type Finds = fn(&str) -> bool;
/// Patterns for keys, and whether they find a key.
const KEY_PATTERNS: &[(&str, Finds)] = &[
    ("^x", |key| key.starts_with('x')),
    ("[ab]", |key| key.contains(['a', 'b'])),
    ("\\.", |key| key.contains('.')),
    ("nothing", |_| false),
];
/// Splits at the first dash: into `a` and `x1`.
const EXTRACTION: &str = "^(?P<a>[^-]*)-(?P<x1>.*)$";

type Attrs = Vec<(String, NewValue)>;

#[test]
fn random_actions_do_what_a_plain_interpreter_does() {
    for seed in 0..RUNS {
        let mut rng = StdRng::seed_from_u64(seed);
        let is_resource = rng.random_bool(0.3);
        let actions: Vec<Json> = (0..rng.random_range(1..8)).map(|_| action(&mut rng)).collect();
        let rows: Vec<Attrs> = (0..rng.random_range(1..10)).map(|_| attributes(&mut rng)).collect();
        let level = if is_resource {
            Level::Resource
        } else {
            *[Level::Span, Level::Log, Level::DataPoint].choose(&mut rng).unwrap()
        };
        // Patterns on keys do not go with conditions.
        let is_limited = level == Level::Span
            && actions.iter().all(|action| action["pattern"].is_null() || action["action"] == "extract");
        let config = match (is_resource, is_limited) {
            (true, _) => json!({ "attributes": actions }),
            (_, true) => json!({ "actions": actions, "exclude": { "match_type": "strict", "span_names": ["odd"] } }),
            (_, false) => json!({ "actions": actions }),
        };
        let mut tester =
            Tester::<Attributes>::configure_with_keys(&config.to_string(), &[("pepper", b"secret")]).unwrap();
        let outcome = tester.process(&batch(level, &rows)).unwrap();
        for (row, before) in rows.into_iter().enumerate() {
            let mut expected = before.clone();
            if !is_limited || row % 2 == 0 {
                actions.iter().for_each(|action| interpret(action, &mut expected));
            }
            let mut actual = outcome.attributes(level, row as u32);
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            actual.sort_by(|a, b| a.0.cmp(&b.0));
            assert_eq!(actual, expected, "seed {seed}, row {row} of {level:?} with {before:?}, {config}");
        }
    }
}

fn batch(level: Level, rows: &[Attrs]) -> TestBatch {
    let empty = match level {
        Level::Log => TestBatch::logs(),
        Level::DataPoint => TestBatch::metrics().metric("m"),
        _ => TestBatch::traces(),
    };
    rows.iter().enumerate().fold(empty, |batch, (number, attributes)| {
        let batch = match level {
            Level::Span => batch.span(if number % 2 == 0 { "even" } else { "odd" }),
            level => batch.row(level),
        };
        attributes.iter().fold(batch, |batch, (key, value)| batch.attribute(key, value.clone()))
    })
}

fn attributes(rng: &mut StdRng) -> Attrs {
    let keys = KEYS.iter().filter(|_| rng.random_bool(0.6)).collect::<Vec<_>>();
    keys.into_iter().map(|key| ((*key).to_owned(), value(rng))).collect()
}

fn value(rng: &mut StdRng) -> NewValue {
    let texts = ["", "7", "-3.5", "k-v", "-", "1e400", "0x1p4", "x"];
    match rng.random_range(0..8) {
        0 => rng.random_bool(0.5).into(),
        1 => rng.random_range(-3..3).into(),
        2 => f64::from(rng.random_range(-3..3)).into(),
        3 => NewValue::Bytes(vec![rng.random_range(0..3)]),
        _ => (*texts.choose(rng).unwrap()).into(),
    }
}

fn action(rng: &mut StdRng) -> Json {
    let kind = *["insert", "update", "UPSERT", "delete", "hash", "extract", "convert"].choose(rng).unwrap();
    let key = |rng: &mut StdRng| (*KEYS.choose(rng).unwrap()).to_owned();
    let mut action = json!({ "action": kind });
    let has_pattern = matches!(kind, "delete" | "hash") && rng.random_bool(0.4);
    if has_pattern {
        action["pattern"] = json!(KEY_PATTERNS.choose(rng).unwrap().0);
    }
    if !has_pattern || rng.random_bool(0.5) {
        action["key"] = json!(key(rng));
    }
    match kind {
        "hash" if rng.random_bool(0.5) => action["hmac_key"] = json!("pepper"),
        "extract" => action["pattern"] = json!(EXTRACTION),
        "convert" => action["converted_type"] = json!(["string", "int", "double"].choose(rng).unwrap()),
        "insert" | "update" | "UPSERT" => {
            let constant = [json!(true), json!(5), json!(0.5), json!("k-v")].choose(rng).unwrap().clone();
            match rng.random_range(0..3) {
                0 => action["value"] = constant,
                1 => action["from_attribute"] = json!(key(rng)),
                _ => {
                    action["from_attribute"] = json!(key(rng));
                    action["default_value"] = constant;
                }
            }
        }
        _ => {}
    }
    action
}

/// What the Collector does (attraction.go), one action on the attributes of one row.
fn interpret(action: &Json, attributes: &mut Attrs) {
    let text = |field: &str| action[field].as_str().map(str::to_owned);
    let get =
        |attributes: &Attrs, key: &str| attributes.iter().find(|(has, _)| has == key).map(|(_, value)| value.clone());
    let put =
        |attributes: &mut Attrs, key: &str, value: NewValue| match attributes.iter_mut().find(|(has, _)| has == key) {
            Some((_, held)) => *held = value,
            None => attributes.push((key.to_owned(), value)),
        };
    let constant = |field: &str| match &action[field] {
        Json::Null => None,
        Json::Bool(bool) => Some(NewValue::Bool(*bool)),
        Json::String(text) => Some(NewValue::Str(text.clone())),
        number => Some(number.as_i64().map_or_else(|| NewValue::Double(number.as_f64().unwrap()), NewValue::Int)),
    };
    let key = text("key").unwrap_or_default();
    let held = get(attributes, &key);
    let kind = text("action").unwrap().to_lowercase();
    match kind.as_str() {
        "insert" | "update" | "upsert" => {
            let source = text("from_attribute").and_then(|from| get(attributes, &from));
            let source = source.or_else(|| constant("value")).or_else(|| constant("default_value"));
            let is_wanted = kind == "upsert" || (kind == "insert") == held.is_none();
            if let (true, Some(source)) = (is_wanted, source) {
                put(attributes, &key, source);
            }
        }
        "extract" => {
            if let Some(NewValue::Str(text)) = held
                && let Some((one, two)) = text.split_once('-')
            {
                put(attributes, "a", one.into());
                put(attributes, "x1", two.into());
            }
        }
        "convert" => {
            let converted = held.and_then(|held| convert(held, &text("converted_type").unwrap()));
            converted.into_iter().for_each(|value| put(attributes, &key, value));
        }
        _ => {
            let pattern =
                text("pattern").map(|pattern| KEY_PATTERNS.iter().find(|(known, _)| *known == pattern).unwrap().1);
            let found =
                attributes.iter().map(|(key, _)| key.clone()).filter(|key| pattern.is_some_and(|finds| finds(key)));
            let found: Vec<String> = found.collect();
            for key in [key].into_iter().chain(found) {
                if kind == "delete" {
                    attributes.retain(|(has, _)| *has != key);
                } else if let Some((_, held)) = attributes.iter_mut().find(|(has, _)| *has == key) {
                    *held = hash(held, !action["hmac_key"].is_null());
                }
            }
        }
    }
}

fn hash(value: &NewValue, is_keyed: bool) -> NewValue {
    let image = match value {
        NewValue::Str(text) => text.clone().into_bytes(),
        NewValue::Bool(bool) => vec![u8::from(*bool)],
        NewValue::Int(int) => int.to_le_bytes().to_vec(),
        NewValue::Double(double) => double.to_bits().to_le_bytes().to_vec(),
        _ => return "".into(),
    };
    let hash = if is_keyed {
        Hmac::<Sha256>::new_from_slice(b"secret").unwrap().chain_update(image).finalize().into_bytes().to_vec()
    } else {
        Sha256::digest(image).to_vec()
    };
    hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn convert(value: NewValue, to: &str) -> Option<NewValue> {
    match (to, value) {
        ("string", NewValue::Bool(bool)) => Some(bool.to_string().into()),
        ("string", NewValue::Int(int)) => Some(int.to_string().into()),
        ("string", NewValue::Double(double)) => Some(double.to_string().into()),
        ("string", NewValue::Bytes(bytes)) => {
            // Base64 of one byte of 0 to 2.
            let known = ["AA==", "AQ==", "Ag=="];
            Some(known[usize::from(bytes[0])].into())
        }
        ("int", NewValue::Str(text)) => text.parse().ok().map(NewValue::Int),
        ("int", NewValue::Bool(bool)) => Some(i64::from(bool).into()),
        ("int", NewValue::Double(double)) => Some((double.trunc() as i64).into()),
        ("double", NewValue::Str(text)) => {
            text.parse().ok().filter(|double: &f64| double.is_finite()).map(NewValue::Double)
        }
        ("double", NewValue::Bool(bool)) => Some((if bool { 1.0 } else { 0.0 }).into()),
        ("double", NewValue::Int(int)) => Some((int as f64).into()),
        _ => None,
    }
}
