//! Cases of policies.

use std::time::Duration;

use serde_json::{Value, json};
use sluicebox_guest::testing::{PolicyTester, TestTraces, Verdict, Vote};
use sluicebox_guest::{Policy, Threshold, Trigger};

/// Runs a case of a policy: what it expects, and what happens.
///
/// A case is a `config` and a call, or several in a list `calls`. A call has what [`traces`] reads, and the `verdicts` that are expected.
/// Before it `advance_seconds` pass for buckets and tallies, and a `reconfigure` is another configuration that follows the first. A
/// verdict is `"none"`, or an object: `keep` or `drop` with the name of the rule; of one to keep `threshold`, as `th` of a tracestate
/// writes it, or `"unknown"`; `settled` where it is true. A vote for nothing that is settled is `{"settled": true}`.
///
/// In the place of calls a case can have the `error` that its configuration gives, as a list of lines; in the place of verdicts a call
/// can have the `fault` that the policy returns.
pub fn decided<P: Policy>(case: &Value) -> (Value, Value) {
    if let Some(error) = case.get("error") {
        let refused = PolicyTester::<P>::configure(&case["config"].to_string()).err().unwrap_or_default();
        return (error.clone(), refused.lines().collect());
    }
    let mut tester = match PolicyTester::<P>::configure(&case["config"].to_string()) {
        Ok(tester) => tester,
        Err(error) => return (json!("a policy"), json!({ "error": error.lines().collect::<Vec<_>>() })),
    };
    let alone = [case.clone()];
    let calls = case.get("calls").map_or(&alone[..], |calls| calls.as_array().expect("a list of calls"));
    let (expected, actual) = calls.iter().map(|call| (outcome_expected(call), run(&mut tester, call))).unzip();
    (Value::Array(expected), Value::Array(actual))
}

/// The traces of a call.
///
/// `spans` is a batch, in which the trace of a span can be given by a number: `"trace": 1` stands for an id that begins with eight bytes of
/// this number and ends in zeros, which are its random bits too. `now_unix_nano`, `trigger` (`early`, `decision_wait`, `root_received`,
/// `limit`, `memory`, `shutdown`) are of the call; `traces` has an object for each trace, in the order of their first spans, with any of
/// `randomness` (14 hexadecimal digits), `arrival_unix_nano`, `byte_count` and `trigger`.
pub fn traces(call: &Value) -> TestTraces {
    let mut traces = TestTraces::of(&crate::batch(&call["spans"]));
    if let Some(now) = call["now_unix_nano"].as_u64() {
        traces = traces.now_unix_nano(now);
    }
    if let Some(name) = call["trigger"].as_str() {
        traces = traces.trigger(trigger(name));
    }
    for (trace, of_trace) in call["traces"].as_array().into_iter().flatten().enumerate() {
        for (key, value) in of_trace.as_object().expect("what is told of a trace") {
            let number = || value.as_u64().expect("a number");
            let text = || value.as_str().expect("a text");
            traces = match key.as_str() {
                "randomness" => traces.randomness(trace, u64::from_str_radix(text(), 16).unwrap()),
                "arrival_unix_nano" => traces.arrival_unix_nano(trace, number()),
                "byte_count" => traces.byte_count(trace, number()),
                "trigger" => traces.trigger_of(trace, trigger(text())),
                _ => panic!("nothing of a trace is called {key}"),
            };
        }
    }
    traces
}

pub fn trace_id(number: u64) -> [u8; 16] {
    (u128::from(number) << 64).to_be_bytes()
}

fn outcome_expected(call: &Value) -> Value {
    call.get("fault").map_or_else(|| call["verdicts"].clone(), |fault| json!({ "fault": fault }))
}

fn run<P: Policy>(tester: &mut PolicyTester<P>, call: &Value) -> Value {
    if let Some(config) = call.get("reconfigure")
        && let Err(error) = tester.reconfigure(&config.to_string())
    {
        return json!({ "error": error });
    }
    tester.advance(Duration::from_secs_f64(call["advance_seconds"].as_f64().unwrap_or_default()));
    match tester.decide(&traces(call)) {
        Ok(verdicts) => verdicts.iter().map(written).collect(),
        Err(fault) => json!({ "fault": fault }),
    }
}

fn written(verdict: &Verdict) -> Value {
    let mut object = match verdict.vote {
        Vote::None => json!({}),
        Vote::Keep(threshold) => json!({ "keep": verdict.rule, "threshold": digits(threshold) }),
        Vote::Drop => json!({ "drop": verdict.rule }),
    };
    if verdict.is_settled {
        object["settled"] = json!(true);
    }
    if object == json!({}) { json!("none") } else { object }
}

/// As `th` of a tracestate: without zeros at the end, but for one that is alone.
fn digits(threshold: Threshold) -> String {
    match threshold {
        Threshold::UNKNOWN => "unknown".to_owned(),
        Threshold::ALWAYS => "0".to_owned(),
        _ => format!("{:014x}", threshold.to_bits()).trim_end_matches('0').to_owned(),
    }
}

fn trigger(name: &str) -> Trigger {
    match name {
        "early" => Trigger::Early,
        "decision_wait" => Trigger::DecisionWait,
        "root_received" => Trigger::RootReceived,
        "limit" => Trigger::Limit,
        "memory" => Trigger::Memory,
        "shutdown" => Trigger::Shutdown,
        _ => panic!("no trigger is called {name}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluicebox_guest::{Bucket, Policy, Rule, Threshold, Traces, Trigger, Verdicts};

    use super::decided;

    /// Keeps what its bucket has tokens for, drops errors, settles what it is asked for early.
    struct Limited {
        bucket: Bucket,
        rule: Rule,
    }

    impl Policy for Limited {
        fn configure(config: &str) -> Result<Self, String> {
            let burst = config.parse().map_err(|_| "not a number\nof tokens")?;
            Ok(Limited { bucket: Bucket::open("b", 1.0, burst)?, rule: Rule::open("limited")? })
        }

        fn decide(&mut self, traces: &Traces, verdicts: &mut Verdicts) -> Result<(), String> {
            let (errors, triggers) = (traces.error_counts(), traces.triggers());
            for (trace, randomness) in traces.randomness().into_iter().enumerate() {
                if randomness == 0xff {
                    return Err("too random".to_owned());
                }
                if errors[trace] > 0 {
                    verdicts.drop(trace, &self.rule);
                } else if self.bucket.take(&[(0, 1)])[0] {
                    verdicts.keep(trace, Threshold::of(0.75), &self.rule);
                }
                if triggers[trace] == Trigger::Early {
                    verdicts.settle(trace);
                }
            }
            Ok(())
        }
    }

    #[test]
    fn calls_follow_each_other_and_verdicts_are_written_as_cases_write_them() {
        let span = |trace: u64| json!({ "level": "span", "trace": trace });
        let error = json!({ "level": "span", "trace": 2, "status.code": 2 });
        let kept = json!({ "keep": "limited", "threshold": "4" });
        let case = json!({ "config": 2, "calls": [
            { "spans": [span(1), span(1), error, span(3)], "traces": [{}, { "trigger": "early" }],
              "verdicts": [kept, { "drop": "limited", "settled": true }, kept] },
            { "spans": [span(1)], "trigger": "early", "verdicts": [{ "settled": true }] },
            { "spans": [span(1), span(2)], "advance_seconds": 1.5, "verdicts": [kept, "none"] },
            { "spans": [span(1)], "traces": [{ "randomness": "000000000000ff" }], "fault": "too random" },
            { "spans": [span(1), span(2)], "reconfigure": 9, "advance_seconds": 1.5, "verdicts": [kept, kept] },
        ]});
        let (expected, actual) = decided::<Limited>(&case);
        assert_eq!(actual, expected);
        assert_eq!(expected.as_array().map(Vec::len), Some(5));
    }

    #[test]
    fn errors_of_the_configuration_are_lines() {
        let (expected, actual) = decided::<Limited>(&json!({ "config": "x", "error": ["not a number", "of tokens"] }));
        assert_eq!(actual, expected);
        let (expected, actual) = decided::<Limited>(&json!({ "config": 1, "error": ["not a number"] }));
        assert_ne!(actual, expected);
        let (expected, actual) = decided::<Limited>(&json!({ "config": "x", "spans": [], "verdicts": [] }));
        assert_ne!(actual, expected);
    }
}
