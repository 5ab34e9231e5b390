//! `adding`: giving rows a field that they do not have.

use wasmtime::component::Resource;

use crate::batch::Mode;
use crate::wasm::bindings::Values;
use crate::wasm::bindings::adding::Host;
use crate::wasm::state::{BatchHandle, FieldHandle, RowsHandle, RuleHandle, State};

type Batch = Resource<BatchHandle>;
type Field = Resource<FieldHandle>;

impl Host for State {
    fn insert(
        &mut self,
        _: Batch,
        field: Field,
        which: Resource<RowsHandle>,
        to: Values,
        why: Resource<RuleHandle>,
    ) -> wasmtime::Result<()> {
        self.write_rows(&field, &which, &to, &why, Mode::Insert)
    }

    fn insert_values(
        &mut self,
        _: Batch,
        field: Field,
        by: Field,
        which: Vec<u32>,
        to: Values,
        why: Resource<RuleHandle>,
    ) -> wasmtime::Result<()> {
        self.write_by(&field, &by, &which, &to, &why, Mode::Insert)
    }
}
