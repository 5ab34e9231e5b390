//! Random configurations.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

/// Which types of policies there are.
#[derive(Clone, Copy, PartialEq)]
pub enum Types {
    /// Those of which the interpreter knows what they decide.
    Interpreted,
    All,
}

/// Conditions of spans, and of events. What they mean stands in `interpret`.
pub const SPAN_CONDITIONS: [&str; 4] = [
    r#"attributes["k"] == "a""#,
    r#"HasPrefix(attributes["k"], "a")"#,
    r#"resource.attributes["l"] == 1 or status.code == STATUS_CODE_ERROR"#,
    r#"IsRootSpan() and name == "b""#,
];
pub const EVENT_CONDITIONS: [&str; 2] = [r#"name == "e""#, r#"HasSuffix(span.attributes["k"], "b")"#];

pub fn config(rng: &mut StdRng, types: Types) -> Value {
    let policies: Vec<Value> = (0..rng.random_range(1..5)).map(|number| named(rng, types, number, 0)).collect();
    json!({ "policies": policies, "sample_on_first_match": rng.random_bool(0.3) })
}

fn named(rng: &mut StdRng, types: Types, number: usize, depth: usize) -> Value {
    let mut policy = policy(rng, types, depth);
    policy["name"] = json!(format!("p{number}"));
    policy
}

fn several(rng: &mut StdRng, types: Types, depth: usize) -> Vec<Value> {
    (0..rng.random_range(1..4)).map(|number| named(rng, types, number, depth + 1)).collect()
}

fn policy(rng: &mut StdRng, types: Types, depth: usize) -> Value {
    let nested = depth < 3 && rng.random_bool(if depth == 0 { 0.5 } else { 0.35 });
    match nested {
        true => match rng.random_range(0..10) {
            0..4 => json!({ "and": { "and_sub_policy": several(rng, types, depth) } }),
            4..7 => json!({ "drop": { "drop_sub_policy": several(rng, types, depth) } }),
            7..9 => json!({ "not": { "not_sub_policy": named(rng, types, 0, depth + 1) } }),
            _ => composite(rng, types, depth),
        },
        false => match rng.random_range(0..20) {
            // Rates and limits are less often: what they are in is never settled.
            0 => rate(rng, types),
            _ => leaf(rng),
        },
    }
}

fn leaf(rng: &mut StdRng) -> Value {
    let key = *["k", "l"].choose(rng).unwrap();
    let invert = rng.random_bool(0.4);
    match rng.random_range(0..12) {
        0 => json!({ "always_sample": {} }),
        1 => match rng.random_bool(0.5) {
            true => json!({ "latency": { "threshold_ms": rng.random_range(0..4) } }),
            false => {
                json!({ "latency": { "threshold_ms": rng.random_range(0..2), "upper_threshold_ms": rng.random_range(2..4) } })
            }
        },
        2 => {
            json!({ "numeric_attribute": { "key": key, "min_value": 0, "max_value": rng.random_range(0..3), "invert_match": invert } })
        }
        3 => {
            let is_regex = rng.random_bool(0.5);
            let values = if is_regex { ["^a", "b$"] } else { ["a", "ab"] };
            json!({ "string_attribute": { "key": key, "values": values, "enabled_regex_matching": is_regex, "invert_match": invert } })
        }
        4 => json!({ "boolean_attribute": { "key": key, "value": rng.random_bool(0.5), "invert_match": invert } }),
        5 => json!({ "status_code": { "status_codes": [*["OK", "ERROR", "UNSET"].choose(rng).unwrap()] } }),
        6 => {
            json!({ "span_count": { "min_spans": rng.random_range(1..3), "max_spans": *[0, 3].choose(rng).unwrap() } })
        }
        7 => json!({ "trace_state": { "key": "v", "values": ["x"] } }),
        8 => json!({ "trace_flags": {} }),
        9 => json!({ "ottl_condition": {
            "error_mode": *["ignore", "propagate"].choose(rng).unwrap(),
            "span": SPAN_CONDITIONS.choose_multiple(rng, 1).collect::<Vec<_>>(),
            "spanevent": EVENT_CONDITIONS.iter().filter(|_| rng.random_bool(0.3)).collect::<Vec<_>>(),
        } }),
        10 => json!({ "parent_based": {
            "sampled": *["keep", "ignore"].choose(rng).unwrap(),
            "unsampled": *["ignore", "ignore", "drop"].choose(rng).unwrap(),
            "threshold": *["ignore", "honor"].choose(rng).unwrap(),
        } }),
        _ => {
            let percentage = *[0, 10, 25, 50, 75, 100].choose(rng).unwrap();
            let salt = *["", "", "salt"].choose(rng).unwrap();
            json!({ "probabilistic": { "sampling_percentage": percentage, "hash_salt": salt } })
        }
    }
}

fn rate(rng: &mut StdRng, types: Types) -> Value {
    match rng.random_range(0..if types == Types::All { 5 } else { 3 }) {
        0 => json!({ "rate_limiting": { "spans_per_second": rng.random_range(1..8) } }),
        1 => json!({ "bytes_limiting": { "bytes_per_second": 40, "burst_capacity": rng.random_range(50..150) } }),
        2 => {
            json!({ "rare": { "keep_per_hour": 3600, "burst": 1, "traces_per_second": 2, "key": [r#"resource.attributes["k"]"#, "span.name"] } })
        }
        3 => json!({ "adaptive": { "goal_percentage": 50 } }),
        _ => json!({ "latency_percentile": { "percentile": 50, "min_traces": 2 } }),
    }
}

fn composite(rng: &mut StdRng, types: Types, depth: usize) -> Value {
    let policies = several(rng, types, depth);
    let allocation: Vec<Value> = (0..policies.len())
        .filter(|_| rng.random_bool(0.5))
        .map(|number| json!({ "policy": format!("p{number}"), "percent": 25 }))
        .collect();
    let order = if rng.random_bool(0.5) { vec![format!("p{}", policies.len() - 1)] } else { Vec::new() };
    json!({ "composite": {
        "max_total_spans_per_second": rng.random_range(4..20),
        "policy_order": order,
        "composite_sub_policy": policies,
        "rate_allocation": allocation,
    } })
}
