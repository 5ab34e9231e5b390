//! Spans: what they say of sampling is in their `tracestate`.

use sluicebox_guest::{Batch, Field, Threshold, Tuple, Value};

use crate::Rules;
use crate::config::Config;
use crate::sampler::{Carried, Decision, Item, Sampler};
use crate::tracestate::{Malformed, Tracestate};

/// W3C Trace Context, in the lowest bits of `flags` (opentelemetry/proto/trace/v1).
const FLAG_SAMPLED: i64 = 1;

#[derive(Debug)]
pub struct Spans {
    item: Field,
    tracestate: Field,
}

impl Spans {
    pub fn open(config: &Config) -> Result<Spans, String> {
        let mut paths = vec!["span.trace_id", "span.trace_state", r#"span.attributes["sampling.priority"]"#];
        if config.honors_sampled {
            paths.push("span.flags");
        }
        Ok(Spans { item: Field::open(&paths)?, tracestate: Field::open_to_write("span.trace_state")? })
    }

    pub fn sample(&self, batch: &Batch, sampler: &Sampler, rules: &Rules) {
        let values = batch.values(&self.item);
        let (mut drops, mut writes) = (Vec::new(), Vec::new());
        for (entry, tuple) in (0..).zip(values.tuples()).skip(1) {
            let text = tuple.get(1).as_str().unwrap_or_default();
            let tracestate = match tuple.get(1) {
                Value::Str(text) => Tracestate::parse(text),
                _ => Err(Malformed),
            };
            match (sampler.decide(&item(tuple, &tracestate)), &tracestate) {
                (Decision::Drop(reason), _) => drops.push((entry, reason)),
                (Decision::Write(threshold, randomness), Ok(tracestate)) => {
                    let written = tracestate.with(threshold, randomness);
                    if written != text {
                        writes.push((entry, written));
                    }
                }
                (Decision::Keep | Decision::Write(..), _) => {}
            }
        }
        rules.drop(batch, &self.item, &drops);
        let writes = writes.iter().map(|(entry, text)| (*entry, Value::Str(text)));
        batch.set_entries(&self.tracestate, &self.item, writes, &rules.threshold);
    }
}

fn item<'t>(tuple: Tuple<'t>, tracestate: &Result<Tracestate<'_>, Malformed>) -> Item<'t> {
    let trace_id = match tuple.get(0) {
        Value::Bytes(id) => id,
        _ => &[],
    };
    let of = |state: &Tracestate| Carried { threshold: state.threshold(), randomness: state.randomness() };
    Item {
        carried: tracestate.as_ref().map(of).map_err(|malformed| *malformed),
        trace_id,
        hashed: if trace_id.iter().all(|byte| *byte == 0) { &[] } else { trace_id },
        priority: priority(tuple.get(2)),
        is_sampled: matches!(tuple.get(3), Value::Int(flags) if flags & FLAG_SAMPLED != 0),
    }
}

/// OpenTracing's convention: 0 asks for a span to be dropped, more for it to be kept. Texts of numbers are taken for numbers.
fn priority(value: Value<'_>) -> Option<Threshold> {
    let number = match value {
        Value::Int(int) => int as f64,
        Value::Double(double) => double,
        Value::Str(text) => text.parse().ok()?,
        _ => return None,
    };
    match number {
        0.0 => Some(Threshold::NEVER),
        _ if number > 0.0 => Some(Threshold::ALWAYS),
        _ => None,
    }
}
