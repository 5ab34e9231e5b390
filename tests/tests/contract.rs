//! The contract is frozen: what was built for version 0.1.0 still links, in every role and from every toolchain.

#[allow(dead_code, reason = "shared with the tests of the runtime")]
#[path = "wasm_runtime/lab.rs"]
mod lab;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sluicebox::config::model::Component;
use sluicebox::wasm::{GenerationSpec, Role, Step};

use lab::{Lab, spec};

/// What was released together, each in a folder with its fixtures.
const RELEASED: [(&str, &str); 2] = [("0.1.0", "telemetry.wit"), ("0.1.0-capabilities", "capabilities.wit")];

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/contract");
    let of_release = |(release, _): (&str, &str)| fs::read_dir(folder.join(release)).expect("the fixtures");
    let files = RELEASED.into_iter().flat_map(of_release).map(|entry| entry.expect("an entry").path());
    let mut fixtures: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "wasm")).collect();
    fixtures.sort();
    fixtures
}

#[test]
fn what_was_built_for_the_contract_still_links() {
    let lab = Lab::new();
    let mut seen = BTreeSet::new();
    for path in fixtures() {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let component = Component::File { path, sha256: None };
        let info = lab.runtime.describe(&component).unwrap_or_else(|error| panic!("{name}: {error}"));
        let is_policy =
            name.ends_with("-sampler") && !name.contains("probabilistic") || name.ends_with("tail-sampling");
        assert_eq!(info.role, if is_policy { Role::Policy } else { Role::Processor }, "{name}");
        seen.extend(info.imports.iter().map(|interface| interface.as_str()));

        let built = lab.runtime.build_generation(GenerationSpec { component, role: info.role, ..spec("{}") });
        if name.contains("-whole-") {
            built.unwrap_or_else(|error| panic!("{name}: {error}"));
        } else {
            // It was verified, compiled and linked; what traps is its code, which a skeleton does not have.
            let error = built.expect_err("a skeleton has no code");
            assert_eq!(error.step(), Step::Configure, "{name}: {error}");
        }
    }
    let all = [
        "adding",
        "batches",
        "clock",
        "contents",
        "dropping",
        "editing",
        "fields",
        "host-hash",
        "host-state",
        "logging",
        "lookup",
        "metering",
        "traces",
    ];
    assert_eq!(seen, BTreeSet::from(all), "every interface is in some fixture");
}

/// The text of the contract without its comments: what is promised.
#[test]
fn the_contract_is_as_it_was_released() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (release, file) in RELEASED {
        let text = fs::read_to_string(root.join("../wit").join(file)).expect("the contract");
        let code =
            text.lines().map(|line| line.split("//").next().unwrap_or_default().trim()).filter(|line| !line.is_empty());
        let released = root.join("cases/contract").join(release).join(file);
        assert_eq!(
            code.collect::<Vec<_>>().join("\n") + "\n",
            fs::read_to_string(released).expect("as released"),
            "a released interface never changes: growth is a new one"
        );
    }
}
