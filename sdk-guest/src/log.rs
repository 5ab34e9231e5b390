use crate::host;

/// How grave a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// For who looks for a mistake.
    Debug,
    /// Worth knowing.
    Info,
    /// Someone should look.
    Warn,
    /// Someone has to act.
    Error,
}

impl Severity {
    fn of_host(self) -> host::Severity {
        match self {
            Severity::Debug => host::Severity::Debug,
            Severity::Info => host::Severity::Info,
            Severity::Warn => host::Severity::Warn,
            Severity::Error => host::Severity::Error,
        }
    }
}

/// A line of the engine's log that calls fill numbers into: logs never hold telemetry. Needs the grant `log`.
#[derive(Debug)]
pub struct LogLine {
    handle: host::Line,
}

impl LogLine {
    /// A text of 1 to 1,024 bytes in which every `{}` stands for a number, at most 8 of them. At most 64 lines. Only while configuring.
    pub fn open(severity: Severity, text: &str) -> Result<LogLine, String> {
        Ok(LogLine { handle: host::Line::open(severity.of_host(), text)? })
    }

    /// Writes it, with one number for each `{}`. It stays if the call fails. More lines in a second than the stage may write are left out.
    pub fn write(&self, numbers: &[f64]) {
        self.handle.write(numbers);
    }
}

/// Writes a text to the engine's log. Only while configuring, later it is a fault. Needs the grant `log`.
pub fn log(severity: Severity, text: &str) {
    host::write_log(severity.of_host(), text);
}
