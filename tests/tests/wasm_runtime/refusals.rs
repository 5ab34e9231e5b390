//! Candidates that strike before they serve: each is refused at its step and called by its name, tells nothing in a way that harms who
//! reads it, and leaves nothing behind.

use bytes::Bytes;
use sluicebox::config::model::Component;
use sluicebox::wasm::{BuildError, ConfigureError, GenerationSpec, ProbeError};
use sluicebox_tests::hostile::made::Made;
use sluicebox_tests::hostile::{Guest, Misdeed, Strikes, Told, misdeeds};

use crate::lab::{Lab, redactor, spec, wait_for};

fn of(misdeed: &Misdeed) -> GenerationSpec {
    match misdeed.guest {
        Guest::Redactor => redactor(misdeed.behaviour),
        Guest::Filter | Guest::Policy | Guest::Made => GenerationSpec {
            component: Component::Uploaded(Bytes::from(misdeed.component().expect("is made"))),
            ..spec(misdeed.behaviour)
        },
    }
}

/// The class of the fault, where it is one, and when it was.
fn told(error: &BuildError) -> Option<(Option<&'static str>, Strikes)> {
    Some(match error {
        BuildError::Configure(ConfigureError::Instantiate(fault)) => {
            (Some(fault.kind.as_str()), Strikes::Instantiating)
        }
        BuildError::Configure(ConfigureError::Faulted(fault)) => (Some(fault.kind.as_str()), Strikes::Configuring),
        BuildError::Configure(ConfigureError::Rejected(_)) => (None, Strikes::Configuring),
        BuildError::Probe(ProbeError { fault, .. }) => (Some(fault.kind.as_str()), Strikes::Probed),
        _ => return None,
    })
}

/// What is wrong with how a misdeed was refused, if anything is.
fn wrong(misdeed: &Misdeed) -> Option<String> {
    let Misdeed { behaviour, kind, strikes, .. } = misdeed;
    let lab = Lab::new();
    let Err(error) = lab.runtime.build_generation(of(misdeed)) else { return Some(format!("{behaviour}: it serves")) };
    wait_for(|| lab.budget.bytes_used() == 0);
    let text = error.to_string();
    let steers = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    // Further lines are indented, so that none looks like one of the engine's.
    let is_forged = text.lines().skip(1).any(|line| !line.starts_with(' '));
    let is_right = told(&error) == Some((*kind, *strikes)) && misdeed.step() == Some(error.step().as_str());
    (!is_right || text.contains(steers) || is_forged).then(|| format!("{behaviour}: {error:?}"))
}

#[test]
fn each_is_refused_at_its_step_by_its_name() {
    let refused: Vec<_> = misdeeds().filter(|misdeed| misdeed.told == Told::Refused).collect();
    assert!(refused.len() > 40);
    let wrong: Vec<_> = refused.into_iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn made_by_hand_is_a_component_that_works_but_for_its_misdeed() {
    let wasm = Made::component("nothing").expect("is made");
    let good = GenerationSpec { component: Component::Uploaded(Bytes::from(wasm)), ..spec("nothing") };
    let generation = Lab::new().runtime.build_generation(good).expect("builds");
    crate::lab::call(&mut *generation.instance().expect("is prepared"), &crate::lab::traces(10)).expect("judges");
}
