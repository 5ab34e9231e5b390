//! `logging`: lines in the engine's log. While it is configured a guest has seen no telemetry, so it may say what it likes; later it
//! fills numbers into lines that it opened then.

use wasmtime::component::Resource;

use crate::wasm::bindings::logging::{Host, HostLine, Severity};
use crate::wasm::fault::bad_output;
use crate::wasm::logbook::write_number;
use crate::wasm::state::{LineHandle, LineSpec, State};

/// Lines of one instance.
const LINES_MAX: usize = 64;
/// Longest text of a line.
const LINE_BYTES_MAX: usize = 1024;
/// Numbers of a line.
const NUMBERS_MAX: usize = 8;
/// What a number stands for in a text.
const PLACE: &str = "{}";

type Line = Resource<LineHandle>;

impl Host for State {
    fn write(&mut self, severity: Severity, text: String) -> wasmtime::Result<()> {
        self.host_call(text.len())?;
        if !self.is_configuring {
            return Err(bad_output("a text was to be logged outside of `configure`, where lines take numbers only"));
        }
        let Self { logbook, given, .. } = self;
        logbook.write(&given.log, severity, &text);
        Ok(())
    }
}

impl HostLine for State {
    fn open(&mut self, severity: Severity, text: String) -> wasmtime::Result<Result<Line, String>> {
        self.host_call(text.len())?;
        Ok(self.open_line(severity, &text).map(Resource::new_own))
    }

    fn write(&mut self, line: Line, numbers: Vec<f64>) -> wasmtime::Result<()> {
        self.host_call(size_of_val(numbers.as_slice()))?;
        let Self { logbook, given, opened, .. } = self;
        let line = opened.lines.get(line.rep() as usize).ok_or_else(|| bad_output("a line that was not opened"))?;
        if numbers.len() + 1 != line.parts.len() {
            return Err(bad_output("a line was written with more or fewer numbers than it has places"));
        }
        let mut text = String::new();
        for (number, part) in line.parts.iter().enumerate() {
            if let Some(&number) = number.checked_sub(1).and_then(|before| numbers.get(before)) {
                write_number(&mut text, number);
            }
            text.push_str(part);
        }
        logbook.write(&given.log, line.severity, &text);
        Ok(())
    }

    fn drop(&mut self, _line: Line) -> wasmtime::Result<()> {
        // Lines live as long as the instance, as fields do.
        self.host_call(0)
    }
}

impl State {
    fn open_line(&mut self, severity: Severity, text: &str) -> Result<u32, String> {
        if !self.is_configuring {
            return Err("lines are opened in `configure` only".to_owned());
        }
        let lines = &mut self.opened.lines;
        if lines.len() >= LINES_MAX {
            return Err(format!("more than {LINES_MAX} lines"));
        }
        if text.is_empty() || text.len() > LINE_BYTES_MAX {
            return Err(format!("a line has 1 to {LINE_BYTES_MAX} bytes"));
        }
        let parts: Vec<String> = text.split(PLACE).map(str::to_owned).collect();
        if parts.len() > NUMBERS_MAX + 1 {
            return Err(format!("a line has at most {NUMBERS_MAX} numbers"));
        }
        lines.push(LineSpec { severity, parts });
        Ok(lines.len() as u32 - 1)
    }
}
