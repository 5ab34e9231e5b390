//! `sluicebox components`: which component types this binary runs.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Map, json};

use super::output::Output;
use crate::config;

/// Arguments of `components`.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = "Example:\n  sluicebox components --output json")]
pub struct ComponentsArgs {
    /// How to print the list
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// Lists the types by section. Sections that have none are left out for people, and are empty lists for programs.
pub fn components(args: ComponentsArgs, out: &mut dyn Write) -> io::Result<()> {
    match args.output {
        Output::Human => {
            for (section, types) in config::supported_components().filter(|(_, types)| !types.is_empty()) {
                writeln!(out, "{section}:")?;
                types.iter().try_for_each(|name| writeln!(out, "  {name}"))?;
            }
            Ok(())
        }
        Output::Json => {
            let sections: Map<_, _> =
                config::supported_components().map(|(section, types)| (section.to_owned(), json!(types))).collect();
            writeln!(out, "{:#}", json!({ "version": env!("CARGO_PKG_VERSION"), "components": sections }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(output: Output) -> String {
        let mut out = Vec::new();
        components(ComponentsArgs { output }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn both_forms_list_the_same() {
        let human = print(Output::Human);
        assert!(human.starts_with("receivers:\n  otlp\nprocessors:\n  attributes\n  batch\n  filter\n"), "{human}");
        let document: serde_json::Value = serde_json::from_str(&print(Output::Json)).unwrap();
        assert_eq!(document["components"]["receivers"], json!(["otlp"]));
        assert_eq!(document["components"]["connectors"], json!([]));
        let listed = document["components"].as_object().unwrap().values().flat_map(|types| types.as_array().unwrap());
        assert_eq!(listed.count(), human.lines().filter(|line| line.starts_with("  ")).count());
    }
}
