//! `trace_state`.

use std::collections::BTreeSet;

use sluicebox_guest::{Level, TraceSet};

use crate::call::Call;
use crate::votes::{Traits, Voter, Votes};

/// W3C Trace Context, 3.3.1.1: the members of a list.
const MEMBERS_MAX: usize = 32;
/// The same, 3.3.1.3: the bytes of a key and of a value.
const BYTES_MAX: usize = 256;

/// One of these values under a key of any span's tracestate.
#[derive(Debug)]
pub struct TraceStatePolicy {
    pub source: usize,
    pub key: String,
    pub values: BTreeSet<String>,
}

impl Voter for TraceStatePolicy {
    fn vote(&self, call: &Call<'_>, asked: &TraceSet) -> Votes {
        let source = call.source(self.source);
        let entries = source.select(call.values(self.source), |value| {
            let found = value.as_str().and_then(|tracestate| member(tracestate, &self.key));
            found.is_some_and(|value| self.values.contains(value))
        });
        let matched = call.having(source.rows(call.spans(), &entries), source.level(), Level::Span);
        let matched = &matched & asked;
        Votes::matched(call.len, matched.clone(), matched)
    }

    fn traits(&self) -> Traits {
        Traits::default()
    }
}

/// The value of a key. A tracestate that is not well-formed has none, as at the Collector.
fn member<'a>(tracestate: &'a str, key: &str) -> Option<&'a str> {
    let mut members: Vec<(&str, &str)> = Vec::new();
    for member in tracestate.split(',').map(|member| member.trim_matches([' ', '\t'])) {
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        let is_repeated = members.iter().any(|(before, _)| *before == key);
        if !is_key(key) || !is_value(value) || is_repeated || members.len() == MEMBERS_MAX {
            return None;
        }
        members.push((key, value));
    }
    members.into_iter().find(|(has, _)| *has == key).map(|(_, value)| value)
}

/// `lcalpha` or, with an `@` in it, a tenant and a system (W3C Trace Context, 3.3.1.3.1).
fn is_key(key: &str) -> bool {
    let is_part = |part: &str| {
        let mut bytes = part.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
            && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte))
    };
    let is_whole = match key.split_once('@') {
        Some((tenant, system)) => is_part(tenant) && is_part(system),
        None => is_part(key),
    };
    is_whole && key.len() <= BYTES_MAX
}

/// Printable ASCII but `,` and `=`, not ending in a space (W3C Trace Context, 3.3.1.3.2).
fn is_value(value: &str) -> bool {
    let is_allowed = |byte: u8| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=';
    !value.is_empty() && value.len() <= BYTES_MAX && !value.ends_with(' ') && value.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::member;

    #[test]
    fn members_are_found_in_well_formed_lists_only() {
        let long = format!("{}=v,a=b", "k".repeat(257));
        let many = (0..33).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
        let cases = [
            ("a=b", Some("b")),
            ("x=y , a=b c\t,, ot=th:8", Some("b c")),
            ("A=b,a=c", None),
            ("a=b,a=c", None),
            ("a=b=c", None),
            ("a", None),
            ("a=", None),
            ("", None),
            ("t@s=1,a=b", Some("b")),
            (long.as_str(), None),
            (many.as_str(), None),
        ];
        for (tracestate, value) in cases {
            assert_eq!(member(tracestate, "a"), value, "{tracestate}");
        }
    }
}
