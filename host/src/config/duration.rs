//! Durations as Go writes them, which is what a Collector file holds: `300ms`, `1m30s`, `1.5h`, `0`.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationError {
    /// Empty, or a stray character.
    Shape,
    /// A number without a unit.
    NoUnit,
    /// A unit that does not exist.
    UnknownUnit,
    /// Below zero.
    Negative,
    /// More than 292 years, the largest that Go holds.
    TooLong,
}

impl DurationError {
    /// What is wrong, after "it ...".
    pub const fn what(self) -> &'static str {
        match self {
            DurationError::Shape => "is not a number followed by a unit",
            DurationError::NoUnit => "has no unit",
            DurationError::UnknownUnit => "has an unknown unit; ns, us, ms, s, m and h exist",
            DurationError::Negative => "is below zero",
            DurationError::TooLong => "is longer than 292 years",
        }
    }
}

/// Parses as Go's `time.ParseDuration`, less negative ones.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(DurationError::Shape);
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(DurationError::Shape);
        }
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let unit = unit_nanos(&after[..end])?;
        nanos = nanos.checked_add(scaled(whole, fraction, unit)?).ok_or(DurationError::TooLong)?;
        rest = &after[end..];
    }
    if negative && nanos > 0 {
        return Err(DurationError::Negative);
    }
    match i64::try_from(nanos) {
        Ok(nanos) => Ok(Duration::from_nanos(nanos.unsigned_abs())),
        Err(_) => Err(DurationError::TooLong),
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn unit_nanos(unit: &str) -> Result<u128, DurationError> {
    match unit {
        "ns" => Ok(1),
        "us" | "µs" | "μs" => Ok(1_000),
        "ms" => Ok(1_000_000),
        "s" => Ok(1_000_000_000),
        "m" => Ok(60_000_000_000),
        "h" => Ok(3_600_000_000_000),
        "" => Err(DurationError::NoUnit),
        _ => Err(DurationError::UnknownUnit),
    }
}

fn scaled(whole: &str, fraction: &str, unit: u128) -> Result<u128, DurationError> {
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| DurationError::TooLong)? };
    let mut nanos = whole.checked_mul(unit).ok_or(DurationError::TooLong)?;
    // 14 digits already go below a nanosecond of the largest unit; what follows is cut, as Go does.
    let mut place = unit;
    for digit in fraction.bytes().take(14) {
        place /= 10;
        nanos = nanos.checked_add(u128::from(digit - b'0') * place).ok_or(DurationError::TooLong)?;
    }
    Ok(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("0", 0),
            ("+0", 0),
            ("-0", 0),
            ("300ms", 300_000_000),
            ("1m30s", 90_000_000_000),
            ("1h", 3_600_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("2.s", 2_000_000_000),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("0.100000000000000000000h", 360_000_000_000),
            ("9223372036854775807ns", i64::MAX.unsigned_abs()),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for (text, error) in [
            ("", DurationError::Shape),
            ("s", DurationError::Shape),
            (".s", DurationError::Shape),
            ("-", DurationError::Shape),
            ("5 s", DurationError::UnknownUnit),
            ("5", DurationError::NoUnit),
            ("5m3", DurationError::NoUnit),
            ("3d", DurationError::UnknownUnit),
            ("1S", DurationError::UnknownUnit),
            ("-5s", DurationError::Negative),
            ("9223372036854775808ns", DurationError::TooLong),
            ("99999999999999999999999999999999999999999h", DurationError::TooLong),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
