//! Makes a fixture of a component: what it imports and exports, exactly as its toolchain wrote it, without what it does. Every function
//! traps, memory is empty. A JavaScript component of 12 MB becomes one of 170 KB.
//!
//! `cargo run --release -p sluicebox-tests --example skeleton -- IN.wasm OUT.wasm`

use anyhow::Context as _;
use wasm_encoder::reencode::{Error, Reencode, ReencodeComponent};
use wasm_encoder::{CodeSection, Component, DataSection, Function, Instruction, Module};
use wasmparser::{CustomSectionReader, Data, DataKind, FunctionBody, Parser};

fn main() -> anyhow::Result<()> {
    let mut paths = std::env::args_os().skip(1);
    let (from, to) = (paths.next().context("IN.wasm is missing")?, paths.next().context("OUT.wasm is missing")?);
    let wasm = std::fs::read(from)?;
    let mut skeleton = Component::new();
    let copied = Skeleton.parse_component(&mut skeleton, Parser::new(0), &wasm);
    copied.map_err(|error| anyhow::anyhow!("not a component: {error:?}"))?;
    std::fs::write(to, skeleton.finish())?;
    Ok(())
}

struct Skeleton;

impl Reencode for Skeleton {
    type Error = std::convert::Infallible;

    fn parse_custom_section(&mut self, _: &mut Module, _: CustomSectionReader<'_>) -> Result<(), Error<Self::Error>> {
        Ok(())
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, _: FunctionBody<'_>) -> Result<(), Error<Self::Error>> {
        let mut function = Function::new([]);
        function.instruction(&Instruction::Unreachable).instruction(&Instruction::End);
        code.function(&function);
        Ok(())
    }

    /// Segments stay, since sections count them.
    fn parse_data(&mut self, data: &mut DataSection, segment: Data<'_>) -> Result<(), Error<Self::Error>> {
        match segment.kind {
            DataKind::Active { memory_index, offset_expr } => {
                let (memory, offset) = (self.memory_index(memory_index)?, self.const_expr(offset_expr)?);
                data.active(memory, &offset, []);
            }
            DataKind::Passive => {
                data.passive([]);
            }
        }
        Ok(())
    }
}

impl ReencodeComponent for Skeleton {
    fn parse_component_custom_section(
        &mut self,
        _: &mut Component,
        _: CustomSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        Ok(())
    }
}
