//! `host-hash`: keyed hashes, whose keys stay in the host.

use hmac::Mac as _;
use wasmtime::Trap;
use wasmtime::component::Resource;

use crate::wasm::bindings::host_hash::{Host, HostKey};
use crate::wasm::fault::bad_output;
use crate::wasm::keys::KeyedHash;
use crate::wasm::state::{KeyHandle, State};

/// Keys of one instance.
const KEYS_MAX: usize = 64;
/// Bytes of a hash.
const HASH_BYTES: usize = 32;
/// Between two looks at the guest's deadline, 50 to 250 us of work: while the host works for it, the clock does not stop the guest.
const BYTES_PER_LOOK: usize = 64 << 10;
/// What a text costs beside its own bytes, in bytes hashed: the padding of the inner hash, the outer one.
const TEXT_COST_BYTES: usize = 192;

impl Host for State {}

impl HostKey for State {
    fn open(&mut self, name: String) -> wasmtime::Result<Result<Resource<KeyHandle>, String>> {
        self.host_call(name.len())?;
        Ok(self.open_key(name).map(Resource::new_own))
    }

    fn hmac_sha256(
        &mut self,
        key: Resource<KeyHandle>,
        offsets: Vec<u32>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Vec<u8>> {
        let texts = offsets.len().saturating_sub(1);
        let hashes_bytes = texts.saturating_mul(HASH_BYTES);
        self.host_call(size_of_val(offsets.as_slice()).saturating_add(bytes.len()).saturating_add(hashes_bytes))?;
        let State { opened, given, deadline, .. } = self;
        let hash = opened.keys.get(key.rep() as usize).and_then(|name| given.keys.get(name));
        let hash = hash.ok_or_else(|| bad_output("a key that was not opened"))?;
        let mut hashes = Vec::with_capacity(hashes_bytes);
        let mut until_look = 0;
        let mut look = |cost: usize| {
            until_look += cost;
            if until_look < BYTES_PER_LOOK {
                return Ok(());
            }
            until_look = 0;
            if deadline.is_over() { Err(wasmtime::Error::from(Trap::Interrupt)) } else { Ok(()) }
        };
        for ends in offsets.windows(2) {
            let text = match ends {
                &[start, end] => bytes.get(start as usize..end as usize),
                _ => None,
            };
            let text = text.ok_or_else(|| bad_output("texts whose offsets do not fit their bytes"))?;
            hashes.extend_from_slice(&hash_of(hash, text, &mut look)?);
        }
        Ok(hashes)
    }

    fn drop(&mut self, _key: Resource<KeyHandle>) -> wasmtime::Result<()> {
        // Keys live as long as the instance, as fields do.
        self.host_call(0)
    }
}

fn hash_of(
    hash: &KeyedHash,
    text: &[u8],
    look: &mut impl FnMut(usize) -> wasmtime::Result<()>,
) -> wasmtime::Result<[u8; HASH_BYTES]> {
    let mut hash = hash.clone();
    look(TEXT_COST_BYTES)?;
    for part in text.chunks(BYTES_PER_LOOK) {
        hash.update(part);
        look(part.len())?;
    }
    Ok(hash.finalize().into_bytes().into())
}

impl State {
    fn open_key(&mut self, name: String) -> Result<u32, String> {
        if !self.is_configuring {
            return Err("keys are opened in `configure` only".to_owned());
        }
        if self.opened.keys.len() >= KEYS_MAX {
            return Err(format!("more than {KEYS_MAX} keys"));
        }
        if self.given.keys.get(&name).is_none() {
            let names: Vec<&str> = self.given.keys.names().collect();
            return Err(match names.as_slice() {
                [] => format!("no key is named `{name}`: the stage has no `keys`"),
                names => format!("no key is named `{name}`; `keys` has: {}", names.join(", ")),
            });
        }
        self.opened.keys.push(name);
        Ok(self.opened.keys.len() as u32 - 1)
    }
}
