//! Each misdeed is contained, called by the right name, and costs nobody else anything.

use sluicebox::config::model::OnFault;
use sluicebox::pipeline::stage::FaultKind;
use sluicebox::wasm::{BuildError, ConfigureError, Step};

use crate::lab::{Lab, MIB, batch, call, spec, traces, traces_of, traces_with_events, wait_for};

/// The first call faults with this kind; the batch is whole, the next instance works, all memory comes back.
fn faults(behaviour: &str, kind: FaultKind) -> String {
    let lab = Lab::new();
    let generation = lab.build(behaviour).expect("builds");
    let held = lab.budget.bytes_used();
    let bytes = traces(100);
    let mut messages = Vec::new();
    for _ in 0..2 {
        let mut instance = generation.instance().expect("there is one");
        let fault = call(&mut *instance, &bytes).expect_err("faults");
        assert_eq!(fault.kind, kind, "{behaviour}: {fault}");
        assert!(!fault.message.contains("name "), "{behaviour} leaks telemetry: {fault}");
        messages.push(fault.message);
    }
    assert!(held > 0);
    wait_for(|| generation.instance().is_ok());
    drop(generation);
    wait_for(|| lab.budget.bytes_used() == 0);
    messages.swap_remove(0)
}

#[test]
fn traps() {
    assert!(faults("trap", FaultKind::Trap).contains("unreachable"));
    faults("panic", FaultKind::Trap);
}

#[test]
fn endless_loops_meet_their_deadline() {
    faults("spin", FaultKind::Deadline);
}

#[test]
fn endless_loops_meet_their_deadline_after_a_rest_too() {
    let lab = Lab::new();
    let mut instance = lab.instance("spin");
    // The clock rests after a second without calls.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(call(&mut *instance, &traces(1)).expect_err("is stopped").kind, FaultKind::Deadline);
}

#[test]
fn endless_recursion_meets_the_end_of_its_stack() {
    assert!(faults("recurse", FaultKind::Trap).contains("stack"));
}

#[test]
fn memory_has_a_bound() {
    assert!(faults("allocate", FaultKind::Memory).contains("memory_mib"));
}

#[test]
fn host_calls_have_a_budget() {
    faults("flood", FaultKind::HostCallBudget);
    faults("much_output", FaultKind::HostCallBudget);
    faults("large_output", FaultKind::HostCallBudget);
    faults("many_row_sets", FaultKind::HostCallBudget);
}

#[test]
fn what_the_host_takes_for_a_call_is_bounded() {
    let lab = Lab::new();
    let generation = lab.build("repeated_values").expect("builds");
    // Of 100 names each repeats the text: 100 MB for a request of 1 MB.
    let fault = call(&mut *generation.instance().expect("there is one"), &traces_of("x".repeat(1_000_000), 100))
        .expect_err("is too much");
    assert_eq!(fault.kind, FaultKind::HostCallBudget, "{fault}");
    assert!(fault.message.contains("output_mib") && !fault.message.contains("xxx"), "{fault}");
    let effects = call(&mut *generation.instance().expect("there is one"), &traces_of("x".repeat(1000), 100))
        .expect("is little enough");
    assert_eq!(effects.drops[0].rows.count(), 100);
    // 4,000 sets of 140,000 bits.
    let mut instance = lab.instance("repeated_rows");
    let fault = call(&mut *instance, &traces_with_events(140_000)).expect_err("is too much");
    assert_eq!(fault.kind, FaultKind::HostCallBudget, "{fault}");
}

#[test]
fn bad_output_is_called_so() {
    assert!(faults("unknown_level", FaultKind::BadOutput).contains("level"));
    assert!(faults("foreign_level", FaultKind::BadOutput).contains("traces"));
    assert!(faults("foreign_field", FaultKind::BadOutput).contains("logs"));
    faults("mixed_levels", FaultKind::BadOutput);
    faults("side_branch", FaultKind::BadOutput);
    faults("bad_utf8", FaultKind::BadOutput);
}

#[test]
fn returned_errors_are_not_quoted() {
    assert!(faults("return_error", FaultKind::ReturnedError).contains("bytes"));
    faults("open_late", FaultKind::ReturnedError);
}

#[test]
fn row_sets_die_with_their_call() {
    let lab = Lab::new();
    let mut instance = lab.instance("stale_rows");
    let bytes = traces(10);
    call(&mut *instance, &bytes).expect("only keeps them");
    assert_eq!(call(&mut *instance, &bytes).expect_err("uses them").kind, FaultKind::BadOutput);
}

#[test]
fn handles_that_are_kept_are_bounded() {
    let lab = Lab::new();
    let mut instance = lab.instance("hoard_rows");
    let bytes = traces(10);
    let mut calls = 0;
    while !instance.wants_recycling() {
        call(&mut *instance, &bytes).expect("is replaced before it faults");
        calls += 1;
    }
    assert_eq!(calls, 3, "each keeps 2,000");
    let fault = (0..10).find_map(|_| call(&mut *instance, &bytes).err()).expect("not for ever");
    assert_eq!(fault.kind, FaultKind::HostCallBudget, "{fault}");
}

#[test]
fn bits_past_the_end_mean_nothing() {
    let lab = Lab::new();
    let mut instance = lab.instance("long_bitmaps");
    let effects = call(&mut *instance, &traces(77)).expect("is allowed");
    assert_eq!(effects.drops.len(), 2);
    for drop in &effects.drops {
        assert_eq!((drop.rows.len(), drop.rows.count()), (77, 77));
    }
}

#[test]
fn slices_show_their_rows_only() {
    let lab = Lab::new();
    let mut instance = lab.instance("long_bitmaps");
    let (_, result) = instance.call(batch(&traces(100)), 20..50);
    assert_eq!(result.expect("is allowed").drops[0].rows.len(), 30);
}

#[test]
fn all_rows_can_be_dropped() {
    let lab = Lab::new();
    let generation = lab.build("drop_all").expect("builds");
    assert_eq!(generation.rules(), ["everything"]);
    assert_eq!(generation.on_fault(), OnFault::Pass);
    let effects = call(&mut *generation.instance().expect("is prepared"), &traces(5)).expect("is allowed");
    assert_eq!(effects.drops.len(), 1);
    assert_eq!((effects.drops[0].rule, effects.drops[0].rows.count()), (0, 1));
}

#[test]
fn every_other_call_traps_and_every_other_instance_works() {
    let lab = Lab::new();
    let generation = lab.build("alternate").expect("builds");
    let bytes = traces(10);
    for _ in 0..5 {
        let mut instance = generation.instance().expect("there is one");
        call(&mut *instance, &bytes).expect("works");
        assert_eq!(call(&mut *instance, &bytes).expect_err("traps").kind, FaultKind::Trap);
    }
}

#[test]
fn leaks_are_recycled_before_they_fault() {
    // Of 64 MiB three quarters, in steps of 8 MiB and of 64 KiB.
    for (behaviour, expected) in [("leak", 4..8), ("slow_leak", 500..800)] {
        let lab = Lab::new();
        let mut instance = lab.instance(behaviour);
        let bytes = traces(10);
        let mut calls = 0;
        while !instance.wants_recycling() {
            call(&mut *instance, &bytes).expect("still has memory");
            calls += 1;
        }
        assert!(expected.contains(&calls), "{behaviour}: {calls} calls");
        assert!(instance.memory_bytes() < 64 * MIB);
        drop(instance);
        wait_for(|| lab.budget.bytes_used() == 0);
    }
}

#[test]
fn the_process_budget_stops_guests_too() {
    let lab = Lab::with_budget(16 * MIB);
    let mut instance = lab.instance("allocate");
    let fault = call(&mut *instance, &traces(1)).expect_err("faults");
    assert_eq!(fault.kind, FaultKind::ProcessMemory);
    assert!(fault.message.contains("process"), "{fault}");
    drop(instance);
    wait_for(|| lab.budget.bytes_used() == 0);
}

fn configure_error(behaviour: &str) -> ConfigureError {
    let lab = Lab::new();
    let error = lab.build(behaviour).expect_err("is refused");
    assert_eq!(error.step(), Step::Configure);
    assert_eq!(lab.budget.bytes_used(), 0);
    match error {
        BuildError::Configure(error) => error,
        other => panic!("{other}"),
    }
}

fn configure_fault(behaviour: &str) -> FaultKind {
    match configure_error(behaviour) {
        ConfigureError::Faulted(fault) => fault.kind,
        other => panic!("{other}"),
    }
}

#[test]
fn configure_has_the_same_bounds() {
    assert_eq!(configure_fault("configure_trap"), FaultKind::Trap);
    assert_eq!(configure_fault("configure_spin"), FaultKind::Deadline);
    assert_eq!(configure_fault("configure_flood"), FaultKind::HostCallBudget);
}

#[test]
fn errors_of_configure_are_shown_and_cannot_write_to_the_terminal() {
    let error = configure_error("configure_error").to_string();
    assert!(error.contains("`behaviour` is wrong") && !error.contains('\u{1b}'), "{error}");
    assert!(configure_error("many_rules").to_string().contains("64"));
    assert!(configure_error("same_rule_twice").to_string().contains("twice"));
}

#[test]
fn instances_that_open_other_things_than_the_first_are_refused() {
    // The first instance gets 32 MiB more; the second does not.
    let lab = Lab::with_budget(40 * MIB);
    let error = lab.build("differs").expect_err("is refused");
    assert!(matches!(error, BuildError::Configure(ConfigureError::Differs)), "{error}");
    assert_eq!(lab.budget.bytes_used(), 0);
    Lab::new().build("differs").expect("with enough memory they are alike");
}

#[test]
fn a_failed_probe_is_told_in_the_guests_words() {
    let error = Lab::new().build("probe_error").expect_err("is refused");
    assert_eq!(error.step(), Step::Probe);
    assert!(error.to_string().contains("displeases"), "{error}");
}

#[test]
fn limits_hold_for_instantiating_too() {
    let mut spec = spec("noop");
    spec.limits.memory_bytes_max = Some(64 << 10);
    let error = Lab::new().runtime.build_generation(spec).expect_err("needs more");
    match error {
        BuildError::Configure(ConfigureError::Instantiate(fault)) => assert_eq!(fault.kind, FaultKind::Memory),
        other => panic!("{other}"),
    }
}
