use crate::host;

/// Nanoseconds since 1970-01-01 UTC by the machine's clock, which may be set back; the same throughout a call. Needs the grant `clock`.
pub fn now_unix_nano() -> u64 {
    host::now_unix_nano()
}
