//! `dropping`: naming rows to drop, and the rule they are accounted to.

use wasmtime::component::Resource;

use crate::pipeline::stage::RuleDrop;
use crate::wasm::bindings::dropping::Host;
use crate::wasm::state::{BatchHandle, RowsHandle, RuleHandle, State};

impl Host for State {
    fn drop(
        &mut self,
        _batch: Resource<BatchHandle>,
        which: Resource<RowsHandle>,
        why: Resource<RuleHandle>,
    ) -> wasmtime::Result<()> {
        let rows = self.rows.get(which.rep())?.clone();
        // The host keeps a copy until the call's effects are applied.
        self.host_call(rows.len().div_ceil(8) as usize)?;
        let rule = self.rule(&why)?;
        self.call()?.effects.drops.push(RuleDrop { rows, rule });
        Ok(())
    }
}
