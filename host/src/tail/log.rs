//! Span bytes: a log of segments, written once and freed as a whole.
//!
//! Gaps are closed by moving what is left of a segment to the end of the log. Most that goes early goes soon after it came, so a segment is
//! looked at once when it stops being one of the youngest: what is left of it then is still in the processor's cache and stays for long.

use std::collections::VecDeque;

/// No record, no trace.
pub(super) const NONE: u32 = u32::MAX;

/// Bytes of a segment, at most; small shards have smaller ones.
const SEGMENT_BYTES_MAX: usize = 1 << 18;
const SEGMENT_BYTES_MIN: usize = 1 << 12;
/// A shard's bytes are at least as many segments.
const SEGMENTS_MIN: u64 = 64;
/// Addresses count units of 8 bytes, so that 32 bits reach 32 GiB.
const UNIT: usize = 8;
/// Bits of an address that are the place in the segment.
const PLACE_BITS: u32 = (SEGMENT_BYTES_MAX / UNIT).trailing_zeros();
const SEGMENTS_MAX: usize = (1 << (32 - PLACE_BITS)) - 1;
/// Bytes before the spans of a record.
const RECORD_BYTES: usize = 24;
/// What does not fit and has more than this share of a segment gets one of its own.
const LARGE_DIVISOR: usize = 8;
/// Segments that are young.
const YOUNG_SEGMENTS: usize = 16;
/// More that may wait to be looked at; beyond that the oldest are not.
const AGED_SEGMENTS_MAX: usize = 64;
/// One that is young no longer is worth moving if this share of it is garbage, and any other if this one is.
const AGED_GARBAGE_DIVISOR: usize = 16;
const GARBAGE_DIVISOR: usize = 8;
/// Segments with the most garbage that are found in one go.
const SPARSE_SEGMENTS: usize = 32;
/// Empty segments that are kept: some, and a share of the others.
const POOL_MIN: usize = 2;
const POOL_DIVISOR: usize = 16;

/// Spans of one trace and scope that came together, as they stand in a ScopeSpans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The trace's record before, or [`NONE`]: so nothing that was written before is touched when another comes.
    pub before: u32,
    /// The trace's number; [`NONE`] where the record is garbage.
    pub trace: u32,
    /// The number of the scope's header.
    pub header: u32,
    pub spans: u32,
    /// Bytes of the spans with their tags and lengths.
    pub len: u32,
}

#[derive(Debug)]
struct Segment {
    data: Vec<u8>,
    /// Bytes of records that are not garbage.
    live: usize,
    /// How many were opened before: its number may be another's later.
    opened: u64,
}

/// A segment as it was when it was noted, by its number and [`Segment::opened`].
type Noted = (u32, u64);

/// Records by address.
#[derive(Debug)]
pub(super) struct Log {
    segments: Vec<Option<Segment>>,
    /// Numbers without a segment.
    vacant: Vec<u32>,
    /// The segment that is written.
    head: Option<u32>,
    /// Empty segments for later use.
    pool: Vec<Vec<u8>>,
    segment_bytes: usize,
    /// Bytes allocated.
    bytes: u64,
    /// Bytes of records that are garbage.
    garbage: u64,
    /// Segments opened so far.
    opened: u64,
    /// The youngest segments, and those that were young and nobody has looked at since.
    young: VecDeque<Noted>,
    /// Segments that had the most garbage when they were last searched for, the worst last.
    sparse: Vec<Noted>,
    /// Garbage without any segment that is worth moving; searching again makes no sense before there is more.
    spread: u64,
}

impl Log {
    /// An empty log of a shard that may have `bytes_max`.
    pub(super) fn new(bytes_max: u64) -> Log {
        let share = usize::try_from(bytes_max / SEGMENTS_MIN).unwrap_or(SEGMENT_BYTES_MAX);
        let segment_bytes = share.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX).next_power_of_two();
        Log {
            segments: Vec::new(),
            vacant: Vec::new(),
            head: None,
            pool: Vec::new(),
            segment_bytes,
            bytes: 0,
            garbage: 0,
            opened: 0,
            young: VecDeque::with_capacity(YOUNG_SEGMENTS + AGED_SEGMENTS_MAX + 1),
            sparse: Vec::with_capacity(SPARSE_SEGMENTS),
            spread: 0,
        }
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> u64 {
        let lists = self.segments.capacity() * size_of::<Option<Segment>>() + self.vacant.capacity() * 4;
        let noted = (self.young.capacity() + self.sparse.capacity()) * size_of::<Noted>();
        self.bytes + (lists + noted) as u64
    }

    /// Bytes of an ordinary segment.
    pub(super) fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// Bytes of records that are garbage.
    pub(super) fn garbage(&self) -> u64 {
        self.garbage
    }

    /// What spans to be written in one record may have together, if the first has `first` bytes. At least `first`.
    pub(super) fn room(&self, first: usize) -> usize {
        let head = self.head_room();
        let room = if record_bytes(first) <= head {
            head
        } else if self.is_large(first) {
            return first;
        } else {
            self.segment_bytes
        };
        (room - RECORD_BYTES) / UNIT * UNIT
    }

    /// Writes a record: `parts` together are its `len` bytes, within [`Self::room`]. None where there are too many segments.
    pub(super) fn write<'a>(&mut self, record: Record, parts: impl Iterator<Item = &'a [u8]>) -> Option<u32> {
        let bytes = record_bytes(record.len as usize);
        let number = if bytes <= self.head_room() {
            self.head?
        } else if bytes > self.segment_bytes || self.is_large(record.len as usize) && record.spans == 1 {
            self.open(bytes)?
        } else {
            self.next_head()?
        };
        let segment = self.segments.get_mut(number as usize)?.as_mut()?;
        let start = segment.data.len();
        segment.data.extend_from_slice(&record.encode());
        parts.for_each(|part| segment.data.extend_from_slice(part));
        segment.data.resize(start + bytes, 0);
        segment.live += bytes;
        Some(address(number, start))
    }

    /// At least the bytes that writing spans of these lengths would take in addition, however they come together in records.
    pub(super) fn growth_by(&self, spans: impl Iterator<Item = usize>) -> u64 {
        let (mut small, mut large, mut numbers) = (0, 0, 0);
        for bytes in spans.map(record_bytes) {
            if bytes > self.segment_bytes / LARGE_DIVISOR {
                large += bytes;
                numbers += 1;
            } else {
                small += bytes;
            }
        }
        // At the end of a segment there is less left than the small one that did not fit. Large ones lie in such segments while they fit,
        // so that these end more often, else in segments of their own, exactly as large.
        let filled = self.segment_bytes - self.segment_bytes / LARGE_DIVISOR;
        let segments = small.saturating_sub(self.head_room()).div_ceil(filled);
        if small > 0 && large > 0 {
            large += small.min(large / (LARGE_DIVISOR - 1)) + self.segment_bytes;
        }
        if self.segments.len() + segments + numbers > SEGMENTS_MAX {
            return u64::MAX;
        }
        let list = self.segments.len() + segments + numbers + 4;
        let list = if list > self.segments.capacity() { 2 * list * (size_of::<Option<Segment>>() + 4) } else { 0 };
        (segments.saturating_sub(self.pool.len()) * self.segment_bytes + large + list) as u64
    }

    /// The record at an address.
    #[inline]
    pub(super) fn record(&self, address: u32) -> Option<Record> {
        let (number, place) = split(address);
        Record::decode(self.segments.get(number)?.as_ref()?.data.get(place..)?)
    }

    /// The record at an address and its spans.
    #[inline]
    pub(super) fn spans(&self, address: u32) -> Option<(Record, &[u8])> {
        let (number, place) = split(address);
        let data = self.segments.get(number)?.as_ref()?.data.get(place..)?;
        let record = Record::decode(data)?;
        Some((record, data.get(RECORD_BYTES..RECORD_BYTES + record.len as usize)?))
    }

    /// Appends a trace's records up to its last one, the first of them first.
    pub(super) fn chain<'a>(&'a self, last: u32, to: &mut Vec<(Record, &'a [u8])>) {
        let from = to.len();
        let mut at = last;
        while let Some((record, spans)) = self.spans(at) {
            to.push((record, spans));
            at = record.before;
        }
        to.get_mut(from..).unwrap_or_default().reverse();
    }

    /// Makes the record at an address follow another.
    pub(super) fn link(&mut self, address: u32, before: u32) {
        self.put(address, 0, before);
    }

    /// Makes all records of traces garbage, given the last one of each. Each is told to `each`.
    ///
    /// Goes through all traces side by side: records lie far apart, and so the processor waits for many of them at a time.
    pub(super) fn free_chains(&mut self, mut lasts: Vec<u32>, mut each: impl FnMut(Record)) {
        while !lasts.is_empty() {
            lasts.retain_mut(|at| {
                let Some(record) = self.record(*at) else { return false };
                each(record);
                self.free(*at, record);
                *at = record.before;
                record.before != NONE
            });
        }
    }

    /// Makes a record garbage. A segment without others is freed.
    fn free(&mut self, address: u32, record: Record) {
        if record.trace == NONE {
            return;
        }
        self.put(address, 4, NONE);
        let bytes = record_bytes(record.len as usize);
        let number = split(address).0;
        self.garbage += bytes as u64;
        let Some(segment) = self.segments.get_mut(number).and_then(Option::as_mut) else { return };
        segment.live -= bytes;
        if segment.live > 0 {
            return;
        }
        self.garbage -= segment.data.len() as u64;
        if self.head == Some(number as u32) {
            segment.data.clear();
            return;
        }
        if let Some(segment) = self.segments.get_mut(number).and_then(Option::take) {
            self.vacant.push(number as u32);
            self.recycle(segment.data);
        }
    }

    /// Whether an empty segment is kept for later.
    pub(super) fn has_empty(&self) -> bool {
        !self.pool.is_empty()
    }

    /// Gives empty segments back that are kept for later; true if there were any.
    pub(super) fn empty_pool(&mut self) -> bool {
        let freed: usize = self.pool.iter().map(Vec::capacity).sum();
        self.pool = Vec::new();
        self.bytes -= freed as u64;
        freed > 0
    }

    /// A segment that is young no longer and worth moving, each told once.
    pub(super) fn aged(&mut self) -> Option<u32> {
        while self.young.len() > YOUNG_SEGMENTS {
            let noted = self.young.pop_front()?;
            if self.is_worth_moving(noted, AGED_GARBAGE_DIVISOR) {
                return Some(noted.0);
            }
        }
        None
    }

    /// One of the segments with the most garbage.
    pub(super) fn sparsest(&mut self) -> Option<u32> {
        self.next_sparse().or_else(|| {
            self.spread = self.spread.min(self.garbage);
            if self.garbage < self.spread + (self.segment_bytes / GARBAGE_DIVISOR) as u64 {
                return None;
            }
            self.search_sparse();
            let found = self.next_sparse();
            self.spread = if found.is_none() { self.garbage } else { 0 };
            found
        })
    }

    fn search_sparse(&mut self) {
        let worth = |(number, segment): (u32, &Segment)| {
            let noted = (number, segment.opened);
            self.is_worth_moving(noted, GARBAGE_DIVISOR).then_some((segment.live, noted))
        };
        let segments = (0..).zip(&self.segments).filter_map(|(number, segment)| Some((number, segment.as_ref()?)));
        let mut found: Vec<(usize, Noted)> = segments.filter_map(worth).collect();
        if found.len() > SPARSE_SEGMENTS {
            found.select_nth_unstable(SPARSE_SEGMENTS);
            found.truncate(SPARSE_SEGMENTS);
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        self.sparse.extend(found.into_iter().map(|(_, noted)| noted));
    }

    fn next_sparse(&mut self) -> Option<u32> {
        while let Some(noted) = self.sparse.pop() {
            if self.is_worth_moving(noted, GARBAGE_DIVISOR) {
                return Some(noted.0);
            }
        }
        None
    }

    fn is_worth_moving(&self, (number, opened): Noted, divisor: usize) -> bool {
        let segment = self.segments.get(number as usize).and_then(Option::as_ref);
        self.head != Some(number)
            && segment.is_some_and(|segment| {
                segment.opened == opened && segment.live < segment.data.len() - segment.data.len() / divisor
            })
    }

    /// The number of the segment that a record is in.
    pub(super) fn segment_of(address: u32) -> u32 {
        address >> PLACE_BITS
    }

    /// The traces that have records in a segment, each once.
    pub(super) fn traces_in(&self, number: u32) -> Vec<u32> {
        let Some(segment) = self.segments.get(number as usize).and_then(Option::as_ref) else { return Vec::new() };
        let mut traces = Vec::new();
        let mut at = 0;
        while let Some(record) = segment.data.get(at..).and_then(Record::decode) {
            if record.trace != NONE {
                traces.push(record.trace);
            }
            at += record_bytes(record.len as usize);
        }
        traces.sort_unstable();
        traces.dedup();
        traces
    }

    /// Copies a record to the end of the log; the old one becomes garbage.
    pub(super) fn relocate(&mut self, from: u32) -> Option<u32> {
        let record = self.record(from)?;
        let bytes = record_bytes(record.len as usize);
        let number = if bytes <= self.head_room() { self.head? } else { self.next_head()? };
        let (old, place) = split(from);
        if old == number as usize {
            return None;
        }
        // Taken out while the other is read.
        let mut data = std::mem::take(&mut self.segments.get_mut(number as usize)?.as_mut()?.data);
        let start = data.len();
        let copied = self.segments.get(old).and_then(Option::as_ref).and_then(|old| old.data.get(place..place + bytes));
        data.extend_from_slice(copied.unwrap_or_default());
        let segment = self.segments.get_mut(number as usize)?.as_mut()?;
        segment.data = data;
        segment.live += bytes;
        self.free(from, record);
        Some(address(number, start))
    }

    fn head_room(&self) -> usize {
        let head = self.head.and_then(|number| self.segments.get(number as usize)?.as_ref());
        head.map_or(0, |head| self.segment_bytes - head.data.len().min(self.segment_bytes))
    }

    fn is_large(&self, spans: usize) -> bool {
        record_bytes(spans) > self.segment_bytes / LARGE_DIVISOR
    }

    /// Begins a segment.
    fn next_head(&mut self) -> Option<u32> {
        let number = self.open(self.segment_bytes)?;
        // One that lost all its records while it was written has nobody left to free it.
        if let Some(old) = self.head.replace(number)
            && self.segments.get(old as usize).and_then(Option::as_ref).is_some_and(|old| old.live == 0)
            && let Some(segment) = self.segments.get_mut(old as usize).and_then(Option::take)
        {
            self.vacant.push(old);
            self.recycle(segment.data);
        }
        Some(number)
    }

    /// Adds a segment of this size.
    fn open(&mut self, bytes: usize) -> Option<u32> {
        let number = match self.vacant.pop() {
            Some(number) => number,
            None if self.segments.len() >= SEGMENTS_MAX => return None,
            None => {
                self.segments.push(None);
                self.segments.len() as u32 - 1
            }
        };
        let pooled = if bytes == self.segment_bytes { self.pool.pop() } else { None };
        let data = pooled.unwrap_or_else(|| {
            let data = Vec::with_capacity(bytes);
            self.bytes += data.capacity() as u64;
            data
        });
        self.opened += 1;
        *self.segments.get_mut(number as usize)? = Some(Segment { data, live: 0, opened: self.opened });
        if bytes == self.segment_bytes {
            if self.young.len() > YOUNG_SEGMENTS + AGED_SEGMENTS_MAX {
                self.young.pop_front();
            }
            self.young.push_back((number, self.opened));
        }
        Some(number)
    }

    fn recycle(&mut self, mut data: Vec<u8>) {
        if data.capacity() == self.segment_bytes {
            data.clear();
            self.pool.push(data);
        } else {
            self.bytes -= data.capacity() as u64;
        }
        let used = self.segments.len() - self.vacant.len();
        while self.pool.len() > POOL_MIN + used / POOL_DIVISOR {
            self.bytes -= self.pool.pop().map_or(0, |data| data.capacity() as u64);
        }
    }

    /// Writes a word of the record at an address.
    fn put(&mut self, address: u32, offset: usize, word: u32) {
        let (number, place) = split(address);
        let data = self.segments.get_mut(number).and_then(Option::as_mut).map(|segment| &mut segment.data);
        if let Some(to) = data.and_then(|data| data.get_mut(place + offset..place + offset + 4)) {
            to.copy_from_slice(&word.to_le_bytes());
        }
    }
}

impl Record {
    fn encode(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let words = [self.before, self.trace, self.header, self.spans, self.len];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Record> {
        let bytes: &[u8; RECORD_BYTES] = bytes.first_chunk()?;
        let [before, trace, header, spans, len, _] =
            std::array::from_fn(|i| bytes[4 * i..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word)));
        Some(Record { before, trace, header, spans, len })
    }
}

/// A record of so many bytes of spans.
fn record_bytes(spans: usize) -> usize {
    (RECORD_BYTES + spans).next_multiple_of(UNIT)
}

fn address(segment: u32, place: usize) -> u32 {
    segment << PLACE_BITS | (place / UNIT) as u32
}

fn split(address: u32) -> (usize, usize) {
    ((address >> PLACE_BITS) as usize, (address as usize & ((1 << PLACE_BITS) - 1)) * UNIT)
}
