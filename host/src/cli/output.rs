//! Forms of output and what a command's exit code means.

use clap::ValueEnum;

/// Done.
pub const EXIT_OK: u8 = 0;
/// A configuration or component that cannot be used.
pub const EXIT_INVALID: u8 = 3;

/// `--output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for people.
    #[default]
    Human,
    /// One JSON document for programs.
    Json,
}
