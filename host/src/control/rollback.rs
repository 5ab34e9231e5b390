//! Going back to what served before.

use std::sync::Arc;

use super::kept::Past;
use super::{
    Candidate, Commit, Committed, Control, SwapError, Swapped, Who, blocking, digest, to_its_end, until_written,
};
use crate::config::model::Component;
use crate::pipeline::stage::Generation;

impl Control {
    /// Has a generation that served before serve again, as a new number: the one of number `to`, else the last one before what serves.
    /// Where its instances were kept nothing is built. Does not wait for the last batch of what is replaced: from its answer on, all
    /// that comes is judged by what it returned to.
    ///
    /// # Errors
    /// See [`SwapError`]; nothing has changed then.
    pub async fn rollback(self: &Arc<Self>, stage: &str, to: Option<u64>, who: Who) -> Result<Swapped, SwapError> {
        let (control, stage) = (Arc::clone(self), stage.to_owned());
        to_its_end(async move {
            let change = control.change.lock().await;
            let committed = control.rollback_alone(&stage, to, &who).await;
            let committed = control.noted(committed, Some(&stage), &who)?;
            drop(change);
            Ok(committed.at_once().await)
        })
        .await
    }

    async fn rollback_alone(&self, stage: &str, to: Option<u64>, who: &Who) -> Result<Committed, SwapError> {
        self.find(stage)?;
        let old = self.current.snapshot().named(stage).map(Arc::clone);
        let serving = old.as_ref().map_or(0, |old| old.number());
        let past = self.kept.target(stage, to).ok_or_else(|| SwapError::NoGeneration {
            stage: stage.to_owned(),
            wanted: to.map_or_else(|| "earlier generation".to_owned(), |number| format!("generation {number}")),
            known: numbers(&self.kept.numbers(stage)),
        })?;
        let number = serving + 1;
        let kept = past.generation.as_ref().and_then(|generation| generation.renumbered(number));
        let generation = match kept {
            Some(generation) => generation,
            None => self.build_again(&past, serving).await?,
        };
        let Past { stage: made_of, origin, number: before, .. } = past;
        let candidate =
            Candidate { generation, stage: made_of, old, rollback_to: Some((origin, before)), overruled: Vec::new() };
        let committed = self.commit(Commit::Stages, vec![candidate], &[], who);
        Ok(self.with_drift(committed, stage))
    }

    /// From what it was made of, if its component is still the same.
    async fn build_again(&self, past: &Past, serving: u64) -> Result<Arc<dyn Generation>, SwapError> {
        if let component @ Component::File { path, .. } = &past.stage.component {
            let (component, path) = (component.clone(), path.display().to_string());
            if blocking(move || digest(&component)).await?.as_ref() != Some(&past.digest) {
                return Err(SwapError::Gone { stage: past.stage.name.clone(), number: past.number, path });
            }
        }
        let built = self.build(past.stage.clone(), serving + 1).await;
        built.map_err(|source| self.failed(&past.stage.name, Some(serving), source))
    }
}

impl Committed {
    /// Of one stage, without waiting for batches.
    async fn at_once(mut self) -> Swapped {
        let mut swapped = self.swapped.remove(0);
        swapped.drained = self.draining.iter().all(tokio::task::JoinHandle::is_finished);
        until_written(self.written).await;
        swapped
    }
}

fn numbers(numbers: &[u64]) -> String {
    if numbers.is_empty() {
        return "none is known".to_owned();
    }
    format!("there are {}", numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", "))
}
