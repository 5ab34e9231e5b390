//! Log records: what they say of sampling is in their attributes.

use std::borrow::Cow;

use sluicebox_guest::{Batch, Field, Threshold, Tuple, Value};

use crate::Rules;
use crate::config::Config;
use crate::sampler::{Carried, Decision, Item, Sampler};
use crate::threshold::{read, read_randomness, rounded, write, write_randomness};
use crate::tracestate::Malformed;

const THRESHOLD: &str = r#"log.attributes["sampling.threshold"]"#;
const RANDOMNESS: &str = r#"log.attributes["sampling.randomness"]"#;
/// W3C Trace Context, in the lowest bits of `flags` (opentelemetry/proto/logs/v1).
const FLAG_SAMPLED: i64 = 1;

#[derive(Debug)]
pub struct Logs {
    item: Field,
    threshold: Field,
    randomness: Field,
    /// Where these are in `item`, if they are configured.
    flags: Option<usize>,
    from_attribute: Option<usize>,
    priority: Option<usize>,
    hashes_trace_id: bool,
    precision: u32,
}

impl Logs {
    pub fn open(config: &Config) -> Result<Logs, String> {
        let mut paths = vec!["log.trace_id".to_owned(), THRESHOLD.to_owned(), RANDOMNESS.to_owned()];
        let mut place = |path: Option<String>| {
            paths.push(path?);
            Some(paths.len() - 1)
        };
        let flags = place(config.honors_sampled.then(|| "log.flags".to_owned()));
        let from_attribute = place(config.from_attribute.as_deref().map(attribute));
        let priority = place(config.priority.as_deref().map(attribute));
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        Ok(Logs {
            item: Field::open(&paths)?,
            threshold: Field::open_to_write(THRESHOLD)?,
            randomness: Field::open_to_write(RANDOMNESS)?,
            flags,
            from_attribute,
            priority,
            hashes_trace_id: config.hashes_trace_id,
            precision: config.precision,
        })
    }

    pub fn sample(&self, batch: &Batch, sampler: &Sampler, rules: &Rules) {
        let values = batch.values(&self.item);
        let (mut drops, mut thresholds, mut randomness) = (Vec::new(), Vec::new(), Vec::new());
        for (entry, tuple) in (0..).zip(values.tuples()).skip(1) {
            match self.decide(tuple, sampler) {
                Decision::Keep => {}
                Decision::Drop(reason) => drops.push((entry, reason)),
                Decision::Write(threshold, new_randomness) => {
                    let written = write(threshold);
                    if tuple.get(1) != written.as_str() {
                        thresholds.push((entry, written));
                    }
                    randomness.extend(new_randomness.map(|bits| (entry, write_randomness(bits))));
                }
            }
        }
        rules.drop(batch, &self.item, &drops);
        for (field, writes) in [(&self.threshold, thresholds), (&self.randomness, randomness)] {
            let writes = writes.iter().map(|(entry, text)| (*entry, Value::Str(text)));
            batch.set_entries(field, &self.item, writes, &rules.threshold);
        }
    }

    fn decide(&self, tuple: Tuple<'_>, sampler: &Sampler) -> Decision {
        let at = |place: Option<usize>| place.map_or(Value::Absent, |place| tuple.get(place));
        let trace_id = match tuple.get(0) {
            Value::Bytes(id) => id,
            _ => &[],
        };
        let has_trace_id = trace_id.iter().any(|byte| *byte != 0);
        let hashed = match at(self.from_attribute) {
            _ if self.hashes_trace_id && has_trace_id => Cow::Borrowed(trace_id),
            Value::Bytes(bytes) => Cow::Borrowed(bytes),
            value => Cow::Owned(collector_text::of(value).into_bytes()),
        };
        sampler.decide(&Item {
            carried: carried(tuple),
            trace_id,
            hashed: &hashed,
            priority: self.priority(at(self.priority)),
            is_sampled: matches!(at(self.flags), Value::Int(flags) if flags & FLAG_SAMPLED != 0),
        })
    }

    /// A percentage: 0 asks for a record to be dropped, 100 and more for it to be kept.
    fn priority(&self, value: Value<'_>) -> Option<Threshold> {
        let percentage = match value {
            Value::Int(int) => int as f64,
            Value::Double(double) => double,
            _ => return None,
        };
        match percentage {
            0.0 => Some(Threshold::NEVER),
            100.0.. => Some(Threshold::ALWAYS),
            _ => rounded(percentage / 100.0, self.precision),
        }
    }
}

/// Attributes that are no texts, or empty ones, say nothing.
fn carried(tuple: Tuple<'_>) -> Result<Carried, Malformed> {
    let text = |position| tuple.get(position).as_str().filter(|text| !text.is_empty());
    Ok(Carried {
        threshold: text(1).map(|digits| read(digits).ok_or(Malformed)).transpose()?,
        randomness: text(2).map(|digits| read_randomness(digits).ok_or(Malformed)).transpose()?,
    })
}

fn attribute(key: &str) -> String {
    format!(r#"log.attributes["{}"]"#, key.replace('\\', r"\\").replace('"', "\\\""))
}
