//! Configurations of the bundled components: any text is taken or refused with a message, and what is taken judges a batch.
#![no_main]

use attributes::Attributes;
use filter::Filter;
use libfuzzer_sys::fuzz_target;
use lookup::Lookup;
use probabilistic_sampler::ProbabilisticSampler;
use rate_limiting::RateLimiting;
use redaction::Redaction;
use sluicebox_fuzz::Choices;
use sluicebox_guest::testing::{Given, PolicyTester, TestBatch, TestTable, TestTraces, Tester};
use sluicebox_guest::{NewValue, Processor};
use tail_sampling::TailSampling;

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(bytes);
    let which = choices.byte();
    let Ok(config) = std::str::from_utf8(choices.0) else { return };
    match which % 7 {
        0 => configure::<Filter>(config),
        1 => configure::<Attributes>(config),
        2 => configure::<Redaction>(config),
        3 => configure::<ProbabilisticSampler>(config),
        4 => configure::<RateLimiting>(config),
        5 => configure::<Lookup>(config),
        _ => configure_policies(config),
    }
});

fn configure<P: Processor>(config: &str) {
    // The fuzzer finds short names.
    let table = TestTable::new("t", "k", &["k", "v"]).row(["checkout", "x"]);
    match Tester::<P>::configure_with(config, &Given::new().table(table)) {
        Err(message) => assert!(!message.trim().is_empty(), "a refusal says why"),
        Ok(mut tester) => {
            // An error is a fault and legal; a panic is not.
            let _judged = tester.process(&batch());
        }
    }
}

fn configure_policies(config: &str) {
    match PolicyTester::<TailSampling>::configure(config) {
        Err(message) => assert!(!message.trim().is_empty(), "a refusal says why"),
        Ok(mut tester) => {
            let _decided = tester.decide(&TestTraces::of(&batch()));
        }
    }
}

fn batch() -> TestBatch {
    TestBatch::traces()
        .resource()
        .attribute("service.name", "checkout")
        .span("GET /cart")
        .set("trace_id", NewValue::from([7; 16]))
        .attribute("k", "ada@example.com")
        .attribute("number", 4_111_111_111_111_111_i64)
        .event("retry")
}
