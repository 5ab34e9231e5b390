//! `editing`: changing fields of rows, and leaves and keys wherever they are.

use wasmtime::component::Resource;

use super::contents::{Of, unread};
use super::no_call;
use super::writing::{bytes_of, new_values};
use crate::batch::{Contents, Mode};
use crate::wasm::bindings::Values;
use crate::wasm::bindings::editing::Host;
use crate::wasm::fault::bad_output;
use crate::wasm::state::{BatchHandle, Call, FieldHandle, RowsHandle, RuleHandle, State};

type Batch = Resource<BatchHandle>;
type Field = Resource<FieldHandle>;
type Rule = Resource<RuleHandle>;

impl Host for State {
    fn set_values(
        &mut self,
        _: Batch,
        field: Field,
        by: Field,
        which: Vec<u32>,
        to: Values,
        why: Rule,
    ) -> wasmtime::Result<()> {
        self.write_by(&field, &by, &which, &to, &why, Mode::Set)
    }

    fn set_rows(
        &mut self,
        _: Batch,
        field: Field,
        which: Resource<RowsHandle>,
        to: Values,
        why: Rule,
    ) -> wasmtime::Result<()> {
        self.write_rows(&field, &which, &to, &why, Mode::Set)
    }

    fn replace_leaves(&mut self, _: Batch, which: Vec<u32>, to: Values, why: Rule) -> wasmtime::Result<()> {
        self.host_call(bytes_of(&to, &which))?;
        let to = new_values(&to, which.len())?;
        self.check_named(Of::Leaves, &which)?;
        let State { contents, call: Some(call), .. } = self else { return Err(no_call()) };
        let contents = contents.get().ok_or_else(unread)?;
        let Call { batch, effects, reading, .. } = call;
        let written = batch.replace_leaves(contents, &which, &to, &mut effects.edits, &mut reading.bytes_left);
        self.written(&why, written)
    }

    fn remove_keys(&mut self, _: Batch, keys: Vec<u32>, why: Rule) -> wasmtime::Result<()> {
        self.host_call(size_of_val(keys.as_slice()))?;
        self.check_named(Of::Keys, &keys)?;
        let State { contents, call: Some(call), .. } = self else { return Err(no_call()) };
        let contents = contents.get().ok_or_else(unread)?;
        let Call { batch, effects, reading, .. } = call;
        let written = batch.remove_keys(contents, &keys, &mut effects.edits, &mut reading.bytes_left);
        self.written(&why, written)
    }

    fn rename_keys(&mut self, _: Batch, keys: Vec<u32>, to: Values, why: Rule) -> wasmtime::Result<()> {
        self.host_call(bytes_of(&to, &keys))?;
        let to = new_values(&to, keys.len())?;
        self.check_named(Of::Keys, &keys)?;
        let State { contents, call: Some(call), .. } = self else { return Err(no_call()) };
        let contents = contents.get().ok_or_else(unread)?;
        let Call { batch, effects, reading, .. } = call;
        let written = batch.rename_keys(contents, &keys, &to, &mut effects.edits, &mut reading.bytes_left);
        self.written(&why, written)
    }
}

impl State {
    /// An error unless these were read in this call and each of them is named once.
    fn check_named(&mut self, of: Of, which: &[u32]) -> wasmtime::Result<()> {
        let contents: &Contents = self.contents.get().ok_or_else(unread)?;
        of.check(contents, which)?;
        let mut named = vec![false; of.count(contents) as usize];
        let is_repeated =
            |&number: &u32| named.get_mut(number as usize).is_some_and(|named| std::mem::replace(named, true));
        if which.iter().any(is_repeated) {
            return Err(bad_output("a leaf or key was named twice"));
        }
        Ok(())
    }
}
