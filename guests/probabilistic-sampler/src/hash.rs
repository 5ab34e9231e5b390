//! Randomness of what is hashed, bit for bit as the Collector's `hash_seed` mode has it.

/// Of the 32-bit FNV-1a hash (Fowler, Noll, Vo).
const OFFSET_BASIS: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;
/// Items fall into this many buckets, by the low bits of their hash.
pub const BUCKET_BITS: u32 = 14;
pub const BUCKETS: u32 = 1 << BUCKET_BITS;

/// 56 bits, of which the first 14 decide: the complement of the bucket, as the Collector once kept buckets below a bound and randomness is
/// kept from a threshold on. Then come 28 bits made of the first 14 of the hash, then the bucket itself.
pub fn randomness(seed: u32, bytes: &[u8]) -> u64 {
    let hash = fnv1a(seed.to_le_bytes().iter().chain(bytes));
    let bucket = u64::from(hash % BUCKETS);
    let first = u64::from(hash >> (32 - BUCKET_BITS));
    let spread = first ^ (first << 10);
    (u64::from(BUCKETS) - 1 - bucket) << 42 | spread << BUCKET_BITS | bucket
}

fn fnv1a<'b>(bytes: impl Iterator<Item = &'b u8>) -> u32 {
    bytes.fold(OFFSET_BASIS, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME))
}
