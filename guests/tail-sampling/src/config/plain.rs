//! The blocks of policies that judge a trace by itself, and of limits.

use go_regex::Regex;
use ottl::path::Scope;
use sluicebox_guest::Level;

use super::{Block, Kind, Reader};

/// An attribute of the resource or of any span.
#[derive(Debug)]
pub struct Attribute {
    pub key: String,
    pub matcher: Matcher,
    /// Traces are kept in which nothing matches.
    pub invert_match: bool,
}

/// Values that match.
#[derive(Debug)]
pub enum Matcher {
    /// Ints of this range, inclusive.
    Int { min: i64, max: i64 },
    /// Texts that are one of these.
    Texts(Vec<String>),
    /// Texts in which one of these is found.
    Patterns(Vec<Regex>),
    /// This boolean.
    Bool(bool),
}

/// Status codes of spans.
#[derive(Clone, Copy, Debug, Default)]
pub struct Status {
    pub ok: bool,
    pub error: bool,
    pub unset: bool,
}

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub per_second: f64,
    pub burst: f64,
}

/// Conditions, any of which keeps a trace.
#[derive(Debug)]
pub struct Conditions {
    pub conditions: Vec<Condition>,
    /// A trace is not kept in which a condition cannot be answered; otherwise that is the same as false.
    pub propagate: bool,
}

/// A condition of spans or of events.
#[derive(Debug)]
pub struct Condition {
    /// Where it stands, for messages.
    pub place: String,
    /// As written, for messages.
    pub text: String,
    pub level: Level,
    pub condition: ottl::Condition,
}

/// What comes of the decision that a trace came with.
#[derive(Clone, Copy, Debug)]
pub struct ParentBased {
    /// A trace with the sampled flag is kept.
    pub keep_sampled: bool,
    pub unsampled: Unsampled,
    /// A trace with a rejection threshold is kept where its randomness is at least that, and else dropped.
    pub honor_threshold: bool,
}

/// What comes of a trace without the sampled flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsampled {
    Ignore,
    Drop,
}

pub const LATENCY: Reader = Reader {
    keys: &["threshold_ms", "upper_threshold_ms"],
    read: |mut block, _| {
        let lower = block.int("threshold_ms", 0..=i64::MAX);
        let upper = block.int("upper_threshold_ms", 0..=i64::MAX);
        if !block.has("upper_threshold_ms") {
            block.require("threshold_ms");
        }
        if let (Some(lower), Some(upper)) = (lower, upper)
            && upper != 0
            && upper <= lower
        {
            block.fail("upper_threshold_ms", "expected more than `threshold_ms`");
        }
        let [threshold_ms, upper_threshold_ms] = [lower, upper].map(|bound| bound.unwrap_or(0).unsigned_abs());
        Some(Kind::Latency { threshold_ms, upper_threshold_ms })
    },
};

pub const NUMERIC_ATTRIBUTE: Reader = Reader {
    keys: &["key", "min_value", "max_value", "invert_match"],
    read: |mut block, _| {
        let (min, max) = (block.int("min_value", i64::MIN..=i64::MAX), block.int("max_value", i64::MIN..=i64::MAX));
        if !block.has("max_value") {
            block.require("min_value");
        }
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            block.fail("max_value", "expected at least `min_value`");
        }
        attribute(block, Matcher::Int { min: min.unwrap_or(i64::MIN), max: max.unwrap_or(i64::MAX) })
    },
};

pub const STRING_ATTRIBUTE: Reader = Reader {
    keys: &["key", "values", "enabled_regex_matching", "cache_max_size", "invert_match"],
    read: |mut block, _| {
        block.int("cache_max_size", 0..=i64::MAX);
        let is_regex = block.bool("enabled_regex_matching") == Some(true);
        let values = values(&mut block);
        let matcher = if is_regex {
            let mut patterns = Vec::with_capacity(values.len());
            for (place, value) in values {
                match go_regex::compile(&value) {
                    Ok(pattern) => patterns.push(pattern),
                    Err(message) => block.fail(&place, format!("not a regular expression: {message}")),
                }
            }
            Matcher::Patterns(patterns)
        } else {
            Matcher::Texts(values.into_iter().map(|(_, value)| value).collect())
        };
        attribute(block, matcher)
    },
};

pub const BOOLEAN_ATTRIBUTE: Reader = Reader {
    keys: &["key", "value", "invert_match"],
    read: |mut block, _| {
        // As the Collector: false where it is not said.
        let value = block.bool("value").unwrap_or(false);
        attribute(block, Matcher::Bool(value))
    },
};

pub const PROBABILISTIC: Reader = Reader {
    keys: &["sampling_percentage", "hash_salt"],
    read: |mut block, _| {
        block.require("sampling_percentage");
        let percentage = block.number("sampling_percentage", 0.0..=f64::MAX);
        let hash_salt = block.text("hash_salt").filter(|salt| !salt.is_empty()).map(str::to_owned);
        Some(Kind::Probabilistic { percentage: percentage?, hash_salt })
    },
};

pub const STATUS_CODE: Reader = Reader {
    keys: &["status_codes"],
    read: |mut block, _| {
        let mut status = Status::default();
        let codes = block.texts("status_codes");
        if codes.is_empty() && block.get("status_codes").is_none_or(|list| list.is_array()) {
            block.fail("status_codes", "expected at least one of OK, ERROR and UNSET");
        }
        for (place, code) in codes {
            match code.as_str() {
                "OK" => status.ok = true,
                "ERROR" => status.error = true,
                "UNSET" => status.unset = true,
                _ => block.fail(&place, "expected OK, ERROR or UNSET"),
            }
        }
        Some(Kind::StatusCode(status))
    },
};

pub const RATE_LIMITING: Reader = Reader {
    keys: &["spans_per_second", "burst_capacity"],
    read: |block, _| limit(block, "spans_per_second").map(Kind::RateLimiting),
};

pub const BYTES_LIMITING: Reader = Reader {
    keys: &["bytes_per_second", "burst_capacity"],
    read: |block, _| limit(block, "bytes_per_second").map(Kind::BytesLimiting),
};

pub const SPAN_COUNT: Reader = Reader {
    keys: &["min_spans", "max_spans"],
    read: |mut block, _| {
        let range = 0..=i64::from(i32::MAX);
        let (min, max) = (block.int("min_spans", range.clone()), block.int("max_spans", range));
        if !block.has("max_spans") {
            block.require("min_spans");
        }
        if let (Some(min), Some(max)) = (min, max)
            && max != 0
            && max < min
        {
            block.fail("max_spans", "expected at least `min_spans`");
        }
        let count = |bound: Option<i64>| bound.map_or(0, |bound| u32::try_from(bound).unwrap_or(u32::MAX));
        Some(Kind::SpanCount { min_spans: count(min), max_spans: count(max) })
    },
};

pub const TRACE_STATE: Reader = Reader {
    keys: &["key", "values"],
    read: |mut block, _| {
        let key = key(&mut block);
        let values = values(&mut block).into_iter().map(|(_, value)| value).collect();
        Some(Kind::TraceState { key: key?, values })
    },
};

pub const OTTL_CONDITION: Reader = Reader {
    keys: &["error_mode", "span", "spanevent"],
    read: |mut block, _| {
        let propagate = block.word("error_mode", &["ignore", "silent", "propagate"]) == Some(2);
        let mut conditions = Vec::new();
        for (key, level) in [("span", Level::Span), ("spanevent", Level::SpanEvent)] {
            for (place, text) in block.texts(key) {
                match ottl::parser::parse(&text, Scope::Relative(level)) {
                    Ok(condition) => {
                        let place = format!("{}.{place}", block.place);
                        conditions.push(Condition { place, text, level, condition });
                    }
                    Err(error) => block.fail(&place, error.render(&text)),
                }
            }
        }
        if !block.has("span") && !block.has("spanevent") {
            let place = block.place.clone();
            block.errors.add(&place, "needs conditions in `span` or `spanevent`");
        }
        Some(Kind::OttlCondition(Conditions { conditions, propagate }))
    },
};

pub const PARENT_BASED: Reader = Reader {
    keys: &["sampled", "unsampled", "threshold"],
    read: |mut block, _| {
        let keep_sampled = block.word("sampled", &["keep", "ignore"]) != Some(1);
        let drops = block.word("unsampled", &["ignore", "drop"]) == Some(1);
        let honor_threshold = block.word("threshold", &["ignore", "honor"]) == Some(1);
        let unsampled = if drops { Unsampled::Drop } else { Unsampled::Ignore };
        Some(Kind::ParentBased(ParentBased { keep_sampled, unsampled, honor_threshold }))
    },
};

fn attribute(mut block: Block<'_>, matcher: Matcher) -> Option<Kind> {
    let invert_match = block.bool("invert_match").unwrap_or(false);
    Some(Kind::Attribute(Attribute { key: key(&mut block)?, matcher, invert_match }))
}

/// The name of an attribute, or of a member of a tracestate.
fn key(block: &mut Block<'_>) -> Option<String> {
    block.require("key");
    let key = block.text("key")?;
    if key.is_empty() {
        block.fail("key", "expected a text that is not empty");
    }
    Some(key.to_owned())
}

/// Values to be matched; empty ones match nothing, as at the Collector.
fn values(block: &mut Block<'_>) -> Vec<(String, String)> {
    let mut values = block.texts("values");
    values.retain(|(_, value)| !value.is_empty());
    if values.is_empty() && block.get("values").is_none_or(|list| list.is_array()) {
        block.fail("values", "expected at least one text that is not empty");
    }
    values
}

/// A bucket that holds twice of what comes in a second, unless it is said.
fn limit(mut block: Block<'_>, key: &str) -> Option<Limit> {
    block.require(key);
    let per_second = block.int(key, 1..=i64::MAX);
    let burst = block.int("burst_capacity", 0..=i64::MAX).filter(|burst| *burst != 0);
    let per_second = per_second? as f64;
    Some(Limit { per_second, burst: burst.map_or(2.0 * per_second, |burst| burst as f64) })
}
