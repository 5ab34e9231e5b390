//! Configurations of the bundled components: any text is taken or refused with a message, and what is taken judges a batch.
#![no_main]

use attributes::Attributes;
use filter::Filter;
use libfuzzer_sys::fuzz_target;
use redaction::Redaction;
use sluicebox_fuzz::Choices;
use sluicebox_guest::Processor;
use sluicebox_guest::testing::{TestBatch, Tester};

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(bytes);
    let which = choices.byte();
    let Ok(config) = std::str::from_utf8(choices.0) else { return };
    match which % 3 {
        0 => configure::<Filter>(config),
        1 => configure::<Attributes>(config),
        _ => configure::<Redaction>(config),
    }
});

fn configure<P: Processor>(config: &str) {
    match Tester::<P>::configure(config) {
        Err(message) => assert!(!message.trim().is_empty(), "a refusal says why"),
        Ok(mut tester) => {
            let batch = TestBatch::traces()
                .resource()
                .attribute("service.name", "checkout")
                .span("GET /cart")
                .attribute("k", "ada@example.com")
                .attribute("number", 4_111_111_111_111_111_i64)
                .event("retry");
            // An error is a fault and legal; a panic is not.
            let _judged = tester.process(&batch);
        }
    }
}
