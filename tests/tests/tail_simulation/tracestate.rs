//! What must become of a kept span's tracestate and attributes, said as plainly as possible.
//!
//! Sources: W3C Trace Context level 2, "tracestate header"; OpenTelemetry specification, "TraceState: Probability Sampling".

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use sluicebox::tail::verdict::{THRESHOLD_END, THRESHOLD_UNKNOWN};

use crate::wire::{RawField, RawSpan, fields};

/// Span.trace_state.
const TRACE_STATE: u32 = 3;
/// Span.attributes.
const ATTRIBUTES: u32 = 9;
const MEMBERS_MAX: usize = 32;
const TEXT_BYTES_MAX: usize = 512;

pub const POLICY: &str = "tailsampling.policy";
pub const GENERATION: &str = "sluicebox.sampling.generation";
pub const TRIGGER: &str = "sluicebox.sampling.trigger";
pub const PROBABILITY: &str = "sluicebox.sampling.probability";

/// A tracestate that keeps to the grammar: its members, and those of `ot`.
#[derive(Clone, Debug, Default, PartialEq)]
struct Parsed {
    others: Vec<(String, String)>,
    ot: Vec<(String, String)>,
    ot_is_first: bool,
}

/// How the spans of a trace were kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub threshold: u64,
    pub policy: String,
    pub generation: u64,
    pub trigger: &'static str,
}

/// The rejection threshold that a tracestate carries.
pub fn threshold_of(text: &str) -> Option<u64> {
    let parsed = parse(text)?;
    let digits = value_of(&parsed.ot, "th")?;
    let is_right = (1..=14).contains(&digits.len()) && is_lower_hex(digits);
    is_right.then(|| u64::from_str_radix(&format!("{digits:0<14}"), 16).expect("hex"))
}

/// The randomness that a tracestate carries.
pub fn randomness_of(text: &str) -> Option<u64> {
    let parsed = parse(text)?;
    let digits = value_of(&parsed.ot, "rv")?;
    (digits.len() == 14 && is_lower_hex(digits)).then(|| u64::from_str_radix(digits, 16).expect("hex"))
}

/// Compares a span that was released with how it came: the same but for the tracestate and the attributes that are recorded.
/// `randomness`: that of the trace; more than one where the rules leave open which it is.
pub fn check_released(
    came: &RawSpan,
    left: &RawSpan,
    kept: &Kept,
    randomness: &[u64],
    records: bool,
) -> Result<(), String> {
    let other = |span: &RawSpan| -> Vec<RawField> {
        fields(&span.bytes).into_iter().filter(|f| f.number != TRACE_STATE && f.number != ATTRIBUTES).collect()
    };
    let text_is_same = came.span.trace_state == left.span.trace_state;
    if text_is_same && !records && came.bytes != left.bytes {
        return Err("its bytes changed although nothing was to be written".to_owned());
    }
    if other(came) != other(left) {
        return Err("fields changed that nobody writes".to_owned());
    }
    let incoming = threshold_of(&came.span.trace_state);
    let mut wrong = String::new();
    let is_right = randomness.iter().any(|&r| {
        check_tracestate(&came.span.trace_state, &left.span.trace_state, kept.threshold, incoming, r)
            .map_err(|error| wrong = error)
            .is_ok()
    });
    if !is_right {
        let (before, after) = (&came.span.trace_state, &left.span.trace_state);
        return Err(format!("{before:?} became {after:?} for threshold {:x}: {wrong}", kept.threshold));
    }
    check_attributes(came, left, kept, records, incoming, randomness)
}

fn check_tracestate(
    before: &str,
    after: &str,
    threshold: u64,
    incoming: Option<u64>,
    randomness: u64,
) -> Result<(), String> {
    let same = || if before == after { Ok(()) } else { Err("it must stay as it is".to_owned()) };
    let Some(came) = parse(before) else { return same() };
    let wanted = match threshold {
        0 => return same(),
        THRESHOLD_UNKNOWN => None,
        ours => match incoming {
            Some(theirs) if randomness < theirs => None,
            Some(theirs) if theirs >= ours => return same(),
            _ => Some(ours),
        },
    };
    let had = value_of(&came.ot, "th").is_some();
    if wanted.is_none() && !had {
        return same();
    }
    let left = parse(after).ok_or("what was written cannot be read")?;
    if threshold_of(after) != wanted || value_of(&left.ot, "th").map(str::to_owned) != wanted.map(digits) {
        return Err(format!("th must be {:?}", wanted.map(digits)));
    }
    let without = |ot: &[(String, String)]| -> Vec<_> { ot.iter().filter(|(key, _)| key != "th").cloned().collect() };
    if without(&came.ot) != without(&left.ot) {
        return Err("other keys of ot must stay".to_owned());
    }
    if !left.ot.is_empty() && !left.ot_is_first {
        return Err("ot must come first once it is changed".to_owned());
    }
    check_others(&came, &left, after)
}

/// Other vendors' members stay in their order; only where there is no room may any be missing.
fn check_others(came: &Parsed, left: &Parsed, after: &str) -> Result<(), String> {
    let members = left.others.len() + usize::from(!left.ot.is_empty());
    if members > MEMBERS_MAX || after.len() > TEXT_BYTES_MAX {
        return Err(format!("{members} members, {} bytes", after.len()));
    }
    let mut rest = came.others.iter();
    if !left.others.iter().all(|member| rest.any(|other| other == member)) {
        return Err("members of others must stay as they are and in their order".to_owned());
    }
    let written = |(key, value): &(String, String)| key.len() + value.len() + 2;
    let ot_bytes = after.split(',').next().map_or(0, str::len);
    let whole = came.others.iter().map(written).sum::<usize>() + ot_bytes;
    let fits = came.others.len() < MEMBERS_MAX && whole <= TEXT_BYTES_MAX;
    if fits && came.others != left.others { Err("members are missing that would fit".to_owned()) } else { Ok(()) }
}

fn check_attributes(
    came: &RawSpan,
    left: &RawSpan,
    kept: &Kept,
    records: bool,
    incoming: Option<u64>,
    randomness: &[u64],
) -> Result<(), String> {
    let attributes = |span: &RawSpan| -> Vec<(Bytes, KeyValue)> {
        let raw = fields(&span.bytes).into_iter().filter(|field| field.number == ATTRIBUTES);
        raw.map(|field| (field.content.clone(), KeyValue::decode(field.content).expect("an attribute"))).collect()
    };
    let (mut wanted, found) = (attributes(came), attributes(left));
    if !records {
        return if wanted == found { Ok(()) } else { Err("attributes changed".to_owned()) };
    }
    let ours = [POLICY, GENERATION, TRIGGER, PROBABILITY];
    wanted.retain(|(_, attribute)| !ours.contains(&attribute.key.as_str()));
    let Some((own, new)) = found.split_at_checked(wanted.len()) else {
        return Err("attributes are missing".to_owned());
    };
    if own != wanted {
        return Err("attributes of its own changed".to_owned());
    }
    let is = |key: &str, value: &Value| new.iter().any(|(_, a)| a.key == key && value_is(a, value));
    let mut count = 3;
    let right = is(POLICY, &Value::StringValue(kept.policy.clone()))
        && is(GENERATION, &Value::IntValue(kept.generation as i64))
        && is(TRIGGER, &Value::StringValue(kept.trigger.to_owned()));
    if let Some(recorded) = new.iter().filter(|(_, a)| a.key == PROBABILITY).find_map(|(_, a)| double(a)) {
        count += 1;
        let threshold = kept.threshold.max(incoming.unwrap_or(0));
        let probability = 1.0 - threshold as f64 / THRESHOLD_END as f64;
        if kept.threshold == THRESHOLD_UNKNOWN || (recorded - probability).abs() > 1e-12 {
            return Err(format!("the recorded probability is {recorded}, not {probability}"));
        }
    } else if kept.threshold != THRESHOLD_UNKNOWN && !randomness.iter().any(|&r| incoming.is_some_and(|th| r < th)) {
        return Err("the probability is not recorded".to_owned());
    }
    if right && new.len() == count { Ok(()) } else { Err(format!("recorded {new:?}, not {kept:?}")) }
}

fn double(attribute: &KeyValue) -> Option<f64> {
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::DoubleValue(number) => Some(*number),
        _ => None,
    }
}

fn value_is(attribute: &KeyValue, value: &Value) -> bool {
    attribute.value.as_ref().and_then(|any| any.value.as_ref()) == Some(value)
}

/// None where the text breaks the grammar.
fn parse(text: &str) -> Option<Parsed> {
    let mut parsed = Parsed::default();
    let members: Vec<_> = text.split(',').map(|member| member.trim_matches([' ', '\t'])).collect();
    // Members may be empty.
    for (index, member) in members.into_iter().filter(|member| !member.is_empty()).enumerate() {
        let (key, value) = member.split_once('=')?;
        let key_is_right = key.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-*/@".contains(c));
        let value_is_right = !value.is_empty() && value.chars().all(|c| (' '..='~').contains(&c) && c != '=');
        if !key_is_right || !value_is_right {
            return None;
        }
        if key == "ot" {
            parsed.ot_is_first = index == 0;
            for pair in value.split(';') {
                let (key, value) = pair.split_once(':')?;
                parsed.ot.push((key.to_owned(), value.to_owned()));
            }
        } else {
            parsed.others.push((key.to_owned(), value.to_owned()));
        }
    }
    Some(parsed)
}

fn value_of<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

fn is_lower_hex(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

/// 14 hex digits without the zeros at their end.
fn digits(threshold: u64) -> String {
    let digits = format!("{threshold:014x}");
    let trimmed = digits.trim_end_matches('0');
    if trimmed.is_empty() { "0".to_owned() } else { trimmed.to_owned() }
}
