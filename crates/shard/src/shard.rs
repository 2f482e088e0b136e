//! The shard as its node sees it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hvs_filter::{Facet, PayloadSchema};
use hvs_index::{IndexConfig, IndexKind};
use hvs_kv::Kv;
use hvs_text::{Statistics, TextConfig, TextQuery};
use tokio::sync::watch;

use crate::config::{Compression, ShardConfig};
use crate::error::{CloseError, OpenError, ReadError, ReindexError, WriteError};
use crate::feed::{ChangesError, ChangesPage, ChangesRequest};
use crate::filter::Filter;
use crate::inner::Inner;
use crate::listing::{FacetRequest, MatchingPage, MatchingRequest};
use crate::operation::{WriteAnswer, WriteRequest};
use crate::ordered::{OrderedPage, OrderedRequest};
use crate::read::{
    ScrollPage, ScrollRequest, SearchAnswer, SearchRequest, ShardMemory, ShardStats,
};
use crate::record::Record;
use crate::reindex::IndexChange;
use crate::state::SearchState;
use crate::text::{Detail, DetailsRequest, ReplacedText, TextAnswer, TextChange, TextSearch};

/// One shard that this process leads. Cheap to clone; all clones are the same shard.
///
/// Reads are synchronous, take microseconds except where they say so, and never wait for a
/// writer. Dropping the last clone closes the shard.
#[derive(Clone)]
pub struct Shard {
    inner: Arc<Inner>,
}

impl Shard {
    /// Opens or creates the shard: takes over its log, replays what is not yet applied, and opens
    /// its indexes. `directory` holds its local state and belongs to it alone.
    ///
    /// Blocks until the shard is ready, which takes as long as there is log to replay.
    pub fn open(config: ShardConfig, kv: Arc<dyn Kv>, directory: &Path) -> Result<Self, OpenError> {
        Ok(Self { inner: Arc::new(Inner::open(config, kv, directory)?) })
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Removes the log and the local state of a shard that is not open and never will be again.
    /// Blocks. May be repeated after a failure.
    pub fn destroy(
        config: &ShardConfig,
        kv: Arc<dyn Kv>,
        directory: &Path,
    ) -> Result<(), OpenError> {
        Inner::destroy(config, kv, directory)
    }

    /// Applies operations in their order and answers when they are as durable as asked.
    ///
    /// The request is checked and encoded on the calling task, and carried out there if it asks
    /// for [`Durability::Memory`](crate::Durability) and the writer is not at work. Once it is
    /// queued it will be carried out even if the returned future is dropped.
    pub async fn write(&self, request: WriteRequest) -> Result<WriteAnswer, WriteError> {
        self.inner.write(request).await
    }

    /// The record of an id.
    pub fn get(&self, id: &str) -> Result<Option<Record>, ReadError> {
        self.inner.get(id)
    }

    /// The records of several ids, in the order of the ids, all from one state of the shard.
    pub fn get_many<I: AsRef<str>>(&self, ids: &[I]) -> Result<Vec<Option<Record>>, ReadError> {
        self.inner.get_many(ids)
    }

    /// A page of records in order of their ids. Takes as long as there are records to look at.
    pub fn scroll(&self, request: &ScrollRequest) -> Result<ScrollPage, ReadError> {
        self.inner.scroll(request)
    }

    /// The number of records, all of them or those that match. With a filter it looks at every
    /// record.
    pub fn count(
        &self,
        filter: Option<&Filter>,
        deadline: Option<Instant>,
    ) -> Result<u64, ReadError> {
        self.inner.count(filter, deadline)
    }

    /// The number of records as they are stored, expired ones that are not deleted yet among
    /// them: what costs nothing to know.
    pub fn stored(&self) -> u64 {
        self.inner.stored()
    }

    /// A page of the ids and versions of records that match, in order of their ids.
    pub fn matching(&self, request: &MatchingRequest) -> Result<MatchingPage, ReadError> {
        self.inner.matching(request)
    }

    /// How many records have each value of a property. It looks at every record, unless the index
    /// of metadata knows.
    pub fn facet(&self, request: &FacetRequest) -> Result<Facet, ReadError> {
        self.inner.facet(request)
    }

    /// A page of records in the order of a property. It looks at every record, unless the index of
    /// metadata knows the order.
    pub fn scroll_ordered(&self, request: &OrderedRequest) -> Result<OrderedPage, ReadError> {
        self.inner.scroll_ordered(request)
    }

    /// The nearest records. Exact and filtered searches take as long as there are vectors to
    /// compare.
    pub fn search(&self, request: &SearchRequest) -> Result<SearchAnswer, ReadError> {
        self.inner.search(request)
    }

    /// The state that a search would see now, to tell whether an answer is still that of another
    /// search; none while it changes.
    pub fn search_state(&self) -> Option<SearchState> {
        self.inner.search_state()
    }

    /// How many records are in memory alone. Every search compares all of them.
    pub fn memory_records(&self) -> usize {
        self.inner.memory.len()
    }

    /// What is known of the words of a query over all records of the shard. Fails if no text is
    /// indexed.
    pub fn text_statistics(
        &self,
        query: &TextQuery,
        deadline: Option<Instant>,
    ) -> Result<Statistics, ReadError> {
        self.inner.text_statistics(query, deadline)
    }

    /// The records whose text fits best. Takes as long as there are records with words of the
    /// query. Fails if no text is indexed.
    pub fn search_text(&self, request: &TextSearch) -> Result<TextAnswer, ReadError> {
        self.inner.search_text(request)
    }

    /// Records that were found, with their distances from a point: all from one state.
    pub fn details(&self, request: &DetailsRequest<'_>) -> Result<Vec<Detail>, ReadError> {
        self.inner.details(request)
    }

    /// The changes after a place, in their order: those of applied entries of the log, and so none
    /// of records in memory. Reads the log if records are wanted.
    pub fn changes(&self, request: &ChangesRequest) -> Result<ChangesPage, ChangesError> {
        self.inner.changes(request)
    }

    /// The entry up to which changes are not kept any more.
    pub fn changes_begin_after(&self) -> u64 {
        self.inner.feed_begins()
    }

    /// Tells the last entry that is applied, and ends with the shard. It holds nothing of the
    /// shard back.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.inner.follow()
    }

    /// Begins to change the index of a named vector. `generation` must be above that of the one in
    /// use, see [`ShardConfig::generations`]. Costs nothing until the index is
    /// [filled](IndexChange::fill).
    pub fn change_index(
        &self,
        name: &str,
        config: IndexConfig,
        generation: u64,
    ) -> Result<IndexChange, ReindexError> {
        IndexChange::begin(Arc::clone(&self.inner), name, config, generation)
    }

    /// Begins to build an index of text, beside the one in use if there is one. `generation` must
    /// be above that one's, see [`ShardConfig::text_generation`].
    pub fn change_text(
        &self,
        config: TextConfig,
        generation: u64,
    ) -> Result<TextChange, ReindexError> {
        TextChange::begin(Arc::clone(&self.inner), config, generation)
    }

    /// Gives up the index of text. Call it when it is written down where the shard's configuration
    /// comes from: a restart uses what is written there.
    pub fn drop_text(&self) -> Result<ReplacedText, ReindexError> {
        self.inner.drop_text()
    }

    /// Waits until the index of text that answers is complete. `go_on` is told often how many
    /// records it has read, and says whether to go on. Blocks.
    pub fn wait_for_text(&self, go_on: &dyn Fn(u64) -> bool) -> Result<(), ReindexError> {
        self.inner.wait_for_text(go_on)
    }

    /// Begins to index other fields of metadata. Until that is done what was indexed before
    /// answers; answers are the same with either.
    pub fn index_metadata(&self, schema: &PayloadSchema) -> Result<(), ReindexError> {
        let begun = self.inner.indexes.payload().build(schema);
        begun.map_err(|source| ReindexError::Thread { source })
    }

    /// Which properties a filter is about, each with whether they are indexed at this moment;
    /// where not, the records that may match are looked at.
    pub fn filter_properties(&self, filter: &Filter) -> BTreeMap<String, bool> {
        self.inner.filter_properties(filter)
    }

    /// Changes how widely the index of a vector is searched when a search does not say it:
    /// `ef_search` or `nprobe`. Whether the kind is otherwise that of the index; if not, nothing
    /// has changed.
    pub fn tune_index(&self, name: &str, kind: IndexKind) -> bool {
        self.inner.tune_index(name, kind)
    }

    /// Has records compressed so at rest: what is written from now on at once, what is there in
    /// the background.
    pub fn set_compression(&self, compression: Compression) {
        self.inner.store.records.set_compression(compression);
    }

    /// Counters and sizes.
    pub fn stats(&self) -> ShardStats {
        self.inner.stats()
    }

    /// What it holds in memory. Mapped files are not counted.
    pub fn memory(&self) -> ShardMemory {
        self.inner.memory_held()
    }

    /// Waits until every vector that was written before the call is in a durable segment of its
    /// index. Blocks for as long as segments take to build; nothing depends on it but
    /// measurements and tests.
    pub fn flush(&self) -> Result<(), ReadError> {
        self.inner.flush()
    }

    /// Forces the local state to the disk, as far as it has been applied, so that what is in it
    /// does not depend on the log. Blocks.
    pub fn persist(&self) -> Result<(), WriteError> {
        self.inner.persist()
    }

    /// Carries out what is queued, makes log and local state durable, and stops. Later writes are
    /// refused; reads go on. Blocks. A second call waits for the first.
    pub fn close(&self) -> Result<(), CloseError> {
        self.inner.close()
    }
}
