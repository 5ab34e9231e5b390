//! What a shard keeps of a waiting trace, beside its spans.

use super::facts::Facts;
use super::log::NONE;
use super::slab::Slab;

/// A duration is offered early from 2^20 ns on.
const EXPONENT_MIN: u32 = 20;
/// It was offered when it had an error.
const OFFERED_ERROR: u8 = 1;
/// It was offered when it had a root.
const OFFERED_ROOT: u8 = 2;
/// It is among those that are picked just now.
const PICKED: u8 = 4;

/// A waiting trace: 128 bytes, two cache lines.
#[derive(Debug)]
pub(super) struct Trace {
    pub id: [u8; 16],
    pub facts: Facts,
    /// When its first span came, in nanoseconds since the start of the process.
    pub arrived: u64,
    /// The same by the wall clock.
    pub arrived_unix_nano: u64,
    /// When it is due, as `arrived`.
    pub due: u64,
    /// Its last record in the log.
    pub last: u32,
    due_links: Links,
    early_links: Links,
    /// Milliseconds since the start of the process, modulo 2^32.
    offered_millis: u32,
    /// The bit length of the duration with which it was offered.
    offered_exponent: u8,
    /// [`OFFERED_ERROR`], [`OFFERED_ROOT`], [`PICKED`].
    flags: u8,
    /// The list of due traces that it is in.
    pub queue: Queue,
    pub early: Early,
}

/// Why a waiting trace will be due; each is a list in the order of due times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    Wait,
    Root,
    Limit,
}

/// Where a trace stands that may be offered early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Early {
    /// Nothing to offer.
    No,
    /// To be offered.
    Ready,
    /// It was offered a short time ago.
    Cooling,
    /// As before, and it has changed since.
    Changed,
}

/// Neighbours in a list.
#[derive(Clone, Copy, Debug)]
struct Links {
    before: u32,
    after: u32,
}

const UNLINKED: Links = Links { before: NONE, after: NONE };

/// A list of traces, linked through them.
#[derive(Debug)]
pub(super) struct List {
    kind: Kind,
    head: u32,
    tail: u32,
}

/// Which links a list goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Due,
    Early,
}

impl Trace {
    pub(super) fn new(id: [u8; 16], arrived: u64, arrived_unix_nano: u64, due: u64) -> Trace {
        Trace {
            id,
            facts: Facts::NONE,
            arrived,
            arrived_unix_nano,
            due,
            last: NONE,
            due_links: UNLINKED,
            early_links: UNLINKED,
            offered_millis: 0,
            offered_exponent: EXPONENT_MIN as u8,
            flags: 0,
            queue: Queue::Wait,
            early: Early::No,
        }
    }

    /// 56 random bits: `rv` of its tracestate, else the last 7 bytes of its id.
    pub(super) fn randomness(&self) -> u64 {
        self.facts.randomness.get().unwrap_or_else(|| randomness_of(self.id))
    }

    /// Whether something has changed since it was last offered that may settle it: the first error, the root, or its duration
    /// has reached the next power of two.
    pub(super) fn has_changed(&self) -> bool {
        let is_new = |flag, is: bool| is && self.flags & flag == 0;
        is_new(OFFERED_ERROR, self.facts.errors > 0)
            || is_new(OFFERED_ROOT, self.facts.is_rooted())
            || self.exponent() > self.offered_exponent
    }

    /// It was offered as it is now.
    pub(super) fn set_offered(&mut self, since_start_nanos: u64) {
        self.offered_millis = millis(since_start_nanos);
        self.offered_exponent = self.offered_exponent.max(self.exponent());
        self.flags |= if self.facts.errors > 0 { OFFERED_ERROR } else { 0 };
        self.flags |= if self.facts.is_rooted() { OFFERED_ROOT } else { 0 };
    }

    /// Nanoseconds since it was offered, at least.
    pub(super) fn offered_before(&self, since_start_nanos: u64) -> u64 {
        u64::from(millis(since_start_nanos).wrapping_sub(self.offered_millis)) * 1_000_000
    }

    pub(super) fn is_picked(&self) -> bool {
        self.flags & PICKED != 0
    }

    pub(super) fn set_picked(&mut self, is: bool) {
        self.flags = if is { self.flags | PICKED } else { self.flags & !PICKED };
    }

    /// The bit length of its duration, so that it grows where a power of two is reached.
    fn exponent(&self) -> u8 {
        (u64::BITS - self.facts.duration().leading_zeros()) as u8
    }
}

/// The last 7 bytes of a trace id (W3C Trace Context level 2, "Random Trace ID Flag").
pub(super) fn randomness_of(id: [u8; 16]) -> u64 {
    u128::from_be_bytes(id) as u64 & ((1 << 56) - 1)
}

fn millis(nanos: u64) -> u32 {
    (nanos / 1_000_000) as u32
}

impl List {
    pub(super) fn new(kind: Kind) -> List {
        List { kind, head: NONE, tail: NONE }
    }

    /// The number of the first; [`NONE`] where there is none.
    pub(super) fn first(&self) -> u32 {
        self.head
    }

    /// The number of the one after; [`NONE`] after the last.
    pub(super) fn after(&self, number: u32, traces: &Slab<Trace>) -> u32 {
        traces.get(number).map_or(NONE, |trace| trace.links(self.kind).after)
    }

    /// Adds one that is in no list of this kind.
    pub(super) fn push(&mut self, number: u32, traces: &mut Slab<Trace>) {
        let links = Links { before: self.tail, after: NONE };
        self.set(number, links, traces);
        match traces.get_mut(self.tail) {
            Some(last) => last.links_mut(self.kind).after = number,
            None => self.head = number,
        }
        self.tail = number;
    }

    /// Takes one out that is in this list.
    pub(super) fn remove(&mut self, number: u32, traces: &mut Slab<Trace>) {
        let Some(Links { before, after }) = traces.get(number).map(|trace| trace.links(self.kind)) else { return };
        match traces.get_mut(before) {
            Some(trace) => trace.links_mut(self.kind).after = after,
            None => self.head = after,
        }
        match traces.get_mut(after) {
            Some(trace) => trace.links_mut(self.kind).before = before,
            None => self.tail = before,
        }
        self.set(number, UNLINKED, traces);
    }

    fn set(&self, number: u32, links: Links, traces: &mut Slab<Trace>) {
        if let Some(trace) = traces.get_mut(number) {
            *trace.links_mut(self.kind) = links;
        }
    }
}

impl Trace {
    fn links(&self, kind: Kind) -> Links {
        match kind {
            Kind::Due => self.due_links,
            Kind::Early => self.early_links,
        }
    }

    fn links_mut(&mut self, kind: Kind) -> &mut Links {
        match kind {
            Kind::Due => &mut self.due_links,
            Kind::Early => &mut self.early_links,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_takes_two_cache_lines() {
        assert_eq!(size_of::<Option<Trace>>(), 128);
    }

    #[test]
    fn lists_keep_their_order() {
        let mut traces = Slab::new();
        let mut list = List::new(Kind::Due);
        let numbers: Vec<u32> =
            (0..6).map(|i| traces.insert(Trace::new([i; 16], 0, 0, 0)).expect("numbers are left")).collect();
        numbers.iter().for_each(|&number| list.push(number, &mut traces));
        let seen = |list: &List, traces: &Slab<Trace>| {
            let all = std::iter::successors(Some(list.first()), |&number| Some(list.after(number, traces)));
            all.take_while(|&number| number != NONE).collect::<Vec<_>>()
        };
        assert_eq!(seen(&list, &traces), numbers);
        for gone in [2, 0, 5] {
            list.remove(numbers[gone], &mut traces);
        }
        assert_eq!(seen(&list, &traces), [numbers[1], numbers[3], numbers[4]]);
        list.push(numbers[0], &mut traces);
        assert_eq!(seen(&list, &traces), [numbers[1], numbers[3], numbers[4], numbers[0]]);
        for left in [1, 3, 4, 0] {
            list.remove(numbers[left], &mut traces);
        }
        assert_eq!(seen(&list, &traces), Vec::<u32>::new());
    }

    #[test]
    fn errors_roots_and_powers_of_two_are_changes_once() {
        let mut trace = Trace::new([0; 16], 0, 0, 0);
        trace.facts.start = 0;
        trace.facts.end = (1 << 20) - 1;
        assert!(!trace.has_changed());
        trace.facts.end = 1 << 20;
        assert!(trace.has_changed());
        trace.set_offered(5_000_000);
        assert!(!trace.has_changed());
        assert_eq!(trace.offered_before(105_000_000), 100_000_000);
        trace.facts.end = (1 << 21) - 1;
        trace.facts.errors = 1;
        assert!(trace.has_changed());
        trace.set_offered(6_000_000);
        trace.facts.errors = 2;
        assert!(!trace.has_changed());
        trace.facts.marks = crate::tail::traces::MARK_ROOT;
        assert!(trace.has_changed());
    }
}
