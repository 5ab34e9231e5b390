//! Thresholds as hexadecimal digits, and of as many digits as are asked for (OpenTelemetry, "TraceState: Probability Sampling").

use sluicebox_guest::Threshold;

/// Thresholds and randomness have 56 bits.
pub const DIGITS: u32 = 14;
/// 2^-56.
pub const PROBABILITY_MIN: f64 = 1.0 / (1u64 << 56) as f64;

/// The threshold of a probability, rounded to `precision` digits. Zeros and `f`s that it begins with do not count: it is as exact where
/// almost everything is kept, or almost nothing, as in between. None of a probability that is not from 2^-56 to 1.
pub fn rounded(probability: f64, precision: u32) -> Option<Threshold> {
    if !(PROBABILITY_MIN..=1.0).contains(&probability) {
        return None;
    }
    let exact = Threshold::of(probability).to_bits();
    let leading = leading_digits(probability).max(leading_digits(1.0 - probability));
    let digits = precision.saturating_add(leading).min(DIGITS);
    let unit = 1u64 << (4 * (DIGITS - digits));
    Some(Threshold::from_bits((exact + unit / 2) / unit * unit))
}

/// How many hexadecimal digits of a fraction are zeros before the first that is not.
fn leading_digits(fraction: f64) -> u32 {
    let mut digits = 0;
    let mut next = fraction * 16.0;
    while fraction > 0.0 && next < 1.0 {
        digits += 1;
        next *= 16.0;
    }
    digits
}

/// `th`: 1 to 14 digits, zeros at the end left out.
pub fn read(digits: &str) -> Option<Threshold> {
    let bits = hex(digits)?;
    Some(Threshold::from_bits(bits << (4 * (DIGITS as usize - digits.len()))))
}

/// As it is read; of no probability, nothing.
pub fn write(threshold: Threshold) -> String {
    let digits = write_randomness(threshold.to_bits());
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() { "0".to_owned() } else { significant.to_owned() }
}

/// `rv`: 14 digits.
pub fn read_randomness(digits: &str) -> Option<u64> {
    hex(digits).filter(|_| digits.len() == DIGITS as usize)
}

/// As it is read.
pub fn write_randomness(randomness: u64) -> String {
    format!("{randomness:014x}")
}

/// Of 1 to 14 digits. The specification has small ones; others read large ones too.
fn hex(digits: &str) -> Option<u64> {
    let is_right = (1..=DIGITS as usize).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| is_right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(probability: f64, precision: u32) -> String {
        rounded(probability, precision).map(write).unwrap_or_default()
    }

    /// Thresholds that the Collector's tests expect.
    #[test]
    fn thresholds_are_rounded_as_the_collector_rounds_them() {
        assert_eq!(digits(1.0, 4), "0");
        assert_eq!(digits(0.5, 4), "8");
        assert_eq!(digits(0.01, 14), "fd70a3d70a3d71");
        assert_eq!(digits(0.01, 4), "fd70a");
        assert_eq!(digits(0.01, 3), "fd71");
        assert_eq!(digits(0.4, 3), "99a");
        assert_eq!(digits(0.4, 6), "99999a");
        assert_eq!(digits(0.2, 6), "cccccd");
        assert_eq!(digits(0.10125, 6), "e6147b");
        assert_eq!(digits(0.5f64.powi(28), 4), "fffffff");
        // As near to 100 % as 32 bits come.
        assert_eq!(digits(f64::from(99.99992_f32) / 100.0, 10), "00000cccccccd");
    }

    #[test]
    fn probabilities_that_have_no_threshold() {
        assert_eq!(rounded(PROBABILITY_MIN / 2.0, 4), None);
        assert_eq!(rounded(1.1, 4), None);
        assert_eq!(rounded(f64::NAN, 4), None);
        assert_eq!(digits(PROBABILITY_MIN, 1), "ffffffffffffff");
    }

    #[test]
    fn digits_are_read_as_they_are_written() {
        for bits in [0, 1, 0xfd_70a3_d70a_3d71, 1 << 55, (1 << 56) - 1, 0x00_0000_0100_0000] {
            let threshold = Threshold::from_bits(bits);
            assert_eq!(read(&write(threshold)), Some(threshold));
            assert_eq!(read_randomness(&write_randomness(bits)), Some(bits));
        }
        assert_eq!(read("FD7"), Some(Threshold::from_bits(0xfd7 << 44)));
        for wrong in ["", "-1", "+1", "g", "000000000000000"] {
            assert_eq!((read(wrong), read_randomness(wrong)), (None, None), "{wrong}");
        }
        assert_eq!(read_randomness("1234"), None);
    }
}
