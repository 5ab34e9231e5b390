//! The Collector's configuration of policies, as JSON: `{"policies": [...], "sample_on_first_match": bool}`.

mod adaptive;
mod nested;
mod plain;
mod reader;

use config_reader::unknown;
use serde_json::Value;

pub use adaptive::{Adaptive, Goal, Key, KeyOf, LatencyPercentile, Rare};
pub use nested::Composite;
pub use plain::{Attribute, Condition, Conditions, Limit, Matcher, ParentBased, Status, Unsampled};

use reader::{Block, Errors};

/// At most this many rules can be opened; each policy of the list is one.
const POLICIES_MAX: usize = 64;
/// The bytes of a rule's name.
const NAME_BYTES_MAX: usize = 64;
/// How deep policies may nest, so that a configuration cannot exhaust the stack.
const DEPTH_MAX: usize = 16;

/// A configuration.
#[derive(Debug)]
pub struct Config {
    pub policies: Vec<Policy>,
    /// Stateful policies are not asked about traces that a policy before them keeps.
    pub sample_on_first_match: bool,
}

/// A policy, of the list or within another.
#[derive(Debug)]
pub struct Policy {
    /// One within another may have none: then it is its place in the list.
    pub name: String,
    /// Where its block stands, such as `policies[2].and.and_sub_policy[0].latency`.
    pub place: String,
    pub kind: Kind,
}

/// What a policy does.
#[derive(Debug)]
pub enum Kind {
    AlwaysSample,
    /// In milliseconds; the upper one is 0 where there is none.
    Latency {
        threshold_ms: u64,
        upper_threshold_ms: u64,
    },
    Attribute(Attribute),
    Probabilistic {
        percentage: f64,
        hash_salt: Option<String>,
    },
    StatusCode(Status),
    RateLimiting(Limit),
    BytesLimiting(Limit),
    /// Inclusive; the maximum is 0 where there is none.
    SpanCount {
        min_spans: u32,
        max_spans: u32,
    },
    TraceState {
        key: String,
        values: Vec<String>,
    },
    TraceFlags,
    OttlCondition(Conditions),
    And(Vec<Policy>),
    Not(Box<Policy>),
    Drop(Vec<Policy>),
    Composite(Composite),
    Adaptive(Adaptive),
    Rare(Rare),
    LatencyPercentile(LatencyPercentile),
    ParentBased(ParentBased),
}

/// Reads the configuration. The errors are all that were found.
pub fn read(text: &str) -> Result<Config, Vec<String>> {
    let config: Value = serde_json::from_str(text).map_err(|error| vec![format!("not JSON: {error}")])?;
    let Value::Object(config) = config else { return Err(vec!["the configuration is not a map".to_owned()]) };
    let mut errors = Errors::default();
    let keys = ["policies", "sample_on_first_match"];
    for key in config.keys().filter(|key| !keys.contains(&key.as_str())) {
        errors.add(key, unknown("key", key, &keys));
    }
    let sample_on_first_match = match config.get("sample_on_first_match") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(bool)) => *bool,
        Some(_) => {
            errors.add("sample_on_first_match", "expected true or false");
            false
        }
    };
    let list = match config.get("policies") {
        Some(Value::Array(list)) if !list.is_empty() => list.as_slice(),
        _ => {
            errors.add("policies", "expected a list of at least one policy");
            &[]
        }
    };
    if list.len() > POLICIES_MAX {
        let count = list.len();
        errors
            .add("policies", format!("{count} policies, at most {POLICIES_MAX} can be told apart; join some of them"));
    }
    let policies = policies("policies", list, Names::Rules, 0, &mut errors);
    if errors.0.is_empty() { Ok(Config { policies, sample_on_first_match }) } else { Err(errors.0) }
}

/// What the names of the policies of a list are for.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    /// Decisions are accounted to them.
    Rules,
    /// Other keys refer to them.
    References,
    /// Nothing.
    Optional,
}

/// The policies of a list that stands at `place`.
fn policies(place: &str, list: &[Value], names: Names, depth: usize, errors: &mut Errors) -> Vec<Policy> {
    let mut policies: Vec<Policy> = Vec::with_capacity(list.len());
    let mut seen: Vec<(&str, String)> = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let place = format!("{place}[{index}]");
        match value.get("name") {
            Some(Value::String(name)) if names == Names::Optional || is_name(name, names) => {
                if names != Names::Optional
                    && let Some((_, first)) = seen.iter().find(|(seen, _)| seen == name)
                {
                    errors.add(&format!("{place}.name"), format!("{first} has this name already"));
                }
                seen.push((name, place.clone()));
            }
            None | Some(Value::Null) if names == Names::Optional || !value.is_object() => {}
            None | Some(Value::Null) => errors.add(&place, "needs a `name`"),
            Some(_) if names == Names::Optional => errors.add(&format!("{place}.name"), "expected a text"),
            Some(_) => {
                errors.add(&format!("{place}.name"), format!("expected a text of 1 to {NAME_BYTES_MAX} bytes"));
            }
        }
        policies.extend(policy(&place, index, value, depth, errors));
    }
    policies
}

fn is_name(name: &str, names: Names) -> bool {
    !name.is_empty() && (names != Names::Rules || name.len() <= NAME_BYTES_MAX)
}

/// The policy at `place`, the `index`-th of its list.
fn policy(place: &str, index: usize, value: &Value, depth: usize, errors: &mut Errors) -> Option<Policy> {
    let Value::Object(map) = value else {
        errors.add(place, "expected a map with `name` and a block such as `latency`");
        return None;
    };
    if depth > DEPTH_MAX {
        errors.add(place, format!("more than {DEPTH_MAX} policies within one another"));
        return None;
    }
    let (kind, reader) = kind_of(place, value, errors)?;
    for key in map.keys().filter(|key| !["name", "type", kind].contains(&key.as_str())) {
        let place = format!("{place}.{key}");
        match KINDS.iter().any(|(known, ..)| known == key) {
            true => errors.add(&place, format!("does not belong to a policy of type {kind}")),
            false => errors.add(&place, unknown("key", key, &["name", "type", kind])),
        }
    }
    let name = map.get("name").and_then(Value::as_str).map_or_else(|| index.to_string(), str::to_owned);
    let place = format!("{place}.{kind}");
    let block = Block::new(place.clone(), map.get(kind), reader.keys, errors);
    let kind = (reader.read)(block, depth)?;
    Some(Policy { name, place, kind })
}

/// The type of a policy: as it says, or else as its block is called.
fn kind_of(place: &str, policy: &Value, errors: &mut Errors) -> Option<(&'static str, &'static Reader)> {
    let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
    let called = |name: &str| KINDS.iter().find(|(known, _)| *known == name).map(|(name, reader)| (*name, reader));
    match policy.get("type") {
        Some(Value::String(name)) => {
            let kind = called(name);
            if kind.is_none() {
                errors.add(&format!("{place}.type"), unknown("type", name, &names));
            }
            kind
        }
        None | Some(Value::Null) => {
            let blocks: Vec<_> = KINDS.iter().filter(|(name, _)| policy.get(name).is_some()).collect();
            match blocks[..] {
                [(name, reader)] => Some((name, reader)),
                [] => {
                    let keys: Vec<&str> =
                        policy.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
                    let mut unknowns = keys.into_iter().filter(|key| *key != "name" && *key != "type");
                    match unknowns.next_back() {
                        Some(key) => {
                            let known: Vec<&str> = ["type"].into_iter().chain(names).collect();
                            errors.add(&format!("{place}.{key}"), unknown("key", key, &known));
                        }
                        None => errors.add(place, format!("needs a `type` or a block; there are {}", names.join(", "))),
                    }
                    None
                }
                _ => {
                    let blocks: Vec<&str> = blocks.iter().map(|(name, _)| *name).collect();
                    errors.add(place, format!("needs a `type`, as it has several blocks: {}", blocks.join(", ")));
                    None
                }
            }
        }
        Some(_) => {
            errors.add(&format!("{place}.type"), "expected a text");
            None
        }
    }
}

/// Reads the block of a type.
struct Reader {
    /// The keys that the block may have.
    keys: &'static [&'static str],
    /// None where something is wrong, which is then among the errors. The number is how deep the policy lies.
    read: fn(Block<'_>, usize) -> Option<Kind>,
}

/// Every type.
const KINDS: &[(&str, Reader)] = &[
    ("always_sample", Reader { keys: &[], read: |_, _| Some(Kind::AlwaysSample) }),
    ("latency", plain::LATENCY),
    ("numeric_attribute", plain::NUMERIC_ATTRIBUTE),
    ("probabilistic", plain::PROBABILISTIC),
    ("status_code", plain::STATUS_CODE),
    ("string_attribute", plain::STRING_ATTRIBUTE),
    ("boolean_attribute", plain::BOOLEAN_ATTRIBUTE),
    ("rate_limiting", plain::RATE_LIMITING),
    ("bytes_limiting", plain::BYTES_LIMITING),
    ("span_count", plain::SPAN_COUNT),
    ("trace_state", plain::TRACE_STATE),
    ("trace_flags", Reader { keys: &[], read: |_, _| Some(Kind::TraceFlags) }),
    ("ottl_condition", plain::OTTL_CONDITION),
    ("and", nested::AND),
    ("not", nested::NOT),
    ("drop", nested::DROP),
    ("composite", nested::COMPOSITE),
    ("adaptive", adaptive::ADAPTIVE),
    ("rare", adaptive::RARE),
    ("latency_percentile", adaptive::LATENCY_PERCENTILE),
    ("parent_based", plain::PARENT_BASED),
];
