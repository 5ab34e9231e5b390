use std::fmt;

/// Thresholds and randomness have this many bits (W3C Trace Context level 2; OpenTelemetry, "TraceState: Probability Sampling").
const BITS: u32 = 56;
const NEVER: u64 = 1 << BITS;
const UNKNOWN: u64 = u64::MAX;

/// A rejection threshold: traces are kept whose 56 random bits are at least this. It stands for the probability `1 - threshold / 2^56`.
///
/// Deciding by it is consistent: whoever compares the same trace's randomness with the same threshold decides the same, and what is kept
/// with a small probability is kept with every greater one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Threshold(u64);

impl Threshold {
    /// Of what is always kept: probability 1.
    pub const ALWAYS: Threshold = Threshold(0);
    /// Of what is never kept: probability 0. No vote to keep has it.
    pub const NEVER: Threshold = Threshold(NEVER);
    /// Of what is kept with a probability that nobody knows, such as by a limit of traces per second.
    pub const UNKNOWN: Threshold = Threshold(UNKNOWN);

    /// The threshold nearest to a probability between 0 and 1; what is not above 0, or not a number, is [`Threshold::NEVER`].
    pub fn of(probability: f64) -> Threshold {
        // Scaled first: a power of two costs no precision, `1 - probability` would.
        let kept = (probability.clamp(0.0, 1.0) * NEVER as f64).round() as u64;
        Threshold(NEVER - kept)
    }

    /// The threshold of this number, below 2^56; all ones are [`Threshold::UNKNOWN`], other numbers [`Threshold::NEVER`].
    pub const fn from_bits(bits: u64) -> Threshold {
        match bits {
            UNKNOWN => Threshold::UNKNOWN,
            NEVER.. => Threshold::NEVER,
            _ => Threshold(bits),
        }
    }

    /// The number, as in [`Threshold::from_bits`].
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The probability with which it keeps, where that is known.
    pub fn probability(self) -> Option<f64> {
        (self != Threshold::UNKNOWN).then(|| (NEVER - self.0) as f64 / NEVER as f64)
    }

    /// True if it keeps a trace of this randomness ([`Traces::randomness`](crate::Traces::randomness)); false for [`Threshold::UNKNOWN`].
    pub const fn keeps(self, randomness: u64) -> bool {
        self.0 <= randomness && self.0 < NEVER
    }

    /// The threshold of what is kept by either: of a trace that is always kept the rate is known, whoever else keeps it; else it is not if
    /// that of one of them is not; else the greater probability holds.
    pub fn either(self, other: Threshold) -> Threshold {
        match (self, other) {
            (Threshold::ALWAYS, _) | (_, Threshold::ALWAYS) => Threshold::ALWAYS,
            (Threshold::UNKNOWN, _) | (_, Threshold::UNKNOWN) => Threshold::UNKNOWN,
            (Threshold(a), Threshold(b)) => Threshold(a.min(b)),
        }
    }
}

impl fmt::Debug for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Threshold::ALWAYS => f.write_str("Threshold::ALWAYS"),
            Threshold::NEVER => f.write_str("Threshold::NEVER"),
            Threshold::UNKNOWN => f.write_str("Threshold::UNKNOWN"),
            Threshold(bits) => write!(f, "Threshold({bits:#016x})"),
        }
    }
}
