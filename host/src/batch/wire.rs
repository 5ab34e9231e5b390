//! The protobuf wire format, read by the same rules as prost (its `encoding` module): varints of up to 10 bytes, also overlong
//! ones, keys of at most 32 bits, groups skipped down to a depth of 100.

use super::Malformed;

/// How deep messages and groups may nest (`prost::RECURSION_LIMIT`); a request's own fields are at this depth.
pub(crate) const DEPTH_MAX: u32 = 100;

pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const LEN: u8 = 2;
const START_GROUP: u8 = 3;
const END_GROUP: u8 = 4;
pub(crate) const FIXED32: u8 = 5;

/// A field's number and wire type. Number 0 and wire types 6 and 7 are refused when the field is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub number: u32,
    pub wire: u8,
}

/// A length-delimited field: its tag begins at `start`, its payload is `body..end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub start: u32,
    pub body: u32,
    pub end: u32,
}

impl Extent {
    /// The payload, from the bytes that were indexed.
    #[inline]
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.body as usize..self.end as usize).unwrap_or_default()
    }
}

/// Reads the fields of one message. The bytes must be fewer than 4 GiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// Reads the payload of `extent`; positions stay those of `bytes`.
    #[inline]
    pub(crate) fn within(bytes: &'a [u8], extent: Extent) -> Reader<'a> {
        Reader { bytes: bytes.get(..extent.end as usize).unwrap_or_default(), at: extent.body as usize }
    }

    #[inline(always)]
    pub(crate) fn at(&self) -> u32 {
        self.at as u32
    }

    /// The next field's tag; None at the end of the message.
    #[inline(always)]
    pub(crate) fn tag(&mut self) -> Result<Option<Tag>, Malformed> {
        let Some(&first) = self.bytes.get(self.at) else { return Ok(None) };
        if first < 0x80 {
            self.at += 1;
            return Ok(Some(Tag { number: u32::from(first >> 3), wire: first & 7 }));
        }
        self.tag_long().map(Some)
    }

    /// Reads a tag of one byte if it comes next.
    #[inline(always)]
    pub(crate) fn tag_is(&mut self, tag: u8) -> bool {
        let is = self.bytes.get(self.at) == Some(&tag);
        self.at += usize::from(is);
        is
    }

    fn tag_long(&mut self) -> Result<Tag, Malformed> {
        let start = self.at;
        let key = self.varint()?;
        let Ok(key) = u32::try_from(key) else { return Err(malformed(start, "field key of more than 32 bits")) };
        Ok(Tag { number: key >> 3, wire: (key & 7) as u8 })
    }

    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        match self.bytes.get(self.at..) {
            Some(&[first, ..]) if first < 0x80 => {
                self.at += 1;
                Ok(u64::from(first))
            }
            Some(&[first, second, ..]) if second < 0x80 => {
                self.at += 2;
                Ok(u64::from(first & 0x7f) | u64::from(second) << 7)
            }
            _ => self.varint_long(),
        }
    }

    fn varint_long(&mut self) -> Result<u64, Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut value = 0;
        for (i, &byte) in rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                if i == 9 && byte > 1 {
                    break;
                }
                self.at += i + 1;
                return Ok(value);
            }
        }
        Err(malformed(self.at, "varint that is cut off or too large"))
    }

    #[inline(always)]
    pub(crate) fn fixed64(&mut self) -> Result<u64, Malformed> {
        let Some(bytes) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()) else {
            return Err(malformed(self.at, "fixed 64-bit value that is cut off"));
        };
        self.at += 8;
        Ok(u64::from_le_bytes(*bytes))
    }

    #[inline(always)]
    pub(crate) fn fixed32(&mut self) -> Result<u32, Malformed> {
        let Some(bytes) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()) else {
            return Err(malformed(self.at, "fixed 32-bit value that is cut off"));
        };
        self.at += 4;
        Ok(u32::from_le_bytes(*bytes))
    }

    /// The payload of a length-delimited field whose tag began at `start`.
    #[inline(always)]
    pub(crate) fn extent(&mut self, start: u32) -> Result<Extent, Malformed> {
        let length = self.varint()?;
        let body = self.at;
        if length > (self.bytes.len() - body) as u64 {
            return Err(malformed(body, "field that is longer than what encloses it"));
        }
        self.at = body + length as usize;
        Ok(Extent { start, body: body as u32, end: self.at as u32 })
    }

    /// The payload of a length-delimited field.
    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let extent = self.extent(0)?;
        Ok(extent.of(self.bytes))
    }

    /// Skips a field that is not known; `depth` is the nesting that is still allowed here.
    #[inline(always)]
    pub(crate) fn skip(&mut self, tag: Tag, depth: u32) -> Result<(), Malformed> {
        if tag.number == 0 {
            return Err(malformed(self.at, "field number 0"));
        }
        match tag.wire {
            LEN => self.extent(0).map(drop),
            VARINT => self.varint().map(drop),
            FIXED64 => self.fixed64().map(drop),
            FIXED32 => self.fixed32().map(drop),
            START_GROUP => self.skip_group(tag.number, depth),
            END_GROUP => Err(malformed(self.at, "end of a group that was not begun")),
            _ => Err(malformed(self.at, "unknown wire type")),
        }
    }

    fn skip_group(&mut self, number: u32, depth: u32) -> Result<(), Malformed> {
        loop {
            let Some(tag) = self.tag()? else { return Err(malformed(self.at, "group that does not end")) };
            if tag.wire == END_GROUP {
                return match tag.number == number {
                    true => Ok(()),
                    false => Err(malformed(self.at, "end of another group")),
                };
            }
            if depth <= 1 {
                return Err(malformed(self.at, "groups nested too deep"));
            }
            self.skip(tag, depth - 1)?;
        }
    }

    /// What to answer where a known field has another wire type than its own.
    #[cold]
    pub(crate) fn wrong_wire<T>(&self) -> Result<T, Malformed> {
        Err(malformed(self.at, "known field with a wrong wire type"))
    }
}

#[cold]
fn malformed(at: usize, what: &'static str) -> Malformed {
    Malformed { offset: at as u32, what }
}

/// Bytes that `value` takes as a varint: 1 to 5.
pub(crate) fn varint_len(value: u32) -> u32 {
    (38 - (value | 1).leading_zeros()) / 7
}

/// Appends `value` in the fewest bytes.
pub(crate) fn put_varint(mut value: u32, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// As [`put_varint`], up to 10 bytes.
pub(crate) fn put_varint64(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// All payloads of field `number`, one after the other: by protobuf's rules their concatenation is the merged message.
/// Each is walked once, so that a broken one cannot be completed by the next.
pub(crate) fn gather(message: &[u8], number: u32) -> Result<Vec<u8>, Malformed> {
    let mut merged = Vec::new();
    let mut fields = Reader::new(message);
    while let Some(tag) = fields.tag()? {
        if tag.number != number {
            fields.skip(tag, DEPTH_MAX)?;
            continue;
        }
        if tag.wire != LEN {
            return fields.wrong_wire();
        }
        let part = fields.bytes()?;
        let mut inner = Reader::new(part);
        while let Some(tag) = inner.tag()? {
            inner.skip(tag, DEPTH_MAX)?;
        }
        merged.extend_from_slice(part);
    }
    Ok(merged)
}
