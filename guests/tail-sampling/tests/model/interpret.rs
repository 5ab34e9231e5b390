//! What policies mean, in the plainest form: one trace and one policy at a time, straight from the configuration.

use std::collections::HashMap;

use serde_json::Value;

use crate::generate::{EVENT_CONDITIONS, SPAN_CONDITIONS};
use crate::trace::{END, Span, Trace, Val, get};

const UNKNOWN: u64 = u64::MAX;

/// What comes of a trace.
#[derive(Debug, PartialEq)]
pub enum Said {
    Nothing,
    /// The threshold, and the policy that decided.
    Keep(u64, String),
    Drop(String),
}

impl Said {
    pub fn kind(&self) -> &'static str {
        match self {
            Said::Nothing => "nothing",
            Said::Keep(0, _) => "always",
            Said::Keep(UNKNOWN, _) => "unknown",
            Said::Keep(..) => "rate",
            Said::Drop(_) => "drop",
        }
    }
}

/// What one policy says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Vote {
    Keep(u64),
    Drop,
    /// Without an answer.
    Failed,
    /// Nothing, because it is so, or because a draw went that way.
    None {
        by_chance: bool,
    },
}

const NO: Vote = Vote::None { by_chance: false };

pub struct Interpreter {
    policies: Vec<Value>,
    is_first_match: bool,
    now: f64,
    /// Tokens and when they were counted, by the place of the policy and a key.
    buckets: HashMap<String, (f64, f64)>,
}

impl Interpreter {
    pub fn new(config: &Value) -> Interpreter {
        let mut policies = config["policies"].as_array().unwrap().clone();
        policies.sort_by_key(|policy| !may(policy, &can_drop));
        let is_first_match = config["sample_on_first_match"] == true;
        Interpreter { policies, is_first_match, now: 0.0, buckets: HashMap::new() }
    }

    pub fn advance_seconds(&mut self, seconds: f64) {
        self.now += seconds;
    }

    pub fn decide(&mut self, trace: &Trace) -> Said {
        let (mut kept, mut is_spared): (Option<(u64, String)>, bool) = (None, false);
        for policy in self.policies.clone() {
            if self.is_first_match && kept.is_some() && may(&policy, &is_stateful) {
                continue;
            }
            let name = policy["name"].as_str().unwrap().to_owned();
            match self.vote(&policy, &name, trace) {
                Vote::Drop => return Said::Drop(name),
                Vote::Keep(threshold) => {
                    let (before, name) = kept.unwrap_or((END, name));
                    kept = Some((either(before, threshold), name));
                }
                Vote::None { by_chance } => is_spared |= by_chance && may(&policy, &can_drop),
                Vote::Failed => {}
            }
        }
        match kept {
            Some((_, name)) if is_spared => Said::Keep(UNKNOWN, name),
            Some((threshold, name)) => Said::Keep(threshold, name),
            None => Said::Nothing,
        }
    }

    fn vote(&mut self, policy: &Value, place: &str, trace: &Trace) -> Vote {
        let (kind, block) = block(policy);
        match kind {
            "and" => self.all(&block["and_sub_policy"], place, trace),
            "drop" => match self.all(&block["drop_sub_policy"], place, trace) {
                Vote::Keep(_) => Vote::Drop,
                other => other,
            },
            "not" => match self.vote(&block["not_sub_policy"], &format!("{place}/0"), trace) {
                Vote::Keep(threshold) => Vote::None { by_chance: threshold != 0 },
                Vote::None { by_chance } => Vote::Keep(if by_chance { UNKNOWN } else { 0 }),
                other => other,
            },
            "composite" => self.composite(block, place, trace),
            "rate_limiting" => {
                let rate = block["spans_per_second"].as_f64().unwrap();
                self.limited(place, rate, 2.0 * rate, trace.spans.len() as f64)
            }
            "bytes_limiting" => {
                self.limited(place, 40.0, block["burst_capacity"].as_f64().unwrap(), trace.bytes as f64)
            }
            "rare" => {
                let head = trace.head();
                let key = format!("{place}={:?}{}", get(&head.resource, "k"), head.name);
                match self.take(&key, 1.0, 1.0, 1.0) && self.take(&format!("{place} all"), 2.0, 2.0, 1.0) {
                    true => Vote::Keep(UNKNOWN),
                    false => Vote::None { by_chance: true },
                }
            }
            _ => judge(kind, block, trace),
        }
    }

    fn all(&mut self, policies: &Value, place: &str, trace: &Trace) -> Vote {
        let mut all = Vec::new();
        for (number, policy) in policies.as_array().unwrap().iter().enumerate() {
            // Who changes nothing is asked anyway: it matters whether it says nothing for certain.
            let is_open = all.iter().all(|vote| matches!(vote, Vote::Keep(_) | Vote::Drop));
            if is_open || !may(policy, &is_stateful) {
                all.push(self.vote(policy, &format!("{place}/{number}"), trace));
            }
        }
        match all.iter().find(|vote| !matches!(vote, Vote::Keep(_) | Vote::Drop)) {
            Some(Vote::Failed) => Vote::Failed,
            Some(_) => Vote::None { by_chance: !all.contains(&NO) },
            None if all.contains(&Vote::Drop) => Vote::Drop,
            None => Vote::Keep(
                all.iter().map(|vote| if let Vote::Keep(threshold) = vote { *threshold } else { 0 }).max().unwrap(),
            ),
        }
    }

    fn composite(&mut self, block: &Value, place: &str, trace: &Trace) -> Vote {
        let policies = block["composite_sub_policy"].as_array().unwrap();
        let total = block["max_total_spans_per_second"].as_f64().unwrap();
        let allocated = block["rate_allocation"].as_array().unwrap();
        let first = block["policy_order"].as_array().unwrap().first();
        let mut order: Vec<usize> = (0..policies.len()).collect();
        order.sort_by_key(|number| first != Some(&policies[*number]["name"]));
        for number in order {
            let policy = &policies[number];
            let share = match allocated.iter().any(|entry| entry["policy"] == policy["name"]) {
                true => total * 25.0 / 100.0,
                false => {
                    (total - total * 25.0 / 100.0 * allocated.len() as f64) / (policies.len() - allocated.len()) as f64
                }
            };
            match self.vote(policy, &format!("{place}/{number}"), trace) {
                Vote::Keep(_)
                    if self.take(&format!("{place}/{number} share"), share, share, trace.spans.len() as f64) =>
                {
                    return Vote::Keep(UNKNOWN);
                }
                Vote::Keep(_) => return Vote::None { by_chance: true },
                Vote::None { .. } => {}
                other => return other,
            }
        }
        Vote::None { by_chance: true }
    }

    fn limited(&mut self, place: &str, rate: f64, burst: f64, cost: f64) -> Vote {
        if self.take(place, rate, burst, cost) { Vote::Keep(UNKNOWN) } else { Vote::None { by_chance: true } }
    }

    fn take(&mut self, key: &str, rate: f64, burst: f64, cost: f64) -> bool {
        let (held, at) = self.buckets.get(key).copied().unwrap_or((burst, self.now));
        let held = (held + rate * (self.now - at)).min(burst);
        let is_taken = held >= cost;
        self.buckets.insert(key.to_owned(), (if is_taken { held - cost } else { held }, self.now));
        is_taken
    }
}

/// A policy that depends on its trace alone.
fn judge(kind: &str, block: &Value, trace: &Trace) -> Vote {
    let int = |key: &str| block[key].as_u64().unwrap_or(0);
    let any = |judge: &dyn Fn(&Span) -> bool| trace.spans.iter().any(judge);
    let is_kept = match kind {
        "always_sample" => true,
        "latency" => match (trace.duration_ms(), int("threshold_ms"), int("upper_threshold_ms")) {
            (duration, lower, 0) => duration >= lower,
            (duration, lower, upper) => duration > lower && duration <= upper,
        },
        "span_count" => {
            let count = trace.spans.len() as u64;
            count >= int("min_spans") && (int("max_spans") == 0 || count <= int("max_spans"))
        }
        "status_code" => {
            let codes = ["UNSET", "OK", "ERROR"];
            any(&|span| block["status_codes"][0] == codes[span.status as usize])
        }
        "trace_flags" => any(&|span| span.is_sampled),
        "trace_state" => any(&|span| span.vendor == Some("x")),
        "string_attribute" | "numeric_attribute" | "boolean_attribute" => {
            let of_span = |span: &Span| matches_value(kind, block, &span.attributes, true);
            let found = any(&|span| of_span(span) || matches_value(kind, block, &span.resource, false));
            found != (block["invert_match"] == true)
        }
        "ottl_condition" => return condition(block, trace),
        "parent_based" => return parent(block, trace),
        "probabilistic" => return probabilistic(block, trace),
        _ => panic!("{kind}"),
    };
    if is_kept { Vote::Keep(0) } else { NO }
}

fn matches_value(kind: &str, block: &Value, attributes: &[(&'static str, Val)], of_span: bool) -> bool {
    match (kind, get(attributes, block["key"].as_str().unwrap())) {
        ("numeric_attribute", Some(Val::Int(int))) => (0..=block["max_value"].as_i64().unwrap()).contains(int),
        ("boolean_attribute", Some(Val::Bool(bool))) => block["value"] == *bool,
        ("string_attribute", Some(Val::Str(text))) if block["enabled_regex_matching"] == true => {
            (text.starts_with('a') || text.ends_with('b')) && !(of_span && text.is_empty())
        }
        ("string_attribute", Some(Val::Str(text))) => *text == "a" || *text == "ab",
        _ => false,
    }
}

fn condition(block: &Value, trace: &Trace) -> Vote {
    let text = |span: &Span| match get(&span.attributes, "k") {
        Some(Val::Str(text)) => Ok(*text),
        _ => Err(()),
    };
    let of_span = |condition: &str, span: &Span| match SPAN_CONDITIONS.iter().position(|has| *has == condition).unwrap()
    {
        0 => Ok(text(span) == Ok("a")),
        1 => text(span).map(|text| text.starts_with('a')),
        2 => Ok(matches!(get(&span.resource, "l"), Some(Val::Int(1) | Val::Double(1.0))) || span.status == 2),
        _ => Ok(span.is_root && span.name == "b"),
    };
    let of_event = |condition: &str, span: &Span, event: &str| match condition == EVENT_CONDITIONS[0] {
        true => Ok(event == "e"),
        false => text(span).map(|text| text.ends_with('b')),
    };
    let mut answers: Vec<Result<bool, ()>> = Vec::new();
    for span in &trace.spans {
        for condition in block["span"].as_array().unwrap() {
            answers.push(of_span(condition.as_str().unwrap(), span));
        }
        for condition in block["spanevent"].as_array().unwrap() {
            answers.extend(span.events.iter().map(|event| of_event(condition.as_str().unwrap(), span, event)));
        }
    }
    if block["error_mode"] == "propagate" && answers.contains(&Err(())) {
        return Vote::Failed;
    }
    if answers.contains(&Ok(true)) { Vote::Keep(0) } else { NO }
}

fn parent(block: &Value, trace: &Trace) -> Vote {
    let threshold = trace.spans.iter().filter_map(|span| span.threshold).max();
    match threshold {
        Some(threshold) if block["threshold"] == "honor" => {
            if trace.randomness() >= threshold {
                Vote::Keep(threshold)
            } else {
                Vote::Drop
            }
        }
        _ if trace.spans.iter().any(|span| span.is_sampled) => {
            if block["sampled"] == "keep" {
                Vote::Keep(0)
            } else {
                NO
            }
        }
        _ if block["unsampled"] == "drop" => Vote::Drop,
        _ => NO,
    }
}

fn probabilistic(block: &Value, trace: &Trace) -> Vote {
    let percentage = block["sampling_percentage"].as_u64().unwrap();
    let salt = block["hash_salt"].as_str().unwrap();
    let (is_kept, threshold) = if salt.is_empty() || percentage >= 100 {
        let part = (u128::from(END) * u128::from(percentage) + 50) / 100;
        let threshold = END - u64::try_from(part).unwrap();
        (threshold < END && trace.randomness() >= threshold, threshold)
    } else {
        // FNV-1a; an offset of a few parts in 2^64 is nothing that would be met.
        let mut hash = 14_695_981_039_346_656_037_u64;
        for byte in salt.bytes().chain(trace.id) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211);
        }
        (u128::from(hash) * 100 <= u128::from(u64::MAX) * u128::from(percentage), UNKNOWN)
    };
    if is_kept { Vote::Keep(threshold) } else { Vote::None { by_chance: true } }
}

fn either(one: u64, other: u64) -> u64 {
    match (one, other) {
        (0, _) | (_, 0) => 0,
        (UNKNOWN, _) | (_, UNKNOWN) => UNKNOWN,
        _ => one.min(other),
    }
}

/// The type of a policy and its block.
fn block(policy: &Value) -> (&str, &Value) {
    let (kind, block) = policy.as_object().unwrap().iter().find(|(key, _)| *key != "name").unwrap();
    (kind, block)
}

/// Whether something holds of a policy or of any within it.
fn may(policy: &Value, is: &dyn Fn(&str, &Value) -> bool) -> bool {
    let (kind, of) = block(policy);
    let within = ["and_sub_policy", "drop_sub_policy", "composite_sub_policy"].into_iter();
    let mut within = within.filter_map(|key| of[key].as_array()).flatten().chain(of.get("not_sub_policy"));
    is(kind, of) || within.any(|policy| may(policy, is))
}

fn can_drop(kind: &str, block: &Value) -> bool {
    kind == "drop" || kind == "parent_based" && (block["unsampled"] == "drop" || block["threshold"] == "honor")
}

fn is_stateful(kind: &str, _: &Value) -> bool {
    ["rate_limiting", "bytes_limiting", "rare", "composite"].contains(&kind)
}
