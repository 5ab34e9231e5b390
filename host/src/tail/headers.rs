//! Headers of envelopes (ResourceSpans, ScopeSpans without their children), each different one once while any span has it.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use super::log::NONE;
use super::slab::Slab;
use super::table::Table;

/// Headers by number.
#[derive(Debug)]
pub(super) struct Headers {
    headers: Slab<Header>,
    /// Finds numbers by content.
    numbers: Table<u32>,
    hasher: FixedState,
    /// Bytes of the headers themselves.
    bytes: u64,
}

#[derive(Debug)]
struct Header {
    bytes: Box<[u8]>,
    /// Of a scope, the number of its resource's header; [`NONE`] of a resource.
    resource: u32,
    /// Records, scopes and callers that hold it.
    holders: u32,
    hash: u64,
}

impl Headers {
    pub(super) fn new(seed: u64) -> Headers {
        let hasher = FixedState::with_seed(seed);
        Headers { headers: Slab::new(), numbers: Table::new(1), hasher, bytes: 0 }
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> u64 {
        self.headers.bytes() + self.numbers.bytes() + self.bytes
    }

    /// At least the bytes that scopes, each with a resource of its own, would take in addition.
    pub(super) fn growth_by(&self, scopes: usize, bytes: usize) -> u64 {
        self.headers.growth_by(2 * scopes) + self.numbers.growth_by(2 * scopes) + bytes as u64
    }

    /// The number of a scope's header, which is held until it is released. None where there are too many.
    pub(super) fn hold(&mut self, resource: &[u8], scope: &[u8]) -> Option<u32> {
        let resource = self.intern(NONE, resource)?;
        let number = self.intern(resource, scope);
        // The scope holds its resource.
        self.release(resource);
        number
    }

    /// Holds a header once more.
    pub(super) fn retain(&mut self, number: u32) {
        if let Some(header) = self.headers.get_mut(number) {
            header.holders += 1;
        }
    }

    /// Lets a header go; it is freed once nobody holds it.
    pub(super) fn release(&mut self, number: u32) {
        let Some(header) = self.headers.get_mut(number) else { return };
        header.holders = header.holders.saturating_sub(1);
        if header.holders > 0 {
            return;
        }
        let Some(header) = self.headers.remove(number) else { return };
        self.numbers.remove(header.hash, |found| *found == number);
        self.numbers.shrink(header.hash, |&number| self.headers.get(number).map_or(0, |header| header.hash));
        self.bytes -= header.bytes.len() as u64;
        if header.resource != NONE {
            self.release(header.resource);
        }
    }

    /// Number and header of the resource of a scope, and the header of the scope.
    pub(super) fn of(&self, scope: u32) -> (u32, &[u8], &[u8]) {
        let Some(scope) = self.headers.get(scope) else { return (NONE, &[], &[]) };
        let resource = self.headers.get(scope.resource).map_or(&[][..], |header| &header.bytes);
        (scope.resource, resource, &scope.bytes)
    }

    fn intern(&mut self, resource: u32, bytes: &[u8]) -> Option<u32> {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(resource);
        hasher.write(bytes);
        let hash = hasher.finish();
        let same = |header: &Header| header.resource == resource && *header.bytes == *bytes;
        let known = self.numbers.find(hash, |&number| self.headers.get(number).is_some_and(same));
        if let Some(&number) = known {
            self.retain(number);
            return Some(number);
        }
        let number = self.headers.insert(Header { bytes: bytes.into(), resource, holders: 1, hash })?;
        self.numbers.insert(hash, number, |&number| self.headers.get(number).map_or(0, |header| header.hash));
        self.bytes += bytes.len() as u64;
        self.retain(resource);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ones_are_one_and_the_last_holder_frees_it() {
        let mut headers = Headers::new(1);
        let empty = headers.bytes();
        let a = headers.hold(b"resource", b"scope").expect("numbers are left");
        assert_eq!(headers.hold(b"resource", b"scope"), Some(a));
        let b = headers.hold(b"resource", b"other").expect("numbers are left");
        let c = headers.hold(b"", b"scope").expect("numbers are left");
        assert!(a != b && a != c && b != c);
        let (resource, bytes, scope) = headers.of(a);
        assert_eq!((bytes, scope), (&b"resource"[..], &b"scope"[..]));
        assert_eq!(headers.of(b), (resource, bytes, &b"other"[..]));
        assert_eq!((headers.of(c).1, headers.of(c).2), (&b""[..], &b"scope"[..]));
        headers.release(a);
        assert_eq!(headers.of(a).2, b"scope");
        headers.release(a);
        assert_eq!(headers.of(a).2, b"");
        assert_eq!(headers.of(b).1, b"resource");
        headers.release(b);
        headers.release(c);
        assert_eq!((headers.headers.len(), headers.numbers.len(), headers.bytes), (0, 0, 0));
        assert!(headers.bytes() < empty + 10_000);
    }
}
