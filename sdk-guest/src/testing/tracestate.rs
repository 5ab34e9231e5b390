/// What a `tracestate` says of sampling, under the key `ot` (OpenTelemetry, "TraceState: Probability Sampling").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// `th`, as a number of 56 bits.
    pub threshold: Option<u64>,
    /// `rv`.
    pub randomness: Option<u64>,
}

impl Sampling {
    /// What is malformed is not there.
    pub fn of(tracestate: &str) -> Sampling {
        let ot = tracestate.split(',').find_map(|member| member.trim_matches([' ', '\t']).strip_prefix("ot="));
        let of = |key: &str| {
            ot?.split(';').find_map(|field| field.strip_prefix(key)?.strip_prefix(':')).and_then(|digits| {
                let is_hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
                let is_right = (1..=14).contains(&digits.len()) && digits.bytes().all(is_hex);
                let value = u64::from_str_radix(digits, 16).ok().filter(|_| is_right)?;
                Some((value, digits.len()))
            })
        };
        Sampling {
            threshold: of("th").map(|(value, digits)| value << (4 * (14 - digits))),
            randomness: of("rv").filter(|(_, digits)| *digits == 14).map(|(value, _)| value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sampling;

    #[test]
    fn both_are_read_among_others_and_only_if_they_are_well_formed() {
        let of = |text| {
            let Sampling { threshold, randomness } = Sampling::of(text);
            (threshold, randomness)
        };
        assert_eq!(of(""), (None, None));
        assert_eq!(of("ot=th:8"), (Some(1 << 55), None));
        assert_eq!(of("a=b, ot=x:1;rv:000000000000ff;th:0,c=d"), (Some(0), Some(255)));
        assert_eq!(of("ot=th:ffffffffffffff;rv:ff"), (Some((1 << 56) - 1), None));
        assert_eq!(of("ot=th:F;rv:0000000000000g"), (None, None));
        assert_eq!(of("ot=th:;rv:"), (None, None));
        assert_eq!(of("ot=th:+f"), (None, None));
        assert_eq!(of("other=th:8"), (None, None));
    }
}
