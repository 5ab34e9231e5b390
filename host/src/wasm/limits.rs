//! Bounds of one instance, and the limiter that wasmtime asks before an instance grows.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::ResourceLimiter;

use super::component::{ComponentInfo, Interface};
use crate::config::model::StageLimits;
use crate::memory::{Budget, Charge};

/// Elements of all tables of an instance. A JavaScript engine compiled to Wasm has about 30,000.
const TABLE_ELEMENTS_MAX: usize = 200_000;
/// What a table element costs the host.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();
/// Core and component instances: a component made of one module has four.
const INSTANCES_MAX: usize = 64;
const TABLES_MAX: usize = 32;
const MEMORIES_MAX: usize = 8;

/// Host calls of one guest call.
pub(super) const HOST_CALLS_MAX: u32 = 10_000;
/// Host calls of `configure`.
pub(super) const CONFIGURE_HOST_CALLS_MAX: u32 = 2_000;
/// Component-model handles of one instance that live at the same time: fields, rules and row sets, twice.
pub(super) const HANDLES_MAX: usize = 10_000;
/// An instance that keeps this many row sets' handles after a call is replaced. JavaScript gives handles back when it collects garbage,
/// which may be never; half of the handles are enough for the row sets of one call and all else.
pub(super) const KEPT_HANDLES_MAX: u32 = 5_000;
/// What the host may take for one guest call, beside `limits.output_mib`, for each byte that the guest is shown: a text can be read
/// alone and in a tuple, and ids are twice as long in hexadecimal digits. So no field's size makes a call fail; only repeating long
/// values does, as a tuple of a resource's text and a span's name repeats the text for each name.
const READ_BYTES_PER_BYTE: u64 = 4;
/// More for one that reads all contents or writes. The dearest are lists of empty values, two bytes each, if all are replaced: finding
/// one again takes 8 bytes and its edit 48, the messages around it and what is written. Lists of small different numbers, of which the
/// guest is told each, come to 20 times what was sent.
const CONTENTS_BYTES_PER_BYTE: u64 = 36;
/// Only for so many bytes: more than this in one item, which is a slice for itself, is rare and mostly long texts.
const CONTENTS_SHOWN_BYTES_MAX: u64 = 4 << 20;
/// What the host keeps for each place that an edit writes, beside what it writes there.
pub(super) const EDIT_BYTES: u64 = 64;
/// What an instance's columns may keep between calls, so that usual batches allocate nothing and unusual ones leave nothing behind.
pub(super) const KEPT_BYTES_MAX: u64 = 1 << 20;
/// The same of its contents, which of a usual slice take about as much as its bytes.
pub(super) const KEPT_CONTENTS_BYTES_MAX: u64 = 4 << 20;
/// Longest `configure`, and longest instantiation.
pub(super) const CONFIGURE_DEADLINE: Duration = Duration::from_secs(2);
/// What a call's deadline gains with each row.
pub(super) const DEADLINE_PER_ROW: Duration = Duration::from_micros(20);

/// Memory of an instance where the file says nothing.
const MEMORY_BYTES_DEFAULT: u64 = 64 << 20;
/// The same of a component that carries a language's runtime, whose heap is mostly the runtime's own.
const MEMORY_BYTES_DEFAULT_WITH_RUNTIME: u64 = 256 << 20;
/// Components above this carry a language's runtime: those in Rust or C have up to 1 MiB, JavaScript's 12, Python's 18. The size is all
/// that is known for sure without running them; how much memory they begin with says less, since snapshots of heaps are compact.
const COMPONENT_BYTES_WITH_RUNTIME: u64 = 4 << 20;

/// Bounds of one instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub(super) memory_bytes_max: u64,
    pub(super) output_bytes_max: u64,
    pub(super) deadline: Duration,
    /// Whether it may read all contents or write, which takes more of the host.
    pub(super) is_deep: bool,
}

impl Bounds {
    /// What the file says, and for the rest what suits this component.
    pub(super) fn of(limits: &StageLimits, component: &ComponentInfo) -> Self {
        let is_deep =
            |import: &Interface| matches!(import, Interface::Contents | Interface::Adding | Interface::Editing);
        let memory_bytes_default = if component.bytes > COMPONENT_BYTES_WITH_RUNTIME {
            MEMORY_BYTES_DEFAULT_WITH_RUNTIME
        } else {
            MEMORY_BYTES_DEFAULT
        };
        Self {
            memory_bytes_max: limits.memory_bytes_max.unwrap_or(memory_bytes_default),
            output_bytes_max: limits.output_bytes_max,
            deadline: limits.deadline,
            is_deep: component.imports.iter().any(is_deep),
        }
    }

    /// Bytes that the host may take for a call that shows so many.
    pub(super) fn host_bytes_max(&self, shown: u64) -> u64 {
        let deep = if self.is_deep { shown.min(CONTENTS_SHOWN_BYTES_MAX) * CONTENTS_BYTES_PER_BYTE } else { 0 };
        self.output_bytes_max.saturating_add(shown.saturating_mul(READ_BYTES_PER_BYTE)).saturating_add(deep)
    }
}

/// Grants memory and tables within an instance's bound and the process budget, which gets them back when this is dropped.
#[derive(Debug)]
pub(super) struct Limiter {
    bytes_max: u64,
    charge: Charge,
    table_elements: usize,
    denied: Option<Denied>,
}

/// Why growth was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// The instance's own bound.
    Instance,
    /// The process budget.
    Process,
    /// Tables, which no guest should grow that far.
    Tables,
}

impl Limiter {
    pub(super) fn new(bytes_max: u64, budget: &Arc<Budget>) -> Self {
        Self { bytes_max, charge: budget.charge_over(0), table_elements: 0, denied: None }
    }

    /// Bytes of memories and tables now.
    pub(super) fn bytes(&self) -> u64 {
        self.charge.bytes()
    }

    /// Why growth was denied since the last time this was asked.
    pub(super) fn take_denied(&mut self) -> Option<Denied> {
        self.denied.take()
    }

    fn grow(&mut self, more: usize) -> bool {
        let Some(bytes) = self.charge.bytes().checked_add(more as u64).filter(|&bytes| bytes <= self.bytes_max) else {
            self.denied = Some(Denied::Instance);
            return false;
        };
        let fits = self.charge.resize(bytes);
        if !fits {
            self.denied = Some(Denied::Process);
        }
        fits
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let more = desired.saturating_sub(current);
        let elements = self.table_elements.saturating_add(more);
        if elements > TABLE_ELEMENTS_MAX {
            self.denied = Some(Denied::Tables);
            return Ok(false);
        }
        let fits = self.grow(more.saturating_mul(TABLE_ELEMENT_BYTES));
        if fits {
            self.table_elements = elements;
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::component::Role;

    const PAGE: usize = 64 << 10;

    #[test]
    fn memory_is_what_the_file_says_or_suits_the_component() {
        let of = |memory_bytes_max, bytes| {
            let limits = StageLimits {
                memory_bytes_max,
                deadline: Duration::ZERO,
                output_bytes_max: 0,
                log_lines_per_second: 0,
            };
            let component =
                ComponentInfo { digest: String::new(), role: Role::Processor, imports: Vec::new(), bytes, cases: None };
            Bounds::of(&limits, &component).memory_bytes_max
        };
        assert_eq!((of(None, 1 << 20), of(None, 12 << 20)), (64 << 20, 256 << 20));
        assert_eq!((of(Some(1 << 30), 1 << 20), of(Some(32 << 20), 12 << 20)), (1 << 30, 32 << 20));
    }

    #[test]
    fn growth_is_charged_and_given_back() {
        let budget = Budget::new(10 * PAGE as u64);
        let mut limiter = Limiter::new(4 * PAGE as u64, &budget);
        assert!(limiter.memory_growing(0, 2 * PAGE, None).expect("answers"));
        assert!(limiter.table_growing(0, 100, None).expect("answers"));
        assert_eq!(budget.bytes_used(), 2 * PAGE as u64 + 800);
        assert!(!limiter.memory_growing(2 * PAGE, 4 * PAGE, None).expect("answers"), "tables count too");
        assert_eq!(limiter.take_denied(), Some(Denied::Instance));
        assert_eq!(limiter.take_denied(), None);
        drop(limiter);
        assert_eq!(budget.bytes_used(), 0);
    }

    #[test]
    fn the_process_budget_is_not_passed() {
        let budget = Budget::new(3 * PAGE as u64);
        let _other = budget.charge(2 * PAGE as u64).expect("fits");
        let mut limiter = Limiter::new(4 * PAGE as u64, &budget);
        assert!(limiter.memory_growing(0, PAGE, None).expect("answers"));
        assert!(!limiter.memory_growing(PAGE, 2 * PAGE, None).expect("answers"));
        assert_eq!(limiter.take_denied(), Some(Denied::Process));
    }

    #[test]
    fn tables_are_bounded_in_all() {
        let budget = Budget::new(u64::MAX);
        let mut limiter = Limiter::new(u64::MAX, &budget);
        assert!(limiter.table_growing(0, TABLE_ELEMENTS_MAX - 1, None).expect("answers"));
        assert!(!limiter.table_growing(0, 2, None).expect("answers"));
        assert!(limiter.table_growing(0, 1, None).expect("answers"));
    }
}
