//! From a configuration to policies at work: opens what they read, what they keep at the host, and their rules.

use ottl::Source;
use ottl::path::{Path, key as bracketed};
use sluicebox_guest::{Bucket, Level, Rule, Tally};

use crate::config::{self, Composite, Config, KeyOf, Kind, Limit, Matcher, Policy, Unsampled};
use crate::decide::{Policies, Ruled};
use crate::fnv::Fnv;
use crate::voters::adaptive::AdaptivePolicy;
use crate::voters::attribute::{AttributePolicy, Test};
use crate::voters::condition::{Condition, ConditionPolicy};
use crate::voters::key::KeySource;
use crate::voters::limit::{Cost, LimitPolicy};
use crate::voters::nested::{AndPolicy, CompositePolicy, DropPolicy, NotPolicy};
use crate::voters::numbers::Numbers;
use crate::voters::parent::ParentPolicy;
use crate::voters::percentile::{BUCKETS, PercentilePolicy};
use crate::voters::probability::Probability;
use crate::voters::rare::RarePolicy;
use crate::voters::tracestate::TraceStatePolicy;
use crate::votes::Voter;

/// The bytes of the name of a bucket or a tally.
const STATE_NAME_BYTES_MAX: usize = 64;

/// Opens everything. The errors are all that were found.
pub fn open(config: Config) -> Result<(Policies, Vec<Source>), Vec<String>> {
    let mut opening = Opening::default();
    let mut ruled = Vec::with_capacity(config.policies.len());
    for policy in config.policies {
        let name = policy.name.clone();
        let at = At { names: name.clone(), is_watched: can_drop(&policy.kind) };
        let rule = Rule::open(&name).map_err(|error| opening.errors.push(format!("{}: {error}", policy.place)));
        if let (Ok(rule), Some(voter)) = (rule, opening.voter(policy, &at)) {
            ruled.push(Ruled { voter, rule });
        }
    }
    match opening.errors.is_empty() {
        true => Ok((Policies::new(ruled, config.sample_on_first_match), opening.sources)),
        false => Err(opening.errors),
    }
}

#[derive(Default)]
struct Opening {
    sources: Vec<Source>,
    /// Names of buckets and tallies.
    states: Vec<String>,
    errors: Vec<String>,
}

/// Where a policy stands.
struct At {
    /// The names of the policies that it is within, and its own.
    names: String,
    /// Of [`AndPolicy`].
    is_watched: bool,
}

impl At {
    fn within(&self, policy: &Policy, is_watched: bool) -> At {
        At { names: format!("{}/{}", self.names, policy.name), is_watched: self.is_watched || is_watched }
    }

    /// The name of something that the host keeps: as it is kept over a change of the configuration by its name, this is made of the names
    /// of policies, not of their places.
    fn state(&self, what: &str) -> String {
        let name = format!("{}:{what}", self.names);
        if name.len() <= STATE_NAME_BYTES_MAX {
            return name;
        }
        let hash = format!("#{:016x}:{what}", Fnv::new().bytes(name.as_bytes()).0);
        let start = name.floor_char_boundary(STATE_NAME_BYTES_MAX - hash.len());
        format!("{}{hash}", &name[..start])
    }
}

impl Opening {
    /// None where something is wrong, which is then among the errors.
    fn voter(&mut self, policy: Policy, at: &At) -> Option<Box<dyn Voter>> {
        let Policy { place, kind, .. } = policy;
        let place = place.as_str();
        Some(match kind {
            Kind::AlwaysSample => Box::new(Numbers::Always),
            Kind::TraceFlags => Box::new(Numbers::Sampled),
            Kind::Latency { threshold_ms, upper_threshold_ms } => {
                Box::new(Numbers::Latency { lower_ms: threshold_ms, upper_ms: upper_threshold_ms })
            }
            Kind::SpanCount { min_spans, max_spans } => Box::new(Numbers::SpanCount { min: min_spans, max: max_spans }),
            Kind::StatusCode(status) => Box::new(Numbers::Status(status)),
            Kind::Probabilistic { percentage, hash_salt } => Box::new(Probability::of(percentage, hash_salt)),
            Kind::ParentBased(parent) => Box::new(ParentPolicy(parent)),
            Kind::Attribute(attribute) => Box::new(self.attribute(place, attribute)?),
            Kind::TraceState { key, values } => {
                let source = self.source(place, &[span("trace_state")])?;
                Box::new(TraceStatePolicy { source, key, values: values.into_iter().collect() })
            }
            Kind::OttlCondition(conditions) => Box::new(self.conditions(conditions)?),
            Kind::RateLimiting(limit) => Box::new(self.limit(place, at, "spans", limit, Cost::Spans)?),
            Kind::BytesLimiting(limit) => Box::new(self.limit(place, at, "bytes", limit, Cost::Bytes)?),
            Kind::And(policies) => Box::new(self.and(policies, at, false)?),
            Kind::Drop(policies) => Box::new(DropPolicy(self.and(policies, at, true)?)),
            Kind::Not(policy) => {
                let at = at.within(&policy, true);
                Box::new(NotPolicy(self.voter(*policy, &at)?))
            }
            Kind::Composite(composite) => Box::new(self.composite(place, composite, at)?),
            Kind::Adaptive(adaptive) => Box::new(self.adaptive(place, &adaptive, at)?),
            Kind::Rare(rare) => Box::new(self.rare(place, &rare, at)?),
            Kind::LatencyPercentile(percentile) => Box::new(self.percentile(place, &percentile, at)?),
        })
    }

    fn attribute(&mut self, place: &str, attribute: config::Attribute) -> Option<AttributePolicy> {
        let key = bracketed(&attribute.key);
        let path = |level: Level| Path { level, text: format!("{}.attributes{key}", level.as_str()) };
        let test = match attribute.matcher {
            Matcher::Int { min, max } => Test::Int { min, max },
            Matcher::Texts(texts) => Test::Texts(texts.into_iter().collect()),
            Matcher::Patterns(patterns) => Test::Patterns(patterns),
            Matcher::Bool(bool) => Test::Bool(bool),
        };
        let of_resource = self.source(place, &[path(Level::Resource)]);
        let of_span = self.source(place, &[path(Level::Span)]);
        let is_inverted = attribute.invert_match;
        Some(AttributePolicy { of_resource: of_resource?, of_span: of_span?, test, is_inverted })
    }

    fn conditions(&mut self, configured: config::Conditions) -> Option<ConditionPolicy> {
        let count = configured.conditions.len();
        let mut conditions = Vec::with_capacity(count);
        for config::Condition { place, text, level, mut condition } in configured.conditions {
            if condition.paths.is_empty() {
                // What reads nothing is asked about every span or event there is, so these have to be shown.
                condition.paths.push(Path { level, text: format!("{}.name", level.as_str()) });
                condition.places.push(0);
            }
            let shared = self.sources.iter().position(|source| source.is_of(&condition.paths));
            let source = match shared {
                Some(shared) => shared,
                None => match Source::open(&condition) {
                    Ok(source) => {
                        self.sources.extend(source);
                        self.sources.len() - 1
                    }
                    Err(error) => {
                        self.errors.push(format!("{place}: {}", error.render(&text)));
                        continue;
                    }
                },
            };
            conditions.push(Condition { expr: condition.expr, source, level });
        }
        (conditions.len() == count).then_some(ConditionPolicy { conditions, propagate: configured.propagate })
    }

    fn limit(&mut self, place: &str, at: &At, what: &str, limit: Limit, cost: Cost) -> Option<LimitPolicy> {
        let bucket = self.bucket(place, &at.state(what), limit.per_second, limit.burst)?;
        Some(LimitPolicy { bucket, cost })
    }

    fn and(&mut self, policies: Vec<Policy>, at: &At, is_watched: bool) -> Option<AndPolicy> {
        let count = policies.len();
        let mut voters = Vec::with_capacity(count);
        for policy in policies {
            let at = at.within(&policy, is_watched);
            voters.extend(self.voter(policy, &at));
        }
        (voters.len() == count).then_some(AndPolicy { voters, is_watched: at.is_watched || is_watched })
    }

    fn composite(&mut self, place: &str, composite: Composite, at: &At) -> Option<CompositePolicy> {
        let total = match composite.total_spans_per_second {
            Some(rate) => Some(self.bucket(place, &at.state("total"), rate, rate)?),
            None => None,
        };
        let count = composite.policies.len();
        let mut voters = Vec::with_capacity(count);
        for (policy, rate) in composite.policies {
            let at = at.within(&policy, false);
            let bucket = self.bucket(&policy.place, &at.state("share"), rate, rate);
            let voter = self.voter(policy, &at);
            voters.extend(voter.zip(bucket));
        }
        (voters.len() == count).then_some(CompositePolicy { voters, total })
    }

    fn adaptive(&mut self, place: &str, adaptive: &config::Adaptive, at: &At) -> Option<AdaptivePolicy> {
        let key = self.key(place, &adaptive.key);
        let half_life_seconds = adaptive.half_life_seconds;
        let tally = self.tally(place, &at.state("rates"), 1, half_life_seconds, adaptive.keys_max);
        Some(AdaptivePolicy { goal: adaptive.goal, key: key?, tally: tally?, half_life_seconds })
    }

    fn rare(&mut self, place: &str, rare: &config::Rare, at: &At) -> Option<RarePolicy> {
        let key = self.key(place, &rare.key);
        let of_keys = self.bucket(place, &at.state("keys"), rare.keep_per_hour / 3_600.0, rare.burst);
        // A quota below one trace a second has to be saved up for one.
        let burst = rare.traces_per_second.max(1.0);
        let of_all = self.bucket(place, &at.state("quota"), rare.traces_per_second, burst);
        Some(RarePolicy { key: key?, of_keys: of_keys?, of_all: of_all? })
    }

    fn percentile(&mut self, place: &str, of: &config::LatencyPercentile, at: &At) -> Option<PercentilePolicy> {
        let key = self.key(place, &of.key);
        let tally = self.tally(place, &at.state("latencies"), BUCKETS, of.half_life_seconds, of.keys_max);
        Some(PercentilePolicy { key: key?, tally: tally?, quantile: of.quantile, min_traces: of.min_traces })
    }

    fn key(&mut self, place: &str, key: &config::Key) -> Option<KeySource> {
        let mut paths = key.paths.clone();
        let arity = paths.len();
        if paths.iter().all(|path| path.level < Level::Span) {
            // Of few values, and of a level at which traces are known.
            paths.push(span("kind"));
        }
        let source = self.source(&format!("{place}.key"), &paths);
        let parents = match key.of {
            KeyOf::Root => Some(self.source(place, &[span("parent_span_id")])?),
            KeyOf::AnySpan => None,
        };
        Some(KeySource { source: source?, arity, parents })
    }

    /// What is read by several is opened once.
    fn source(&mut self, place: &str, paths: &[Path]) -> Option<usize> {
        if let Some(shared) = self.sources.iter().position(|source| source.is_of(paths)) {
            return Some(shared);
        }
        let source = self.checked(place, Source::of(paths))?;
        self.sources.push(source);
        Some(self.sources.len() - 1)
    }

    fn bucket(&mut self, place: &str, name: &str, per_second: f64, burst: f64) -> Option<Bucket> {
        self.name(place, name)?;
        self.checked(place, Bucket::open(name, per_second, burst))
    }

    fn tally(&mut self, place: &str, name: &str, width: u32, half_life: f64, keys_max: u32) -> Option<Tally> {
        self.name(place, name)?;
        self.checked(place, Tally::open(name, width, half_life, keys_max))
    }

    /// The names of what the host keeps are all different.
    fn name(&mut self, place: &str, name: &str) -> Option<()> {
        if self.states.iter().any(|has| has == name) {
            let why = "another policy with a state has the same name here; give it its own `name`";
            self.errors.push(format!("{place}: {why}"));
            return None;
        }
        self.states.push(name.to_owned());
        Some(())
    }

    fn checked<T>(&mut self, place: &str, opened: Result<T, String>) -> Option<T> {
        opened.map_err(|error| self.errors.push(format!("{place}: {error}"))).ok()
    }
}

fn span(field: &str) -> Path {
    Path { level: Level::Span, text: format!("span.{field}") }
}

/// Whether a policy may drop: then it matters why it does not.
fn can_drop(kind: &Kind) -> bool {
    match kind {
        Kind::Drop(_) => true,
        Kind::And(policies) => policies.iter().any(|policy| can_drop(&policy.kind)),
        Kind::Not(policy) => can_drop(&policy.kind),
        Kind::Composite(composite) => composite.policies.iter().any(|(policy, _)| can_drop(&policy.kind)),
        Kind::ParentBased(parent) => parent.honor_threshold || parent.unsampled == Unsampled::Drop,
        _ => false,
    }
}
