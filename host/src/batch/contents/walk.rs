//! The walk over a slice's bytes that finds every leaf and key.

use super::intern::{Found, same};
use super::scalar::Scalar;
use super::schema::What;
use super::table::MessageType;
use super::{Contents, Entry, Envelope, IN_LIST, NESTING_MAX, NO_ROW, PLAIN, Run};
use crate::batch::index::Children;
use crate::batch::levels::Level;
use crate::batch::value::{KeyValue, kind};
use crate::batch::wire::{DEPTH_MAX, Extent, FIXED32, FIXED64, LEN, Reader, VARINT};
use crate::batch::{Batch, Malformed, TooLarge};

/// What a leaf or key takes beside its bytes: kind, offset, key, place, group, and its place in the table that finds it.
const TEXT_BYTES: u64 = 32;
const ENTRY_BYTES: u64 = size_of::<Entry>() as u64;
const RUN_BYTES: u64 = size_of::<Run>() as u64;
/// Groups of leaves without key are remembered by place, and within lists by another.
const PLAIN_GROUPS: usize = 64;
const PLACES: usize = 32;

/// Why a message was not walked to its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    Malformed,
    TooLarge,
}

impl From<Malformed> for Stop {
    #[cold]
    fn from(_: Malformed) -> Stop {
        Stop::Malformed
    }
}

/// Where a message is: its place, the key of the leaves in it, and how many lists and maps it is in.
#[derive(Clone, Copy, Debug, Default)]
struct Within {
    place: u8,
    key: u32,
    nesting: u32,
}

/// A key as it was written last, and the one after it: the next message of its kind is often alike.
#[derive(Clone, Copy, Debug, Default)]
struct Seen<'a> {
    /// Tag, length and text of the key, where they are written as usual.
    key: &'a [u8],
    /// The key that followed.
    next: u32,
}

/// Rows of a level below items, some of which the walk meets in the bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Rows {
    next: u32,
    end: u32,
}

/// The walk over one segment.
#[derive(Debug)]
pub(super) struct Walk<'a, 'o> {
    batch: &'a Batch,
    bytes: &'a [u8],
    out: &'o mut Contents,
    left: &'o mut u64,
    /// By key.
    seen: Vec<Seen<'a>>,
    /// The first key of messages by place.
    first: [u32; PLACES],
    /// The leaf without key that came last, by place.
    plain: [(&'a [u8], u32); PLAIN_GROUPS],
    /// The run that entries belong to.
    run: Run,
    /// Whether unknown fields are noted: those of an envelope only for its first item.
    notes_unknown: bool,
    events: Rows,
    links: Rows,
    points: Rows,
    /// Whether the index has the message of a metric's data that is walked.
    is_live: bool,
}

impl<'a, 'o> Walk<'a, 'o> {
    pub(super) fn new(batch: &'a Batch, out: &'o mut Contents, left: &'o mut u64) -> Walk<'a, 'o> {
        let run = Run {
            segment: 0,
            envelope: Envelope::Request,
            envelope_row: 0,
            level: Level::Resource,
            row: NO_ROW,
            start: 0,
            from: 0,
        };
        Walk {
            batch,
            bytes: &[],
            out,
            left,
            seen: vec![Seen::default()],
            first: [0; PLACES],
            plain: [(&[], 0); PLAIN_GROUPS],
            run,
            notes_unknown: true,
            events: Rows::default(),
            links: Rows::default(),
            points: Rows::default(),
            is_live: true,
        }
    }

    /// What follows is in this segment.
    pub(super) fn segment(&mut self, number: usize, bytes: &'a [u8]) {
        self.run.segment = number as u32;
        self.bytes = bytes;
        self.out.recent.begin();
    }

    /// Walks fields of an envelope that are not rows: those in `part` of it.
    pub(super) fn envelope(
        &mut self,
        message: MessageType,
        (envelope, row): (Envelope, u32),
        part: Extent,
        notes_unknown: bool,
    ) -> Result<(), Stop> {
        let level = if envelope == Envelope::Scope { Level::Scope } else { Level::Resource };
        let row_of_level = if envelope == Envelope::Request { NO_ROW } else { row };
        self.notes_unknown = notes_unknown;
        self.run = Run { envelope, envelope_row: row, level, row: row_of_level, start: part.start, ..self.run };
        self.begin()?;
        let walked = self.fields(message, part, Within::default());
        self.notes_unknown = true;
        walked
    }

    /// Walks an item.
    pub(super) fn item(&mut self, message: MessageType, row: u32, extent: Extent) -> Result<(), Stop> {
        let index = &self.batch.index;
        self.events = Rows::of(index.events.as_ref(), row);
        self.links = Rows::of(index.links.as_ref(), row);
        self.points = Rows::of(index.points.as_ref(), row);
        let (envelope, level) = (Envelope::Item, Level::Item);
        self.run = Run { envelope, envelope_row: row, level, row, start: extent.start, ..self.run };
        self.begin()?;
        self.fields(message, extent, Within::default())
    }

    /// Walks a message, or some fields of it.
    fn fields(&mut self, message: MessageType, extent: Extent, within: Within) -> Result<(), Stop> {
        let known = message.fields();
        // The attribute's key before.
        let mut before = 0;
        let mut fields = Reader::within(self.bytes, extent);
        loop {
            let start = fields.at();
            let Some(tag) = fields.tag()? else { return Ok(()) };
            let what = known.get(tag.number as usize).copied().unwrap_or(What::Unknown);
            match (what, tag.wire) {
                (What::Attributes(place), LEN) => {
                    // Of all numbers of attributes, the tag is one byte.
                    let tag = (tag.number << 3) as u8 | LEN;
                    before = self.attributes(tag, start, &mut fields, place, before)?;
                }
                (What::Fixed64, FIXED64) => drop(fields.fixed64()?),
                (What::Varint, VARINT) => drop(fields.varint()?),
                (What::Fixed32, FIXED32) => drop(fields.fixed32()?),
                (What::TraceId(place), LEN) => self.id(fields.extent(start)?, 16, place)?,
                (What::SpanId(place), LEN) => self.id(fields.extent(start)?, 8, place)?,
                (What::Text(place), LEN) => self.plain(start, place, kind::STRING, fields.bytes()?)?,
                (What::Varints | What::Fixed64s, _) => numbers(what, tag.wire, &mut fields)?,
                (What::Unknown, _) => {
                    fields.skip(tag, DEPTH_MAX)?;
                    if self.notes_unknown {
                        self.unjudgeable(start)?;
                    }
                }
                (_, LEN) if what.message().is_some() => self.nested(what, fields.extent(start)?, within)?,
                (_, wire) => match Scalar::read(what, wire, &mut fields)? {
                    Some(scalar) => self.leaf_of(scalar, start, within)?,
                    // A KeyValue's keys were noted before.
                    None if what == What::Key && wire == LEN => self.key_again(start, fields.bytes()?, within.place)?,
                    None => return Ok(fields.wrong_wire()?),
                },
            }
        }
    }

    /// Walks a message within a message.
    fn nested(&mut self, what: What, extent: Extent, within: Within) -> Result<(), Stop> {
        match what {
            What::AnyValue(place) => self.any_value(extent, Within { place, ..within }),
            What::Value | What::Elements => self.any_value(extent, within),
            What::Entries => self.key_value(extent, within).map(drop),
            // The place's upper bit: within a list or map.
            What::List(_) if within.nesting == NESTING_MAX => self.unjudgeable(extent.start),
            What::List(message) => {
                let place = within.place | NESTED;
                self.fields(message, extent, Within { place, nesting: within.nesting + 1, ..within })
            }
            What::Message(message) => self.fields(message, extent, within),
            What::Head(message) => self.row_below(message, extent, self.run.level, self.run.row),
            What::Events(message) => match self.events.find(self.batch.index.events.as_ref(), extent) {
                Row::Cut => Ok(()),
                Row::Live(row) => self.row_below(message, extent, Level::Event, row),
            },
            What::Links(message) => match self.links.find(self.batch.index.links.as_ref(), extent) {
                Row::Cut => Ok(()),
                Row::Live(row) => self.row_below(message, extent, Level::Link, row),
            },
            What::Container(message) => {
                let containers = self.batch.index.containers_of(self.run.envelope_row);
                self.is_live = containers.binary_search_by_key(&extent.start, |container| container.start).is_ok();
                self.fields(message, extent, within)
            }
            // Points of replaced data are no rows: they count to their metric.
            What::Points(message) if !self.is_live => {
                self.row_below(message, extent, Level::Item, self.run.envelope_row)
            }
            What::Points(message) => match self.points.find(self.batch.index.points.as_ref(), extent) {
                Row::Cut => Ok(()),
                Row::Live(row) => self.row_below(message, extent, Level::Point, row),
            },
            _ => Ok(()),
        }
    }

    /// Walks a message that has the attributes of a row; then goes on with the run before.
    fn row_below(&mut self, message: MessageType, extent: Extent, level: Level, row: u32) -> Result<(), Stop> {
        let before = self.run;
        self.run = Run { level, row, start: extent.start, ..before };
        self.begin()?;
        self.fields(message, extent, Within::default())?;
        self.run = before;
        self.begin()
    }

    /// Attributes of a row that follow each other, the first of them at `at`, read but for its length; returns the last one's key.
    /// `before` is the key before.
    fn attributes(
        &mut self,
        tag: u8,
        mut at: u32,
        fields: &mut Reader<'a>,
        place: u8,
        mut before: u32,
    ) -> Result<u32, Stop> {
        loop {
            let payload = fields.bytes()?;
            before = self.attribute(at, payload, fields.at(), place, before)?;
            at = fields.at();
            if !fields.tag_is(tag) {
                return Ok(before);
            }
        }
    }

    /// An attribute from `at` to `end`.
    #[inline(always)]
    fn attribute(&mut self, at: u32, payload: &'a [u8], end: u32, place: u8, before: u32) -> Result<u32, Stop> {
        let guess = match before {
            0 => self.first.get(place as usize).copied().unwrap_or_default(),
            _ => self.seen.get(before as usize).map_or(0, |seen| seen.next),
        };
        if let Some(seen) = self.seen.get(guess as usize)
            && let Some((key, rest)) = payload.split_at_checked(seen.key.len())
            && !key.is_empty()
            && same(key, seen.key)
        {
            if let Some(leaf) = self.out.recent.find(self.bytes, guess, payload, rest, end) {
                self.enter(Entry::ATTRIBUTE | leaf, at)?;
                return Ok(guess);
            }
            if self.attribute_of(guess, payload, rest, (at, end), place)? {
                return Ok(guess);
            }
        }
        let key = self.attribute_unforeseen((at, end), payload, place)?;
        let guess = match before {
            0 => self.first.get_mut(place as usize),
            _ => self.seen.get_mut(before as usize).map(|seen| &mut seen.next),
        };
        if let Some(guess) = guess {
            *guess = key;
        }
        Ok(key)
    }

    fn attribute_unforeseen(&mut self, (at, end): (u32, u32), payload: &'a [u8], place: u8) -> Result<u32, Stop> {
        if let Some((text, _)) = KeyValue::canonical(payload)
            && let Some((written, rest)) = payload.split_at_checked(text.len() + 2)
            && Scalar::of_value(rest).is_some()
        {
            let key = self.key(text, place)?;
            if let Some(seen) = self.seen.get_mut(key as usize) {
                seen.key = written;
            }
            self.attribute_of(key, payload, rest, (at, end), place)?;
            return Ok(key);
        }
        let extent = Extent { start: at, body: end - payload.len() as u32, end };
        self.key_value(extent, Within { place, ..Within::default() })
    }

    /// An attribute with this key; `rest` is what follows the key in its bytes. False if it is not written as usual.
    fn attribute_of(
        &mut self,
        key: u32,
        payload: &[u8],
        rest: &[u8],
        (at, end): (u32, u32),
        place: u8,
    ) -> Result<bool, Stop> {
        let Some(scalar) = Scalar::of_value(rest) else { return Ok(false) };
        let leaf = match self.out.leaves.find(key, scalar.kind(), scalar.bytes()) {
            Found::Known(leaf) => {
                self.out.recent.keep(key, payload, rest, end, leaf);
                leaf
            }
            Found::New(leaf) => self.new_leaf(leaf, key, place, scalar.bytes())?,
        };
        self.enter(Entry::ATTRIBUTE | leaf, at)?;
        Ok(true)
    }

    /// A KeyValue however it is written; returns its key. Of several keys, the last is that of its values.
    fn key_value(&mut self, extent: Extent, within: Within) -> Result<u32, Stop> {
        let (mut key, mut values): (Option<&'a [u8]>, u32) = (None, 0);
        let mut fields = Reader::within(self.bytes, extent);
        while let Some(tag) = fields.tag()? {
            match (MessageType::KeyValue.field(tag.number), tag.wire) {
                (What::Key, LEN) => key = Some(fields.bytes()?),
                (What::Value, LEN) => {
                    fields.bytes()?;
                    values += 1;
                }
                _ => fields.skip(tag, DEPTH_MAX)?,
            }
        }
        let code = self.key(key.unwrap_or_default(), within.place)?;
        if key.is_none() {
            self.enter(Entry::KEY | code, extent.start)?;
        }
        let within = Within { key: code, ..within };
        if values == 0 {
            self.leaf_of(Scalar::Empty, extent.start, within)?;
        }
        self.fields(MessageType::KeyValue, extent, within)?;
        Ok(code)
    }

    /// A key field within a KeyValue.
    fn key_again(&mut self, start: u32, text: &[u8], place: u8) -> Result<(), Stop> {
        let key = self.key(text, place)?;
        self.enter(Entry::KEY | key, start)
    }

    /// An AnyValue however it is written: each variant of its oneof that occurs.
    fn any_value(&mut self, extent: Extent, within: Within) -> Result<(), Stop> {
        let mut fields = Reader::within(self.bytes, extent);
        let mut is_empty = true;
        while let Some(tag) = fields.tag()? {
            if MessageType::AnyValue.field(tag.number).is_variant() {
                is_empty = false;
                break;
            }
            fields.skip(tag, DEPTH_MAX)?;
        }
        if is_empty {
            self.leaf_of(Scalar::Empty, extent.start, within)?;
        }
        self.fields(MessageType::AnyValue, extent, within)
    }

    /// Ids are leaves only where they are not what they should be: they may hold text then.
    fn id(&mut self, extent: Extent, length: usize, place: u8) -> Result<(), Stop> {
        let id = extent.of(self.bytes);
        if id.is_empty() || (id.len() == length && !id.iter().all(|byte| matches!(byte, b' '..=b'~'))) {
            return Ok(());
        }
        self.plain(extent.start, place, kind::BYTES, id)
    }

    fn leaf_of(&mut self, scalar: Scalar<'a>, at: u32, within: Within) -> Result<(), Stop> {
        match within.key {
            0 => match scalar {
                Scalar::Text(kind, bytes) => self.plain(at, within.place, kind, bytes),
                _ => {
                    let group = PLAIN | u32::from(within.place);
                    let leaf = self.leaf(group, 0, within.place, scalar.kind(), scalar.bytes())?;
                    self.enter(Entry::LEAF | leaf, at)
                }
            },
            key => {
                let of_list = self.out.key_places.get(key as usize) != Some(&within.place);
                let group = if of_list { key | IN_LIST } else { key };
                let leaf = self.leaf(group, key, within.place, scalar.kind(), scalar.bytes())?;
                self.enter(Entry::LEAF | leaf, at)
            }
        }
    }

    /// A text without key.
    fn plain(&mut self, at: u32, place: u8, kind: u8, bytes: &'a [u8]) -> Result<(), Stop> {
        let slot = usize::from(place & !NESTED) % PLACES + usize::from(place >> 7) * PLACES;
        let leaf = match self.plain.get(slot) {
            Some(&(last, leaf)) if leaf != 0 && kind == kind::STRING && same(last, bytes) => leaf,
            _ => {
                let leaf = self.leaf(PLAIN | u32::from(place), 0, place, kind, bytes)?;
                if let Some(last) = self.plain.get_mut(slot).filter(|_| kind == kind::STRING) {
                    *last = (bytes, leaf);
                }
                leaf
            }
        };
        self.enter(Entry::LEAF | leaf, at)
    }

    fn leaf(&mut self, group: u32, key: u32, place: u8, kind: u8, bytes: &[u8]) -> Result<u32, Stop> {
        match self.out.leaves.find(group, kind, bytes) {
            Found::Known(leaf) => Ok(leaf),
            Found::New(leaf) => self.new_leaf(leaf, key, place, bytes),
        }
    }

    fn new_leaf(&mut self, leaf: u32, key: u32, place: u8, bytes: &[u8]) -> Result<u32, Stop> {
        self.out.key_of.push(key);
        self.out.places.push(place);
        self.take_text(leaf, bytes)?;
        Ok(leaf)
    }

    fn key(&mut self, text: &[u8], place: u8) -> Result<u32, Stop> {
        match self.out.keys.find(u32::from(place), kind::STRING, text) {
            Found::Known(key) => Ok(key),
            Found::New(key) => {
                self.out.key_places.push(place);
                self.seen.push(Seen::default());
                self.take_text(key, text)?;
                Ok(key)
            }
        }
    }

    /// A field that is to be removed.
    #[cold]
    fn unjudgeable(&mut self, at: u32) -> Result<(), Stop> {
        self.out.unjudgeable += 1;
        self.enter(Entry::UNJUDGEABLE, at)
    }

    #[inline(always)]
    fn enter(&mut self, code: u32, at: u32) -> Result<(), Stop> {
        self.out.entries.push(Entry { code, at });
        self.take(ENTRY_BYTES)
    }

    /// Entries from here on belong to the run at hand.
    fn begin(&mut self) -> Result<(), Stop> {
        self.run.from = self.out.entries.len() as u32;
        match self.out.runs.last_mut().filter(|last| last.from == self.run.from) {
            // The last one got no entries.
            Some(last) => *last = self.run,
            None => self.out.runs.push(self.run),
        }
        self.take(RUN_BYTES)
    }

    fn take_text(&mut self, number: u32, bytes: &[u8]) -> Result<(), Stop> {
        let written = self.out.leaves.texts.bytes.len().max(self.out.keys.texts.bytes.len());
        if number > Entry::CODE_MAX || u32::try_from(written).is_err() {
            return Err(Stop::TooLarge);
        }
        self.take(TEXT_BYTES + bytes.len() as u64)
    }

    #[inline(always)]
    fn take(&mut self, bytes: u64) -> Result<(), Stop> {
        *self.left = self.left.saturating_sub(bytes);
        if *self.left == 0 { Err(Stop::TooLarge) } else { Ok(()) }
    }
}

/// The bit of a place that says: within a list or map.
const NESTED: u8 = 128;

enum Row {
    Live(u32),
    /// Dropped before.
    Cut,
}

impl Rows {
    /// Those of an item.
    fn of(children: Option<&Children>, item: u32) -> Rows {
        match children.and_then(|children| children.from.get(item as usize..item as usize + 2)) {
            Some(&[next, end]) => Rows { next, end },
            _ => Rows::default(),
        }
    }

    /// The row that has this extent; rows come in the order of the bytes. Where they were never indexed, none was ever dropped.
    fn find(&mut self, children: Option<&Children>, extent: Extent) -> Row {
        let Some(children) = children else { return Row::Live(NO_ROW) };
        while self.next < self.end {
            let Some(row) = children.extents.get(self.next as usize) else { break };
            if row.start > extent.start {
                break;
            }
            self.next += 1;
            if row.start == extent.start {
                return Row::Live(self.next - 1);
            }
        }
        Row::Cut
    }
}

/// Repeated numbers, packed or one by one.
fn numbers(what: What, wire: u8, fields: &mut Reader<'_>) -> Result<(), Stop> {
    match (what, wire) {
        (What::Varints, VARINT) => drop(fields.varint()?),
        (What::Fixed64s, FIXED64) => drop(fields.fixed64()?),
        (What::Varints, LEN) => {
            let packed = fields.bytes()?;
            let mut numbers = Reader::new(packed);
            while (numbers.at() as usize) < packed.len() {
                numbers.varint()?;
            }
        }
        (What::Fixed64s, LEN) if fields.bytes()?.len().is_multiple_of(8) => {}
        _ => return Ok(fields.wrong_wire()?),
    }
    Ok(())
}

impl Stop {
    /// How many messages were malformed.
    pub(super) fn malformed(walked: Result<(), Stop>) -> Result<u32, TooLarge> {
        match walked {
            Ok(()) => Ok(0),
            Err(Stop::Malformed) => Ok(1),
            Err(Stop::TooLarge) => Err(TooLarge),
        }
    }
}
