//! `clock`: the time, read once for each call.

use std::time::SystemTime;

use crate::wasm::bindings::clock::Host;
use crate::wasm::state::State;

impl Host for State {
    fn now_unix_nano(&mut self) -> wasmtime::Result<u64> {
        self.host_call(0)?;
        Ok(*self.now_unix_nano.get_or_insert_with(now_unix_nano))
    }
}

/// 0 where the machine's clock is before 1970.
fn now_unix_nano() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
