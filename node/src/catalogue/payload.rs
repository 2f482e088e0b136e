//! Which metadata of a namespace is indexed.

use hvs_api::{PayloadIndex, PayloadIndexing, PayloadType};
use hvs_shard::{FieldPath, FieldType, PayloadSchema};
use serde::{Deserialize, Serialize};

use super::settings::SettingsError;
use crate::config::Limits;

/// Nothing left out, as the catalogue keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadSettings {
    /// Whether other fields than those that are declared are indexed.
    #[serde(default)]
    pub indexing: PayloadIndexing,
    /// Those that are declared, by their paths.
    #[serde(default)]
    pub indexes: Vec<PayloadIndex>,
}

fn wrong(reason: impl Into<String>) -> SettingsError {
    SettingsError::Payload { reason: reason.into() }
}

impl PayloadSettings {
    /// What a request makes of what there is. Checks what it gives.
    pub(super) fn resolve(
        indexing: Option<PayloadIndexing>,
        indexes: Option<&[PayloadIndex]>,
        existing: Option<&Self>,
        limits: &Limits,
    ) -> Result<Self, SettingsError> {
        let existing = existing.cloned().unwrap_or_default();
        let indexing = indexing.unwrap_or(existing.indexing);
        let Some(given) = indexes else { return Ok(Self { indexing, ..existing }) };
        if given.len() > limits.payload_indexes {
            return Err(wrong(format!(
                "{} fields are declared, at most {} are allowed",
                given.len(),
                limits.payload_indexes
            )));
        }
        let mut indexes = given.to_vec();
        indexes.sort_by(|left, right| left.field.cmp(&right.field));
        for index in &indexes {
            check_path(&index.field, limits).map_err(wrong)?;
        }
        for pair in indexes.windows(2) {
            if let [one, other] = pair
                && one.field == other.field
            {
                return Err(wrong(format!("{:?} is declared twice", one.field)));
            }
        }
        Ok(Self { indexing, indexes })
    }

    /// As a shard has it.
    pub(super) fn schema(&self) -> PayloadSchema {
        let declared = self.indexes.iter();
        PayloadSchema {
            only_declared: self.indexing == PayloadIndexing::Declared,
            declared: declared.map(|index| (index.field.clone(), of_type(index.kind))).collect(),
        }
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether something is a path into metadata, of a length that is allowed.
pub(super) fn check_path(path: &str, limits: &Limits) -> Result<(), String> {
    if path.len() > limits.path_bytes {
        return Err(format!(
            "a path has {} bytes, at most {} are allowed",
            path.len(),
            limits.path_bytes
        ));
    }
    FieldPath::parse(path).map(drop).map_err(|error| error.to_string())
}

fn of_type(kind: PayloadType) -> FieldType {
    match kind {
        PayloadType::Keyword => FieldType::Keyword,
        PayloadType::Integer => FieldType::Integer,
        PayloadType::Float => FieldType::Float,
        PayloadType::Bool => FieldType::Bool,
        PayloadType::Datetime => FieldType::Datetime,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(field: &str, kind: PayloadType) -> PayloadIndex {
        PayloadIndex { field: field.to_owned(), kind }
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let limits = Limits { payload_indexes: 2, path_bytes: 5, ..Limits::default() };
        let resolve = |fields: &[&str]| {
            let indexes: Vec<_> =
                fields.iter().map(|field| index(field, PayloadType::Keyword)).collect();
            PayloadSettings::resolve(None, Some(&indexes), None, &limits)
        };
        assert_eq!(resolve(&["b", "a.b.c"]).unwrap().indexes.len(), 2);
        let refused: [&[&str]; 7] =
            [&["a", "b", "c"], &["a.b.cd"], &["a", "a"], &[""], &["a..b"], &["$kind"], &["a."]];
        for fields in refused {
            assert!(resolve(fields).is_err(), "{fields:?}");
        }
    }

    #[test]
    fn what_is_left_out_stays_and_the_order_does_not_matter() {
        let limits = Limits::default();
        let resolve = PayloadSettings::resolve;
        let indexes = [index("b", PayloadType::Integer), index("a", PayloadType::Datetime)];
        let declared = Some(PayloadIndexing::Declared);
        let first = resolve(declared, Some(&indexes), None, &limits).unwrap();
        let [b, a] = indexes;
        assert_eq!(resolve(None, Some(&[a, b]), Some(&first), &limits).unwrap(), first);
        assert_eq!(resolve(None, None, Some(&first), &limits).unwrap(), first);
        let none = resolve(None, Some(&[]), Some(&first), &limits).unwrap();
        assert_eq!((none.indexing, none.indexes), (PayloadIndexing::Declared, vec![]));
        let schema = first.schema();
        assert!(schema.only_declared);
        assert_eq!(schema.declared["b"], FieldType::Integer);
        assert!(!first.is_default() && PayloadSettings::default().is_default());
    }
}
