//! Which records an answer is made of.

use hvs_filter::Fields;

use crate::codec::DecodeError;
use crate::memory::Held;
use crate::record::Metadata;
use crate::stored::StoredRecord;

/// What a record must be like to be part of an answer. Everything given must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// What its metadata and labels must be like.
    pub condition: hvs_filter::Filter,
    /// Its partition key, which is its id where it was given none.
    pub partition_key: Option<String>,
    /// Not these records, by their ids.
    pub without: Vec<String>,
}

impl Default for Filter {
    /// Every record matches.
    fn default() -> Self {
        hvs_filter::Filter::And(Vec::new()).into()
    }
}

impl From<hvs_filter::Filter> for Filter {
    fn from(condition: hvs_filter::Filter) -> Self {
        Self { condition, partition_key: None, without: Vec::new() }
    }
}

impl Filter {
    /// Nothing is asked for: every record matches.
    pub fn is_empty(&self) -> bool {
        self.condition.is_empty() && self.partition_key.is_none() && self.without.is_empty()
    }

    /// Whether a record is left out by its id.
    pub(crate) fn leaves_out(&self, id: &[u8]) -> bool {
        self.without.iter().any(|without| without.as_bytes() == id)
    }

    /// Whether a record in memory matches.
    pub(crate) fn matches_held(&self, held: &Held) -> Result<bool, DecodeError> {
        self.matches(held.id.as_bytes(), &StoredRecord::decode(&held.row)?)
    }

    /// Whether a stored record matches.
    pub(crate) fn matches(
        &self,
        id: &[u8],
        stored: &StoredRecord<'_>,
    ) -> Result<bool, DecodeError> {
        if self.leaves_out(id) {
            return Ok(false);
        }
        let content = &stored.content;
        let partition_key = content.partition_key;
        if let Some(wanted) = &self.partition_key
            && partition_key.map_or(id, str::as_bytes) != wanted.as_bytes()
        {
            return Ok(false);
        }
        let metadata =
            if self.condition.needs_metadata() { content.metadata()? } else { Metadata::new() };
        let (kind, region) = (content.kind, content.region);
        Ok(self.condition.matches(&Fields { kind, region, partition_key, metadata: &metadata }))
    }
}
