//! Building indexes anew, beside those that answer.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use hvs_shard::{IndexChange, ReindexError, TextChange};

use super::{
    Catalogue, CatalogueError, Namespace, Settings, VectorSettings,
    alter::{Claim, set_text},
};

/// Indexes that are to be built anew, of a namespace that nobody else changes meanwhile.
pub struct Rebuild {
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) namespace: Arc<Namespace>,
    pub(super) vectors: BTreeMap<String, VectorSettings>,
    pub(super) text: Option<TextWork>,
    pub(super) claim: Claim,
}

/// What is to be done for an index of text.
pub(super) enum TextWork {
    /// It is being built already, and only waited for. The settings of the default vector from
    /// before it.
    Await(VectorSettings),
    /// It is built beside the one that answers. The settings of the default vector, which has it.
    Change(VectorSettings),
}

/// Why indexes were not built anew. Those before them are in use.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The catalogue, or the namespace was deleted.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A shard.
    #[error("shard {shard}: {source}")]
    Shard {
        /// Its number.
        shard: usize,
        /// Why.
        source: ReindexError,
    },
    /// It was not to go on.
    #[error("the task was cancelled; the indexes are as they were")]
    Cancelled,
}

fn of_shard(shard: usize) -> impl Fn(ReindexError) -> RebuildError {
    move |source| match source {
        ReindexError::Cancelled => RebuildError::Cancelled,
        source => RebuildError::Shard { shard, source },
    }
}

/// Waits for what is to be done by the catalogue.
type Wait<'a> = Box<dyn Future<Output = Result<(), CatalogueError>> + Send + 'a>;

impl Rebuild {
    /// The name of the namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace.name
    }

    /// About how many rows are to be built.
    pub fn rows(&self) -> u64 {
        let records: u64 = self.namespace.shards().iter().map(|shard| shard.stats().records).sum();
        records.saturating_mul(self.vectors.len() as u64 + u64::from(self.text.is_some()))
    }

    /// Builds the indexes and lets them answer. `go_on` is told how many rows are built, and says
    /// whether to go on; if not, everything is made as it was, unless the node stops. Blocks the
    /// thread, `wait` with what it is given.
    ///
    /// # Errors
    /// [`RebuildError`].
    pub fn run(
        mut self,
        go_on: &dyn Fn(u64) -> bool,
        is_stopping: &dyn Fn() -> bool,
        wait: impl FnOnce(std::pin::Pin<Wait<'_>>) -> Result<(), CatalogueError>,
    ) -> Result<(), RebuildError> {
        let text = self.text.take();
        let done = Cell::new(0);
        let last = Cell::new(0);
        let step = |built: u64| {
            last.set(built);
            !self.claim.ends.load(Ordering::Acquire) && go_on(done.get() + built)
        };
        let next = || done.set(done.get() + last.take());
        let changes = self.build_vectors(&step, &next)?;
        let text = match text {
            None => None,
            Some(TextWork::Await(before)) => {
                for (number, shard) in self.namespace.shards().iter().enumerate() {
                    let waited = shard.wait_for_text(&step).map_err(of_shard(number));
                    let is_given_up = matches!(waited, Err(RebuildError::Cancelled));
                    if is_given_up && !is_stopping() && !self.claim.ends.load(Ordering::Acquire) {
                        self.take_text_away(before, wait)?;
                        return Err(RebuildError::Cancelled);
                    }
                    waited?;
                    next();
                }
                None
            }
            Some(TextWork::Change(settings)) => {
                Some((self.build_text(&settings, &step, &next)?, settings))
            }
        };
        if changes.is_empty() && text.is_none() {
            return Ok(());
        }
        self.switch(changes, text, wait)
    }

    fn build_vectors(
        &self,
        step: &dyn Fn(u64) -> bool,
        next: &dyn Fn(),
    ) -> Result<Vec<(usize, IndexChange)>, RebuildError> {
        let mut changes = Vec::new();
        for (vector, settings) in &self.vectors {
            let config = settings.index_config(&self.catalogue.surroundings.config);
            let mut config = config.map_err(CatalogueError::from)?;
            config.builders = self.catalogue.surroundings.builders.clone();
            for (number, shard) in self.namespace.shards().iter().enumerate() {
                let change = shard.change_index(vector, config.clone(), settings.generation);
                let change = change.map_err(of_shard(number))?;
                change.fill(step).map_err(of_shard(number))?;
                next();
                changes.push((number, change));
            }
        }
        Ok(changes)
    }

    fn build_text(
        &self,
        settings: &VectorSettings,
        step: &dyn Fn(u64) -> bool,
        next: &dyn Fn(),
    ) -> Result<Vec<TextChange>, RebuildError> {
        let mut after: Settings = self.namespace.entry.settings.clone();
        set_text(&mut after, settings.clone());
        let config = after.text_config(&self.catalogue.surroundings.config);
        let Some(config) = config.map_err(CatalogueError::from)? else { return Ok(Vec::new()) };
        let mut changes = Vec::new();
        for (number, shard) in self.namespace.shards().iter().enumerate() {
            let change = shard.change_text(config.clone(), after.text_generation);
            let change = change.map_err(of_shard(number))?;
            change.wait(step).map_err(of_shard(number))?;
            next();
            changes.push(change);
        }
        Ok(changes)
    }

    /// Makes the settings as they were before an index of text was added.
    fn take_text_away(
        &self,
        before: VectorSettings,
        wait: impl FnOnce(std::pin::Pin<Wait<'_>>) -> Result<(), CatalogueError>,
    ) -> Result<(), RebuildError> {
        let change = |all: &mut Settings| {
            all.vectors.insert(String::new(), before);
        };
        let put = self.catalogue.put_settings(&self.namespace, change, || {});
        wait(Box::pin(put))?;
        for (number, shard) in self.namespace.shards().iter().enumerate() {
            let dropped = shard.drop_text().and_then(hvs_shard::ReplacedText::remove);
            dropped.map_err(of_shard(number))?;
        }
        Ok(())
    }

    /// Writes down what is complete now, and lets it answer.
    fn switch(
        &self,
        changes: Vec<(usize, IndexChange)>,
        text: Option<(Vec<TextChange>, VectorSettings)>,
        wait: impl FnOnce(std::pin::Pin<Wait<'_>>) -> Result<(), CatalogueError>,
    ) -> Result<(), RebuildError> {
        let (text, settings) = text.unzip();
        let (mut replaced, mut replaced_text, mut failure) = (Vec::new(), Vec::new(), None);
        let switch = || {
            for (shard, change) in changes {
                match IndexChange::switch(change) {
                    Ok(index) => replaced.push(index),
                    Err(source) => failure = Some(RebuildError::Shard { shard, source }),
                }
            }
            replaced_text.extend(text.into_iter().flatten().map(TextChange::switch));
        };
        let change = |all: &mut Settings| {
            all.vectors.extend(self.vectors.clone());
            if let Some(settings) = settings {
                set_text(all, settings);
            }
        };
        let put = self.catalogue.put_settings(&self.namespace, change, switch);
        wait(Box::pin(put))?;
        let removed = replaced.into_iter().map(hvs_shard::ReplacedIndex::remove);
        let removed = removed.chain(replaced_text.into_iter().map(hvs_shard::ReplacedText::remove));
        for error in removed.filter_map(Result::err) {
            // It is removed at the next start.
            tracing::warn!(hvs.namespace = self.namespace.name, %error, "an old index is left");
        }
        failure.map_or(Ok(()), Err)
    }
}
