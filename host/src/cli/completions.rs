//! `sluicebox completions`: what a shell needs to complete this command line.

use std::io::Write;

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

/// Arguments of `completions`.
#[derive(Clone, Copy, Debug, Args)]
#[command(
    after_help = "Examples:\n  sluicebox completions bash > ~/.local/share/bash-completion/completions/sluicebox\n  sluicebox completions fish > ~/.config/fish/completions/sluicebox.fish"
)]
pub struct CompletionsArgs {
    /// Of which shell.
    shell: Kind,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Bash,
    Zsh,
    Fish,
}

/// Prints the shell's script.
pub fn run(args: CompletionsArgs, mut command: Command, out: &mut dyn Write) -> std::io::Result<()> {
    let shell = match args.shell {
        Kind::Bash => Shell::Bash,
        Kind::Zsh => Shell::Zsh,
        Kind::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "sluicebox", &mut script);
    out.write_all(&script)
}
