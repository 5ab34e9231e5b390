//! Components that are made to cost their compiler as much as can be: each is a processor by its outside.

use wasm_encoder::{
    BlockType, CodeSection, Component, ComponentExportKind, ComponentExportSection, ComponentInstanceSection,
    ComponentTypeSection, CustomSection, DataSection, Function, FunctionSection, InstructionSink, MemorySection,
    MemoryType, Module, ModuleSection, NestedComponentSection, PrimitiveValType, TypeSection, ValType,
};

/// Kinds of bombs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum Bomb {
    HugeFunction,
    ManyLocals,
    DeepBlocks,
    ManyFunctions,
    ManyTypes,
    ManyDataSegments,
    DoublingTypes,
    NestedComponents,
    /// Valid, and takes minutes: each of many functions holds jumps from everywhere to everywhere.
    Jumps,
}

/// Past a limit of the validator: bombs that are refused as soon as they are looked at.
const FUNCTION_BYTES: usize = 8_000_000;
const FUNCTIONS: u32 = 1_000_001;
const TYPES: u32 = 1_000_001;
const DATA_SEGMENTS: u32 = 100_001;
const LOCALS: u32 = 50_001;
const DEPTH: usize = 500_000;
const DOUBLINGS: u32 = 64;
const NESTED: usize = 1_200;
/// Each function is a little below the largest that is valid, all of them below the largest component.
const JUMP_FUNCTIONS: u32 = 4;
const JUMP_TARGETS: usize = 2_000;
const JUMP_TABLES: usize = 1_500;

impl Bomb {
    /// All that are refused at once.
    pub const QUICK: [Bomb; 8] = [
        Bomb::HugeFunction,
        Bomb::ManyLocals,
        Bomb::DeepBlocks,
        Bomb::ManyFunctions,
        Bomb::ManyTypes,
        Bomb::ManyDataSegments,
        Bomb::DoublingTypes,
        Bomb::NestedComponents,
    ];

    /// The component.
    pub fn component(self) -> Vec<u8> {
        let mut component = Component::new();
        match self {
            Bomb::DoublingTypes => {
                component.section(&doubling_types());
            }
            Bomb::NestedComponents => {
                component.section(&NestedComponentSection(&nested(NESTED)));
            }
            _ => {
                component.section(&ModuleSection(&self.module()));
            }
        }
        finish(component)
    }

    fn module(self) -> Module {
        match self {
            Bomb::HugeFunction => of_function(&[], |code| {
                for _ in 0..FUNCTION_BYTES {
                    code.nop();
                }
            }),
            Bomb::ManyLocals => of_function(&[(LOCALS, ValType::I64)], |_| {}),
            Bomb::DeepBlocks => of_function(&[], |code| {
                for _ in 0..DEPTH {
                    code.block(BlockType::Empty);
                }
                for _ in 0..DEPTH {
                    code.end();
                }
            }),
            Bomb::ManyTypes => {
                let mut types = TypeSection::new();
                for _ in 0..TYPES {
                    types.ty().function([], []);
                }
                let mut module = Module::new();
                module.section(&types);
                module
            }
            Bomb::ManyDataSegments => {
                let mut memories = MemorySection::new();
                let memory =
                    MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None };
                memories.memory(memory);
                let mut data = DataSection::new();
                for _ in 0..DATA_SEGMENTS {
                    data.passive([0]);
                }
                let mut module = Module::new();
                module.section(&memories).section(&data);
                module
            }
            Bomb::Jumps => of_functions(JUMP_FUNCTIONS, &[(1, ValType::I32)], jumps),
            Bomb::ManyFunctions | Bomb::DoublingTypes | Bomb::NestedComponents => of_functions(FUNCTIONS, &[], |_| {}),
        }
    }
}

/// The same component under another digest: a custom section (WebAssembly, "Custom Section") that says which one it is.
pub fn variant(component: &[u8], number: u64) -> Vec<u8> {
    let data = number.to_be_bytes();
    let mut variant = component.to_vec();
    let section = CustomSection { name: "variant".into(), data: data.as_slice().into() };
    wasm_encoder::ComponentSection::append_to_component(&section, &mut variant);
    variant
}

/// Exports what makes it a processor, as far as can be seen without compiling it.
fn finish(mut component: Component) -> Vec<u8> {
    let (mut instances, mut exports) = (ComponentInstanceSection::new(), ComponentExportSection::new());
    for (index, name) in (0..).zip(["plugin", "processor"]) {
        let nothing: [(&str, ComponentExportKind, u32); 0] = [];
        instances.export_items(nothing);
        let name = format!("sluicebox:telemetry/{name}@0.1.0");
        exports.export(name.as_str(), ComponentExportKind::Instance, index, None);
    }
    component.section(&instances).section(&exports);
    component.finish()
}

fn of_function(locals: &[(u32, ValType)], body: impl Fn(&mut InstructionSink<'_>)) -> Module {
    of_functions(1, locals, body)
}

fn of_functions(count: u32, locals: &[(u32, ValType)], body: impl Fn(&mut InstructionSink<'_>)) -> Module {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut function = Function::new(locals.iter().copied());
    body(&mut function.instructions());
    function.instructions().end();
    let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
    for _ in 0..count {
        functions.function(0);
        code.function(&function);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    module
}

/// Tables of jumps out of nested blocks, each to all of them, between which values stay alive.
fn jumps(code: &mut InstructionSink<'_>) {
    let targets: Vec<u32> = (0..JUMP_TARGETS as u32).collect();
    code.loop_(BlockType::Empty);
    for _ in 0..JUMP_TARGETS {
        code.block(BlockType::Empty);
    }
    for table in 0..JUMP_TABLES {
        code.local_get(0).i32_const(table as i32).i32_xor().local_tee(0);
        code.if_(BlockType::Empty).local_get(0).br_table(targets.iter().copied(), 0).end();
    }
    for _ in 0..JUMP_TARGETS {
        code.local_get(0).i32_const(3).i32_mul().local_set(0).end();
    }
    code.br(0).end();
}

/// Each type is a pair of the one before it.
fn doubling_types() -> ComponentTypeSection {
    let mut types = ComponentTypeSection::new();
    types
        .defined_type()
        .tuple([PrimitiveValType::String, PrimitiveValType::String].map(wasm_encoder::ComponentValType::Primitive));
    for before in 0..DOUBLINGS {
        types.defined_type().tuple([wasm_encoder::ComponentValType::Type(before); 2]);
    }
    types
}

fn nested(depth: usize) -> Component {
    let mut component = Component::new();
    for _ in 1..depth {
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(&component));
        component = outer;
    }
    component
}
