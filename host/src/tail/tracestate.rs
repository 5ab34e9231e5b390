//! What a span's tracestate says of sampling, read and written.
//!
//! By W3C Trace Context level 2 ("tracestate Header Field Values", "Mutating the tracestate Field") and OpenTelemetry ("TraceState
//! Handling", "TraceState: Probability Sampling"): the member `ot` holds `th`, a rejection threshold of 56 bits as 1 to 14
//! hexadecimal digits from the highest on, and `rv`, 56 random bits as 14 digits.

use std::fmt::Write as _;

use super::verdict::THRESHOLD_END;

/// Members of a tracestate.
const MEMBERS_MAX: usize = 32;
/// Bytes of a tracestate that is written.
const BYTES_MAX: usize = 512;
/// Of what is too long, members longer than this go first.
const LONG_MEMBER_BYTES: usize = 128;
/// Bytes of a key, and of a value.
const PART_BYTES_MAX: usize = 256;
/// Digits of a threshold or of randomness.
const DIGITS: usize = 14;

/// What a tracestate says of sampling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sampling {
    /// The rejection threshold.
    pub threshold: Option<u64>,
    /// The trace's randomness.
    pub randomness: Option<u64>,
}

/// What a tracestate is to say of its threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threshold {
    /// This, which is below 2^56.
    Known(u64),
    /// Nothing: it is not known.
    Unknown,
}

/// Reads `ot` of a tracestate; nothing where it is malformed.
pub(super) fn read(text: &[u8]) -> Sampling {
    // Most tracestates that have any vendor's member have none of OpenTelemetry.
    if !text.windows(3).any(|three| three == b"ot=") {
        return Sampling::default();
    }
    let Some(members) = members(text) else { return Sampling::default() };
    let mut sampling = Sampling::default();
    for &(key, value) in members.iter().find(|member| member.key == "ot").iter().flat_map(|member| &member.pairs) {
        match key {
            "th" => sampling.threshold = threshold(value),
            "rv" => sampling.randomness = randomness(value),
            _ => {}
        }
    }
    sampling
}

/// The tracestate with another threshold; None where nothing is to be written: it has none that could be erased, or it is malformed.
///
/// Where `ot` changes it comes first; it is left out where nothing is left of it. An `ot` that would be longer than a value may be
/// loses its threshold instead. What then is too long loses other members: long ones, then the last ones.
pub(super) fn with_threshold(text: &[u8], threshold: Threshold) -> Option<String> {
    let mut members = members(text)?;
    let ot = members.iter().position(|member| member.key == "ot").map(|at| members.remove(at));
    let pairs = || ot.iter().flat_map(|ot| &ot.pairs);
    if threshold == Threshold::Unknown && !pairs().any(|(key, _)| *key == "th") {
        return None;
    }
    let others: Vec<(&str, &str)> = pairs().filter(|(key, _)| *key != "th").copied().collect();
    let mut value = list_of(threshold, &others);
    if value.len() > PART_BYTES_MAX {
        value = list_of(Threshold::Unknown, &others);
    }
    let mut kept: Vec<&str> = members.iter().map(|member| member.text).collect();
    let own = if value.is_empty() { String::new() } else { format!("ot={value}") };
    kept.truncate(MEMBERS_MAX - usize::from(!own.is_empty()));
    let bytes = |kept: &[&str]| own.len() + kept.iter().map(|text| text.len() + 1).sum::<usize>();
    while bytes(&kept) > BYTES_MAX + usize::from(own.is_empty()) {
        let long = kept.iter().rposition(|text| text.len() > LONG_MEMBER_BYTES);
        kept.remove(long.unwrap_or(kept.len().checked_sub(1)?));
    }
    let own = if own.is_empty() { None } else { Some(own.as_str()) };
    Some(own.into_iter().chain(kept).collect::<Vec<_>>().join(","))
}

/// The value of `ot`.
fn list_of(threshold: Threshold, others: &[(&str, &str)]) -> String {
    let mut value = String::new();
    if let Threshold::Known(threshold) = threshold {
        value.push_str("th:");
        value.push_str(&digits(threshold));
    }
    for (key, text) in others {
        let separator = if value.is_empty() { "" } else { ";" };
        let _ = write!(value, "{separator}{key}:{text}");
    }
    value
}

/// A threshold as it is written: without trailing zeros, but 0 itself.
fn digits(threshold: u64) -> String {
    let all = format!("{:0DIGITS$x}", threshold.min(THRESHOLD_END - 1));
    match all.trim_end_matches('0') {
        "" => "0".to_owned(),
        some => some.to_owned(),
    }
}

/// One vendor's member.
struct Member<'a> {
    key: &'a str,
    /// The whole member.
    text: &'a str,
    /// Keys and values of `ot`; empty for other vendors.
    pairs: Vec<(&'a str, &'a str)>,
}

/// The members of a tracestate, empty ones left out; None where it is malformed.
fn members(text: &[u8]) -> Option<Vec<Member<'_>>> {
    let text = str::from_utf8(text).ok()?;
    let mut members: Vec<Member<'_>> = Vec::new();
    for text in text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty()) {
        let (key, value) = text.split_once('=')?;
        let is_ot = key == "ot";
        let is_repeated = is_ot && members.iter().any(|member| member.key == "ot");
        if !is_key(key) || !is_value(value) || is_repeated || members.len() == MEMBERS_MAX {
            return None;
        }
        let pairs = if is_ot { pairs(value)? } else { Vec::new() };
        members.push(Member { key, text, pairs });
    }
    Some(members)
}

/// Keys are of lower-case letters, digits and `_-*/@`, and begin with a letter or digit.
fn is_key(key: &str) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_next = |byte: &u8| is_first(byte) || b"_-*/@".contains(byte);
    key.len() <= PART_BYTES_MAX && key.as_bytes().first().is_some_and(is_first) && key.as_bytes().iter().all(is_next)
}

/// Values are of printable ASCII but `,` and `=`. Members are trimmed, so they do not end with a space.
fn is_value(value: &str) -> bool {
    let is_char = |byte: &u8| (0x20..=0x7e).contains(byte) && !b",=".contains(byte);
    (1..=PART_BYTES_MAX).contains(&value.len()) && value.as_bytes().iter().all(is_char)
}

/// The list in the value of `ot`; None where it is malformed.
fn pairs(value: &str) -> Option<Vec<(&str, &str)>> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for pair in value.split(';') {
        let (key, value) = pair.split_once(':')?;
        let is_key = key.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let is_value = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !is_key || !is_value || pairs.iter().any(|(known, _)| *known == key) {
            return None;
        }
        pairs.push((key, value));
    }
    Some(pairs)
}

/// 1 to 14 digits, from the highest on.
fn threshold(text: &str) -> Option<u64> {
    let missing = DIGITS.checked_sub(text.len())?;
    Some(hexadecimal(text)? << (4 * missing))
}

/// Exactly 14 digits.
fn randomness(text: &str) -> Option<u64> {
    if text.len() == DIGITS { hexadecimal(text) } else { None }
}

/// Lower-case hexadecimal digits, at least one.
fn hexadecimal(text: &str) -> Option<u64> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.bytes().all(is_digit) { u64::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str, threshold: u64) -> Option<String> {
        with_threshold(text.as_bytes(), Threshold::Known(threshold))
    }

    fn erased(text: &str) -> Option<String> {
        with_threshold(text.as_bytes(), Threshold::Unknown)
    }

    #[test]
    fn thresholds_and_randomness_are_read() {
        let of = |text: &str| read(text.as_bytes());
        let sampling = |threshold, randomness| Sampling { threshold, randomness };
        assert_eq!(of("ot=th:c"), sampling(Some(0xc << 52), None));
        assert_eq!(of("ot=th:0"), sampling(Some(0), None));
        assert_eq!(
            of("a=b, ot=rv:0123456789abcd;th:fd70a4,c=d"),
            sampling(Some(0xfd70a4 << 32), Some(0x0123456789abcd))
        );
        // Too long, upper case, of too few digits, none at all.
        assert_eq!(of("ot=th:123456789abcdef;rv:0123456789ABCD"), sampling(None, None));
        assert_eq!(of("ot=rv:123;th:"), sampling(None, None));
        // Malformed ones: repeated keys, repeated members, no value, characters that are not allowed.
        for text in
            ["ot=th:c;th:d", "ot=th:c,ot=th:d", "ot=", "ot=th", "ot=th:c;", "A=b,ot=th:c", "a=b=c,ot=th:c", "ot=th:c,x"]
        {
            assert_eq!(of(text), sampling(None, None), "{text}");
        }
        assert_eq!(read(b"ot=th:c,a=\xff"), sampling(None, None));
    }

    #[test]
    fn a_threshold_is_written_without_trailing_zeros() {
        assert_eq!(written("", 0xc << 52).as_deref(), Some("ot=th:c"));
        assert_eq!(written("", 0xfd_70a4 << 32).as_deref(), Some("ot=th:fd70a4"));
        assert_eq!(written("", 1).as_deref(), Some("ot=th:00000000000001"));
        assert_eq!(written("", 0).as_deref(), Some("ot=th:0"));
    }

    #[test]
    fn others_stay_and_what_changed_comes_first() {
        assert_eq!(
            written("a=1,ot=x:y;th:8;rv:0123456789abcd,b=2", 0xc << 52).as_deref(),
            Some("ot=th:c;x:y;rv:0123456789abcd,a=1,b=2")
        );
        assert_eq!(erased("a=1,ot=x:y;th:8,b=2").as_deref(), Some("ot=x:y,a=1,b=2"));
        assert_eq!(erased("a=1,ot=th:8,b=2").as_deref(), Some("a=1,b=2"));
        assert_eq!(erased("ot=th:8").as_deref(), Some(""));
        assert_eq!(erased("a=1,ot=x:y"), None);
        assert_eq!(written(" a=1 ,,\tb=2 3", 0xc << 52).as_deref(), Some("ot=th:c,a=1,b=2 3"));
        assert_eq!(written("a=1,ot=th", 0xc << 52), None);
    }

    #[test]
    fn what_is_written_keeps_the_limits() {
        let members = |count: usize| (0..count).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join(",");
        let full = written(&members(32), 0xc << 52).expect("is well-formed");
        assert!(full.starts_with("ot=th:c,k0=v,") && full.ends_with(",k30=v"), "{full}");
        assert_eq!(written(&members(33), 0xc << 52), None);
        // A member of 200 bytes goes first, then the last.
        let long = format!("a={},b={},c={},d={}", "x".repeat(98), "y".repeat(198), "x".repeat(118), "z".repeat(88));
        assert_eq!(written(&long, 0xc << 52).map(|text| text.len()), Some("ot=th:c".len() + 101 + 121 + 91));
        let many = (0..6).map(|i| format!("k{i}={}", "x".repeat(97))).collect::<Vec<_>>().join(",");
        assert!(
            written(&many, 0xc << 52)
                .is_some_and(|text| text.len() <= 512 && text.contains("k3=") && !text.contains("k5="))
        );
        let own = format!("ot=x:{};th:8", "y".repeat(249));
        assert_eq!(written(&own, 0xfd_70a4 << 32), Some(format!("ot=x:{}", "y".repeat(249))));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(threshold in 0..THRESHOLD_END, randomness in proptest::option::of(0..THRESHOLD_END)) {
            let before = randomness.map_or(String::new(), |bits| format!("v=1,ot=rv:{bits:014x}"));
            let after = written(&before, threshold).expect("is well-formed");
            prop_assert_eq!(read(after.as_bytes()), Sampling { threshold: Some(threshold), randomness });
            let erased = erased(&after).expect("is well-formed");
            prop_assert_eq!(read(erased.as_bytes()), Sampling { threshold: None, randomness });
        }

        #[test]
        fn anything_is_left_alone_or_becomes_well_formed(text in "([a-zA-Z0-9_@*/=:;, \t\u{e9}-]|ot=|th:|rv:){0,60}", threshold in 0..THRESHOLD_END) {
            let before = read(text.as_bytes());
            if let Some(after) = written(&text, threshold) {
                let of_it = read(after.as_bytes());
                prop_assert_eq!(of_it, Sampling { threshold: Some(threshold), randomness: before.randomness });
                prop_assert_eq!(written(&after, threshold), Some(after.clone()));
                prop_assert!(after.len() <= BYTES_MAX && after.split(',').count() <= MEMBERS_MAX);
            } else {
                prop_assert_eq!(before, Sampling::default());
            }
        }
    }
}
