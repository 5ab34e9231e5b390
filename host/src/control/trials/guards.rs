//! Guards: whether a candidate is worse than what serves, by what both made of telemetry. Pure: tallies in, findings out.
//!
//! Where both saw the same (the last batches, a shadow), counts are compared as they are. In a canary each sees its own batches, so a rate has
//! to be worse by more than chance explains: three standard errors of the difference, of ratios over whole batches, since records of one batch
//! are alike (Cochran, "Sampling Techniques", 3rd edition, 6.4).

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// A fall of what serves edits by more than this share refuses a candidate: a rule that quietly redacts less is the worst change of all.
pub const EDITS_FALL_MAX: f64 = 0.20;
/// Edits of what serves below which nothing is said of a field or a rule.
pub const EDITS_MIN: f64 = 10.0;
/// A rise of the share of records that are dropped by more than this refuses a candidate.
pub const DROPS_RISE_MAX: f64 = 0.20;
/// So does a share that is so many times that of what serves.
pub const DROPS_TIMES_MAX: f64 = 2.0;
/// Records of each below which nothing is said of drops.
pub const DROPS_RECORDS_MIN: u64 = 100;
/// Dropped records below which a share that is several times the other says nothing.
pub const DROPS_MIN: u64 = 10;
/// Where both fault: a candidate that faults so many times as often is refused.
pub const FAULTS_TIMES_MAX: f64 = 2.0;
/// Batches of each below which apart samples say nothing of rates.
pub const BATCHES_APART_MIN: u64 = 8;
/// Standard errors that chance is granted between apart samples.
const STANDARD_ERRORS: f64 = 3.0;
/// Fields and rules that are told apart; what comes after them is counted together.
const SUBJECTS_MAX: usize = 512;

/// What one generation made of batches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    batches: u64,
    records: u64,
    records_squared: f64,
    faults: u64,
    dropped: Moments,
    edits: BTreeMap<Subject, Moments>,
}

/// What edits are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Records in which this field changed.
    Field(String),
    /// Places that this rule edited.
    Rule(String),
    /// Beyond those that are told apart.
    Others,
}

/// How two generations compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Samples {
    /// Both saw the same.
    Same,
    /// Each saw its own part.
    Apart,
}

/// One way in which a candidate is worse.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What: `faults`, `drops`, `edits of field ...`, `edits of rule ...`.
    pub what: String,
    /// Of what serves: per batch (faults) or per record.
    pub serving: f64,
    /// Of the candidate, the same.
    pub candidate: f64,
    /// Counts that these are made of: events and batches or records of what serves, then of the candidate.
    pub counts: [u64; 4],
}

/// Sums over batches, of counts that belong to a batch's records.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Moments {
    sum: u64,
    squared: f64,
    by_records: f64,
}

impl Tally {
    /// A batch that was judged: its records, those dropped, and what was edited.
    pub fn judged(&mut self, records: u64, dropped: u64, edits: impl IntoIterator<Item = (Subject, u64)>) {
        self.batches += 1;
        self.records = self.records.saturating_add(records);
        self.records_squared += (records as f64).powi(2);
        self.dropped.add(dropped, records);
        // A subject that comes twice in a batch is one count of it.
        let mut of_batch = BTreeMap::<Subject, u64>::new();
        for (subject, count) in edits {
            let is_told = self.edits.contains_key(&subject) || self.edits.len() + of_batch.len() < SUBJECTS_MAX;
            let counted = of_batch.entry(if is_told { subject } else { Subject::Others }).or_default();
            *counted = counted.saturating_add(count);
        }
        for (subject, count) in of_batch {
            self.edits.entry(subject).or_default().add(count, records);
        }
    }

    /// A batch that it could not judge.
    pub fn faulted(&mut self) {
        self.batches += 1;
        self.faults += 1;
    }

    /// What another one has counted, too.
    pub fn merge(&mut self, other: &Tally) {
        self.batches = self.batches.saturating_add(other.batches);
        self.records = self.records.saturating_add(other.records);
        self.records_squared += other.records_squared;
        self.faults = self.faults.saturating_add(other.faults);
        self.dropped.merge(&other.dropped);
        for (subject, moments) in &other.edits {
            let is_told = self.edits.contains_key(subject) || self.edits.len() < SUBJECTS_MAX;
            self.edits.entry(if is_told { subject.clone() } else { Subject::Others }).or_default().merge(moments);
        }
    }

    /// Batches, those included that it could not judge.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Records that it judged.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Batches that it could not judge.
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// Records that it dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.sum
    }

    /// What it edited.
    pub fn edits(&self) -> impl Iterator<Item = (&Subject, u64)> {
        self.edits.iter().map(|(subject, moments)| (subject, moments.sum))
    }

    fn edits_of(&self, subject: &Subject) -> Moments {
        self.edits.get(subject).copied().unwrap_or_default()
    }

    fn rate(&self, moments: &Moments) -> f64 {
        if self.records == 0 { 0.0 } else { moments.sum as f64 / self.records as f64 }
    }

    /// The variance of a rate: how much it would differ from one choice of batches to another.
    fn variance(&self, moments: &Moments) -> f64 {
        let judged = self.batches.saturating_sub(self.faults);
        if judged < 2 || self.records == 0 {
            return 0.0;
        }
        let rate = self.rate(moments);
        let residuals = moments.squared - 2.0 * rate * moments.by_records + rate * rate * self.records_squared;
        let judged = judged as f64;
        residuals.max(0.0) / (self.records as f64).powi(2) * judged / (judged - 1.0)
    }
}

impl Moments {
    fn add(&mut self, count: u64, records: u64) {
        self.sum = self.sum.saturating_add(count);
        self.squared += (count as f64).powi(2);
        self.by_records += count as f64 * records as f64;
    }

    fn merge(&mut self, other: &Moments) {
        self.sum = self.sum.saturating_add(other.sum);
        self.squared += other.squared;
        self.by_records += other.by_records;
    }
}

/// In what a candidate is worse than what serves; nothing if it may serve.
pub fn findings(serving: &Tally, candidate: &Tally, samples: Samples) -> Vec<Finding> {
    let mut findings: Vec<_> = faults(serving, candidate).into_iter().collect();
    if samples == Samples::Apart && serving.batches.min(candidate.batches) < BATCHES_APART_MIN {
        return findings;
    }
    findings.extend(drops(serving, candidate, samples));
    findings.extend(serving.edits.keys().filter_map(|subject| edits(serving, candidate, subject, samples)));
    findings
}

fn faults(serving: &Tally, candidate: &Tally) -> Option<Finding> {
    let rate = |tally: &Tally| if tally.batches == 0 { 0.0 } else { tally.faults as f64 / tally.batches as f64 };
    let (before, now) = (rate(serving), rate(candidate));
    let is_worse = candidate.faults > 0 && (serving.faults == 0 || now > FAULTS_TIMES_MAX * before);
    let counts = [serving.faults, serving.batches, candidate.faults, candidate.batches];
    is_worse.then(|| Finding { what: "faults".to_owned(), serving: before, candidate: now, counts })
}

fn drops(serving: &Tally, candidate: &Tally, samples: Samples) -> Option<Finding> {
    if serving.records.min(candidate.records) < DROPS_RECORDS_MIN {
        return None;
    }
    let (before, now) = (serving.rate(&serving.dropped), candidate.rate(&candidate.dropped));
    let chance = |times: f64| chance(samples, serving, &serving.dropped, times, candidate, &candidate.dropped);
    let rises = now - before > DROPS_RISE_MAX + chance(1.0);
    let multiplies = candidate.dropped.sum >= DROPS_MIN && now - DROPS_TIMES_MAX * before > chance(DROPS_TIMES_MAX);
    let counts = [serving.dropped.sum, serving.records, candidate.dropped.sum, candidate.records];
    (rises || multiplies).then(|| Finding { what: "drops".to_owned(), serving: before, candidate: now, counts })
}

fn edits(serving: &Tally, candidate: &Tally, subject: &Subject, samples: Samples) -> Option<Finding> {
    let (of_serving, of_candidate) = (serving.edits_of(subject), candidate.edits_of(subject));
    let (before, now) = (serving.rate(&of_serving), candidate.rate(&of_candidate));
    // What it would have had to edit of its own part.
    let expected = before * candidate.records as f64;
    let kept = 1.0 - EDITS_FALL_MAX;
    let is_known = (of_serving.sum as f64).min(expected) >= EDITS_MIN - 1e-9;
    let falls = kept * before - now > chance(samples, serving, &of_serving, kept, candidate, &of_candidate) + 1e-12;
    let counts = [of_serving.sum, serving.records, of_candidate.sum, candidate.records];
    (is_known && falls).then(|| Finding {
        what: format!("edits of {subject}"),
        serving: before,
        candidate: now,
        counts,
    })
}

/// By how much a rate of the candidate and so many times that of what serves may differ by chance.
fn chance(
    samples: Samples,
    serving: &Tally,
    of_serving: &Moments,
    times: f64,
    candidate: &Tally,
    of_candidate: &Moments,
) -> f64 {
    match samples {
        Samples::Same => 0.0,
        Samples::Apart => {
            let variance = times * times * serving.variance(of_serving) + candidate.variance(of_candidate);
            STANDARD_ERRORS * variance.sqrt()
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Field(field) => write!(f, "field {field}"),
            Subject::Rule(rule) => write!(f, "rule {rule}"),
            Subject::Others => f.write_str("other fields and rules"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, of_before, now, of_now] = self.counts;
        let of = if self.what == "faults" { "batches" } else { "records" };
        write!(f, "{}: {now} in {of_now} {of}, where what serves has {before} in {of_before}", self.what)
    }
}

#[cfg(test)]
mod tests;
