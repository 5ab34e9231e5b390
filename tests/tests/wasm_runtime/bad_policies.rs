//! Each misdeed of a policy is a fault of the right class, says nothing of the data, and leaves host state as it was.

use std::time::Duration;

use bytes::Bytes;
use sluicebox::config::model::StageLimits;
use sluicebox::pipeline::stage::{FaultKind, PolicyVote};
use sluicebox::tail::traces::Traces;
use sluicebox::wasm::{BuildError, ConfigureError, GenerationSpec, Step};

use crate::lab::{Lab, MIB, limits};
use crate::policies::{moment, named, policy, policy_spec, shown, vote};

/// Misdeeds of guests/misbehaving-policy, what they are called, and what is said of them.
const MISDEEDS: [(&str, FaultKind, &str); 40] = [
    ("too_few_votes", FaultKind::BadOutput, "one entry for each trace"),
    ("too_many_votes", FaultKind::BadOutput, "one entry for each trace"),
    ("too_few_thresholds", FaultKind::BadOutput, "one entry for each trace"),
    ("too_many_thresholds", FaultKind::BadOutput, "one entry for each trace"),
    ("too_few_rules", FaultKind::BadOutput, "one entry for each trace"),
    ("too_many_rules", FaultKind::BadOutput, "one entry for each trace"),
    ("too_few_settled", FaultKind::BadOutput, "one entry for each trace"),
    ("too_many_settled", FaultKind::BadOutput, "one entry for each trace"),
    ("no_verdicts", FaultKind::BadOutput, "one entry for each trace"),
    ("vote_of_three", FaultKind::BadOutput, "vote"),
    ("threshold_of_57_bits", FaultKind::BadOutput, "56 bits"),
    ("threshold_next_to_unknown", FaultKind::BadOutput, "56 bits"),
    ("unknown_rule", FaultKind::BadOutput, "rule"),
    ("rule_next_to_none", FaultKind::BadOutput, "rule"),
    ("settled_twice", FaultKind::BadOutput, "settled"),
    ("many_verdicts", FaultKind::HostCallBudget, ""),
    ("trap", FaultKind::Trap, "unreachable"),
    ("panic", FaultKind::Trap, "unreachable"),
    ("spin", FaultKind::Deadline, "deadline"),
    ("allocate", FaultKind::Memory, "memory_mib"),
    ("flood", FaultKind::HostCallBudget, "too many host calls"),
    ("much_output", FaultKind::HostCallBudget, "output_mib"),
    ("error_with_names", FaultKind::ReturnedError, "bytes"),
    ("rows_above_spans", FaultKind::BadOutput, "above `span`"),
    ("counts_above_spans", FaultKind::BadOutput, "above `span`"),
    ("forged_traces", FaultKind::BadOutput, ""),
    ("forged_bucket", FaultKind::BadOutput, ""),
    ("open_late", FaultKind::ReturnedError, ""),
    ("open_tally_late", FaultKind::ReturnedError, ""),
    ("too_few_costs", FaultKind::BadOutput, "one for each key"),
    ("too_few_cells", FaultKind::BadOutput, "one for each key"),
    ("too_few_amounts", FaultKind::BadOutput, "one for each key"),
    ("cell_past_the_width", FaultKind::BadOutput, "width"),
    ("amount_below_zero", FaultKind::BadOutput, "amount"),
    ("amount_of_nan", FaultKind::BadOutput, "amount"),
    ("endless_amount", FaultKind::BadOutput, "amount"),
    ("much_taken", FaultKind::HostCallBudget, "output_mib"),
    ("much_added", FaultKind::HostCallBudget, "output_mib"),
    ("much_read", FaultKind::HostCallBudget, "output_mib"),
    ("no such behaviour", FaultKind::ReturnedError, ""),
];

/// Six traces with a span each, whose names no fault may tell.
fn planted() -> (Traces, Bytes) {
    shown(6, (0..6).map(|trace| (trace, named(&format!("planted {trace}")))).collect())
}

#[test]
fn each_is_called_by_its_name_and_leaves_no_trace() {
    let lab = Lab::new();
    let (traces, bytes) = planted();
    for (behaviour, kind, said) in MISDEEDS {
        // Of its own, as spares that are still being made keep what is there.
        let stage = format!("tail_sampling/{behaviour}");
        let build = |behaviour| {
            let spec = GenerationSpec { stage: stage.clone(), ..policy_spec(behaviour) };
            lab.runtime.build_generation(spec).expect("builds")
        };
        let generation = build(behaviour);
        for _ in 0..2 {
            let mut instance = generation.policy().expect("there is one");
            // That the batch is as it was is looked at by `vote`.
            let fault = vote(&mut *instance, &traces, Some(&bytes)).expect_err(behaviour);
            assert_eq!(fault.kind, kind, "{behaviour}: {fault}");
            assert!(fault.message.contains(said), "{behaviour}: {fault}");
            assert!(!fault.message.contains("planted"), "{behaviour} leaks telemetry: {fault}");
            assert!(instance.wants_recycling(), "{behaviour}");
        }
        // Another generation of the stage finds the buckets of keys 1 and 2 full and nothing in the tally.
        let next = build("peek");
        let seen = vote(&mut *next.policy().expect("is prepared"), &moment(6, 1), None).expect("looks");
        let seen: Vec<u64> = seen.iter().map(|vote| vote.threshold).collect();
        assert_eq!(seen, [1, 1, 0, 0, 0, 0], "after {behaviour}");
    }
}

#[test]
fn row_sets_die_with_their_call() {
    let lab = Lab::new();
    let (traces, bytes) = planted();
    let mut instance = policy(&lab, "stale_rows").policy().expect("is prepared");
    vote(&mut *instance, &traces, Some(&bytes)).expect("only keeps them");
    assert_eq!(vote(&mut *instance, &traces, Some(&bytes)).expect_err("uses them").kind, FaultKind::BadOutput);
}

/// The host looks into a bucket for longer than the guest may run, in one call.
#[test]
fn host_state_is_used_on_the_guests_time() {
    let lab = Lab::new();
    let (traces, bytes) = planted();
    let take = |deadline| -> Result<Vec<PolicyVote>, FaultKind> {
        let spec = GenerationSpec { limits: StageLimits { deadline, ..limits() }, ..policy_spec("many_takes") };
        let generation = lab.runtime.build_generation(spec).expect("builds");
        let mut instance = generation.policy().expect("is prepared");
        vote(&mut *instance, &traces, Some(&bytes)).map_err(|fault| fault.kind)
    };
    assert_eq!(take(Duration::from_micros(100)), Err(FaultKind::Deadline));
    assert_eq!(take(Duration::from_secs(20)).map(|votes| votes.len()), Ok(6));
}

#[test]
fn after_a_fault_the_next_instance_votes() {
    let lab = Lab::new();
    let (traces, bytes) = planted();
    let generation = policy(&lab, "trap");
    for _ in 0..5 {
        let fault = vote(&mut *generation.policy().expect("there is one"), &traces, Some(&bytes)).expect_err("traps");
        assert_eq!(fault.kind, FaultKind::Trap);
    }
}

#[test]
fn states_that_cannot_be_are_told_while_configuring() {
    let told = |behaviour| match Lab::new().runtime.build_generation(policy_spec(behaviour)) {
        Err(BuildError::Configure(ConfigureError::Rejected(text))) => text,
        other => panic!("{other:?}"),
    };
    assert!(told("configure_rate_of_nan").contains("`per-second`"));
    assert!(told("configure_rate_below_zero").contains("`per-second`"));
    assert!(told("configure_half_life_below_zero").contains("half-life"));
    assert!(told("configure_no_cells").contains("1048576 cells"));
    assert!(told("configure_too_many_cells").contains("1048576 cells"));
    assert!(told("configure_name_twice").contains("`bucket` is opened twice"));
    assert!(told("configure_long_name").contains("64 bytes"));
    assert!(told("configure_no_name").contains("64 bytes"));
    assert!(told("configure_many_states").contains("more than 64"));
}

#[test]
fn states_are_used_in_calls_only() {
    for behaviour in ["configure_take", "configure_add", "configure_read"] {
        match Lab::new().runtime.build_generation(policy_spec(behaviour)) {
            Err(BuildError::Configure(ConfigureError::Faulted(fault))) => {
                assert_eq!(fault.kind, FaultKind::BadOutput, "{behaviour}: {fault}");
                assert!(fault.message.contains("outside of a call"), "{behaviour}: {fault}");
            }
            other => panic!("{behaviour}: {other:?}"),
        }
    }
}

#[test]
fn instances_that_open_other_states_than_the_first_are_refused() {
    // The first instance gets 32 MiB more; the second does not.
    let lab = Lab::with_budget(45 * MIB);
    let error = lab.runtime.build_generation(policy_spec("configure_differs")).expect_err("is refused");
    assert!(matches!(error, BuildError::Configure(ConfigureError::Differs)), "{error}");
    assert_eq!(lab.budget.bytes_used(), 0);
}

#[test]
fn a_state_that_the_process_has_no_memory_for_is_an_error_that_says_so() {
    // Two instances, a bucket and a small tally fit; a tally of 8 MiB does not.
    let lab = Lab::with_budget(10 * MIB);
    let error = lab.runtime.build_generation(policy_spec("configure_large_state")).expect_err("does not fit");
    assert_eq!(error.step(), Step::Configure);
    assert!(error.to_string().contains("`large`") && error.to_string().contains("memory budget"), "{error}");
    assert_eq!(lab.budget.bytes_used(), 0);
    lab.runtime.build_generation(policy_spec("keep")).expect("fits");
}

#[test]
fn the_first_call_is_checked_too() {
    let told = |behaviour| {
        let error = Lab::new().runtime.build_generation(policy_spec(behaviour)).expect_err("is refused");
        assert_eq!(error.step(), Step::Probe);
        error.to_string()
    };
    assert!(told("probe_short").contains("one entry for each trace"));
    assert!(told("probe_error").contains("displeases"));
}
