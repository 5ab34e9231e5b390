//! Components that do what no component should: what each does, where it strikes, what it is called, and what its sender is told.
//!
//! The tests of the runtime and those through the engine go through the same table.

pub mod bombs;
pub mod made;

use anyhow::Result;

use crate::command::guest;

/// Who misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guest {
    /// guests/misbehaving, which may drop.
    Filter,
    /// guests/misbehaving-redactor, which may edit.
    Redactor,
    /// guests/misbehaving-policy, which decides in a tail sampler.
    Policy,
    /// One written by hand ([`made`]).
    Made,
}

/// When it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strikes {
    /// While it is instantiated: no function of it is called but its start function.
    Instantiating,
    /// In `configure`.
    Configuring,
    /// In the first call, before it serves.
    Probed,
    /// In `process`, once it serves.
    Judging,
    /// In `decide`, once it serves.
    Deciding,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Told {
    /// It does not serve; what served before still does.
    Refused,
    /// Requests go on as they came, and are counted as not judged.
    Passed,
    /// Senders are told to come again.
    Retry,
    /// Traces are decided by the fallback.
    Fallback,
    /// Nothing: it was within its rights.
    Judged,
}

/// One way to misbehave.
#[derive(Clone, Copy, Debug)]
pub struct Misdeed {
    /// Its name: `behaviour` in the guest's configuration.
    pub behaviour: &'static str,
    /// Whose.
    pub guest: Guest,
    /// When.
    pub strikes: Strikes,
    /// The class of the fault that is counted; None = it is no fault, or an error that the guest returned while it was configured.
    pub kind: Option<&'static str>,
    /// What comes of it.
    pub told: Told,
}

impl Misdeed {
    /// The component's bytes.
    pub fn component(&self) -> Result<Vec<u8>> {
        let name = match self.guest {
            Guest::Filter => "misbehaving",
            Guest::Redactor => "misbehaving-redactor",
            Guest::Policy => "misbehaving-policy",
            Guest::Made => return made::Made::component(self.behaviour),
        };
        Ok(std::fs::read(guest(name)?)?)
    }

    /// Its configuration, as JSON.
    pub fn config(&self) -> String {
        config(self.behaviour)
    }

    /// The step of a swap at which it is refused.
    pub fn step(&self) -> Option<&'static str> {
        match (self.told, self.strikes) {
            (Told::Refused, Strikes::Instantiating | Strikes::Configuring) => Some("configure"),
            (Told::Refused, _) => Some("probe"),
            _ => None,
        }
    }
}

/// The configuration of a behaviour, as JSON.
pub fn config(behaviour: &str) -> String {
    serde_json::json!({ "behaviour": behaviour }).to_string()
}

/// Every misdeed.
pub fn misdeeds() -> impl Iterator<Item = &'static Misdeed> {
    [INSTANTIATING, CONFIGURING, PROBED, FILTERING, REDACTING, DECIDING].into_iter().flatten()
}

const fn refused(guest: Guest, strikes: Strikes, behaviour: &'static str, kind: Option<&'static str>) -> Misdeed {
    Misdeed { behaviour, guest, strikes, kind, told: Told::Refused }
}

const fn instantiating(behaviour: &'static str, kind: &'static str) -> Misdeed {
    refused(Guest::Made, Strikes::Instantiating, behaviour, Some(kind))
}

const fn configuring(guest: Guest, behaviour: &'static str, kind: Option<&'static str>) -> Misdeed {
    refused(guest, Strikes::Configuring, behaviour, kind)
}

const fn probed(guest: Guest, behaviour: &'static str, kind: &'static str) -> Misdeed {
    refused(guest, Strikes::Probed, behaviour, Some(kind))
}

const fn filtering(behaviour: &'static str, kind: &'static str) -> Misdeed {
    Misdeed { behaviour, guest: Guest::Filter, strikes: Strikes::Judging, kind: Some(kind), told: Told::Passed }
}

const fn within_rights(behaviour: &'static str) -> Misdeed {
    Misdeed { behaviour, guest: Guest::Filter, strikes: Strikes::Judging, kind: None, told: Told::Judged }
}

const fn redacting(behaviour: &'static str, kind: &'static str) -> Misdeed {
    Misdeed { behaviour, guest: Guest::Redactor, strikes: Strikes::Judging, kind: Some(kind), told: Told::Retry }
}

const fn deciding(behaviour: &'static str, kind: &'static str) -> Misdeed {
    Misdeed { behaviour, guest: Guest::Policy, strikes: Strikes::Deciding, kind: Some(kind), told: Told::Fallback }
}

const INSTANTIATING: &[Misdeed] = &[
    instantiating("start_spin", "deadline"),
    instantiating("start_trap", "trap"),
    instantiating("start_recurse", "trap"),
    instantiating("start_grow_memory", "memory"),
    instantiating("start_grow_table", "memory"),
    instantiating("large_memory", "memory"),
    instantiating("large_table", "memory"),
    instantiating("many_tables", "memory"),
    instantiating("many_memories", "memory"),
    instantiating("many_instances", "memory"),
    instantiating("data_past_the_end", "trap"),
];

const CONFIGURING: &[Misdeed] = &[
    configuring(Guest::Filter, "configure_spin", Some("deadline")),
    configuring(Guest::Filter, "configure_trap", Some("trap")),
    configuring(Guest::Filter, "configure_flood", Some("host_call_budget")),
    configuring(Guest::Filter, "configure_error", None),
    configuring(Guest::Filter, "many_rules", None),
    configuring(Guest::Filter, "same_rule_twice", None),
    configuring(Guest::Filter, "rule_in_colour", None),
    configuring(Guest::Filter, "rule_in_two_lines", None),
    configuring(Guest::Filter, "rule_backwards", None),
    configuring(Guest::Redactor, "write_an_id", None),
    configuring(Guest::Redactor, "unknown_key", None),
    configuring(Guest::Made, "configure_grow_memory", Some("memory")),
    configuring(Guest::Made, "configure_grow_table", Some("memory")),
    configuring(Guest::Made, "configure_recurse", Some("trap")),
    configuring(Guest::Made, "configure_result_past_the_end", Some("bad_output")),
    configuring(Guest::Made, "configure_result_not_aligned", Some("bad_output")),
    configuring(Guest::Made, "configure_no_such_case", Some("bad_output")),
    configuring(Guest::Made, "configure_text_past_the_end", Some("bad_output")),
    configuring(Guest::Made, "configure_text_not_utf8", Some("bad_output")),
    configuring(Guest::Made, "configure_huge_text", Some("host_call_budget")),
    configuring(Guest::Made, "realloc_spin", Some("deadline")),
    configuring(Guest::Made, "realloc_trap", Some("trap")),
    configuring(Guest::Made, "realloc_past_the_end", Some("bad_output")),
];

const PROBED: &[Misdeed] = &[
    probed(Guest::Filter, "probe_error", "returned_error"),
    probed(Guest::Filter, "probe_spin", "deadline"),
    probed(Guest::Filter, "probe_trap", "trap"),
    probed(Guest::Filter, "probe_allocate", "memory"),
    probed(Guest::Made, "process_spin", "deadline"),
    probed(Guest::Made, "process_grow_table", "memory"),
    probed(Guest::Made, "process_huge_text", "host_call_budget"),
    probed(Guest::Made, "process_result_past_the_end", "bad_output"),
    probed(Guest::Made, "process_keeps_the_batch", "bad_output"),
    probed(Guest::Made, "process_drops_the_batch_twice", "bad_output"),
    probed(Guest::Made, "process_drops_what_it_never_had", "bad_output"),
    probed(Guest::Made, "process_post_return_spin", "deadline"),
    probed(Guest::Made, "process_trap_in_escapes", "trap"),
];

const FILTERING: &[Misdeed] = &[
    filtering("trap", "trap"),
    filtering("panic", "trap"),
    filtering("recurse", "trap"),
    filtering("alternate", "trap"),
    filtering("spin", "deadline"),
    filtering("allocate", "memory"),
    filtering("flood", "host_call_budget"),
    filtering("large_output", "host_call_budget"),
    filtering("much_output", "host_call_budget"),
    filtering("many_row_sets", "host_call_budget"),
    filtering("unknown_level", "bad_output"),
    filtering("foreign_level", "bad_output"),
    filtering("foreign_field", "bad_output"),
    filtering("mixed_levels", "bad_output"),
    filtering("side_branch", "bad_output"),
    filtering("bad_utf8", "bad_output"),
    filtering("stale_rows", "bad_output"),
    filtering("return_error", "returned_error"),
    filtering("quote_the_last_batch", "returned_error"),
    filtering("open_late", "returned_error"),
    within_rights("leak"),
    within_rights("slow_leak"),
    within_rights("hoard_rows"),
    within_rights("long_bitmaps"),
    within_rights("drop_all"),
];

const REDACTING: &[Misdeed] = &[
    redacting("leaf_out_of_range", "bad_output"),
    redacting("leaf_twice", "bad_output"),
    redacting("too_few_values", "bad_output"),
    redacting("too_many_values", "bad_output"),
    redacting("descending_offsets", "bad_output"),
    redacting("offsets_past_the_end", "bad_output"),
    redacting("not_utf8", "bad_output"),
    redacting("bad_any_value", "bad_output"),
    redacting("deep_any_value", "bad_output"),
    redacting("forged_rule", "bad_output"),
    redacting("giant_output", "host_call_budget"),
    redacting("amplify", "host_call_budget"),
    redacting("many_removals", "host_call_budget"),
    redacting("flood", "host_call_budget"),
];

const DECIDING: &[Misdeed] = &[
    deciding("trap", "trap"),
    deciding("spin", "deadline"),
    deciding("allocate", "memory"),
    deciding("flood", "host_call_budget"),
    deciding("many_verdicts", "host_call_budget"),
    deciding("too_few_votes", "bad_output"),
    deciding("too_many_rules", "bad_output"),
    deciding("vote_of_three", "bad_output"),
    deciding("unknown_rule", "bad_output"),
    deciding("forged_traces", "bad_output"),
    deciding("error_with_names", "returned_error"),
];
