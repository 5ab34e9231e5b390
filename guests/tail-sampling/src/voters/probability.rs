//! `probabilistic`.

use sluicebox_guest::{Threshold, TraceSet};

use crate::call::Call;
use crate::fnv::Fnv;
use crate::votes::{Thresholds, Traits, Voter, Votes};

/// A part of all traces.
#[derive(Debug)]
pub enum Probability {
    /// By the randomness that every sampler sees: what is kept at a small rate is kept at every greater one.
    Consistent(Threshold),
    /// By a hash of a salt and the id, as the Collector does it: kept where it is at most `bound`.
    Salted { salt: String, bound: u64 },
}

impl Probability {
    /// Of a percentage; 100 and more is everything.
    pub fn of(percentage: f64, salt: Option<String>) -> Probability {
        match salt {
            Some(salt) if percentage < 100.0 => Probability::Salted { salt, bound: bound(percentage / 100.0) },
            _ => Probability::Consistent(Threshold::of(percentage / 100.0)),
        }
    }
}

impl Voter for Probability {
    fn vote(&self, call: &Call<'_>, asked: &TraceSet) -> Votes {
        let (keep, threshold) = match self {
            Probability::Consistent(threshold) => {
                let randomness = call.randomness();
                (TraceSet::of(call.len, |trace| threshold.keeps(randomness[trace])), *threshold)
            }
            Probability::Salted { salt, bound } => {
                let ids = call.traces().ids();
                let hash = |trace: usize| Fnv::new().bytes(salt.as_bytes()).bytes(&ids[trace]).0;
                // The hash is not the randomness that a threshold is compared with, so no threshold stands for it.
                (TraceSet::of(call.len, |trace| hash(trace) <= *bound), Threshold::UNKNOWN)
            }
        };
        let keep = &keep & asked;
        Votes {
            chance: asked & &!&keep,
            thresholds: Thresholds::Same(threshold),
            // All spans of a trace carry the same randomness.
            ..Votes::matched(call.len, keep, asked.clone())
        }
    }

    fn traits(&self) -> Traits {
        Traits::default()
    }
}

/// A part of 2^64 - 1, rounded to 64 significant bits and then down, which is what the Collector's arithmetic gives.
fn bound(ratio: f64) -> u64 {
    if ratio <= 0.0 {
        return 0;
    }
    let bits = ratio.to_bits();
    let exponent = (bits >> 52) & 0x7ff;
    let fraction = bits & ((1 << 52) - 1);
    // The ratio is `mantissa * 2^scale`.
    let (mantissa, scale) =
        if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent as i32 - 1075) };
    let product = u128::from(u64::MAX) * u128::from(mantissa);
    let excess = (128 - product.leading_zeros()).saturating_sub(64);
    let (half, rest) = ((1_u128 << excess) >> 1, product & ((1 << excess) - 1));
    let even = product >> excess;
    let rounded = even + u128::from(excess > 0 && (rest > half || rest == half && even & 1 == 1));
    let shift = -(scale + excess as i32);
    u64::try_from(rounded.checked_shr(shift.unsigned_abs()).unwrap_or(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::bound;

    #[test]
    fn bounds_are_parts_of_all_hashes() {
        // Computed with fractions of whole numbers, rounded to 64 binary digits, ties to even, and then down.
        let cases = [
            (0.0, 0),
            (1e-300, 0),
            (0.1, 18_446_744_073_709_551),
            (2.0, 368_934_881_474_191_039),
            (10.0, 1_844_674_407_370_955_263),
            (33.3, 6_142_765_776_545_279_999),
            (50.0, u64::MAX / 2),
            (99.9, 18_428_297_329_635_844_095),
        ];
        for (percentage, expected) in cases {
            assert_eq!(bound(percentage / 100.0), expected, "{percentage} %");
        }
    }
}
