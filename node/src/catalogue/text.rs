//! The settings of an index of text: the type HYBRID of the default vector's index.

use std::time::Duration;

use hvs_api::{IndexSpec, IndexType};
use hvs_shard::{FieldPath, Language, TextConfig};

use super::{
    payload::check_path,
    settings::{Settings, SettingsError, resolve_index, type_name},
};
use crate::config::Config;

fn wrong(reason: impl Into<String>) -> SettingsError {
    SettingsError::Index { reason: reason.into() }
}

/// The index of the vector alone.
pub(super) fn dense(spec: &IndexSpec) -> IndexSpec {
    let mut dense = spec.clone();
    if spec.kind == IndexType::Hybrid {
        dense.kind = spec.dense.unwrap_or_default();
    }
    (dense.dense, dense.text_fields, dense.language) = (None, None, None);
    dense
}

/// What is left of an index, or added to it, where a request changes its type from or to HYBRID: that
/// of the vector stays as it is.
pub(super) fn base(before: &IndexSpec, kind: IndexType) -> IndexSpec {
    match (before.kind, kind) {
        (IndexType::Hybrid, IndexType::Hybrid) => before.clone(),
        (IndexType::Hybrid, _) => dense(before),
        (of_vector, IndexType::Hybrid) => {
            IndexSpec { kind: IndexType::Hybrid, dense: Some(of_vector), ..before.clone() }
        }
        _ => before.clone(),
    }
}

/// What an index has of text.
pub(super) fn of_text(spec: &IndexSpec) -> Option<(&[String], Option<&str>)> {
    let fields = spec.text_fields.as_deref().unwrap_or_default();
    (spec.kind == IndexType::Hybrid).then_some((fields, spec.language.as_deref()))
}

pub(super) fn not_of_a_vector() -> SettingsError {
    wrong(
        "type HYBRID is of the default vector alone; searches by text can use any vector beside it",
    )
}

/// Refuses what only HYBRID has.
pub(super) fn refuse_foreign(spec: &IndexSpec) -> Result<(), SettingsError> {
    let given = [
        ("dense", spec.dense.is_some()),
        ("text_fields", spec.text_fields.is_some()),
        ("language", spec.language.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => {
            let own = type_name(spec.kind);
            Err(wrong(format!("type {own} has no {name}, which is one of type HYBRID")))
        }
    }
}

/// Fills in and checks an index of type HYBRID.
pub(super) fn resolve(
    spec: &IndexSpec,
    existing: Option<&IndexSpec>,
    config: &Config,
) -> Result<IndexSpec, SettingsError> {
    if spec.dense == Some(IndexType::Hybrid) {
        return Err(wrong("dense is HYBRID, it must be one of HNSW, FLAT, GEOMETRIC and IVF"));
    }
    let existing = existing.filter(|index| index.kind == IndexType::Hybrid);
    let spec =
        IndexSpec { dense: spec.dense.or(existing.and_then(|index| index.dense)), ..spec.clone() };
    let of_vector = existing.map(dense);
    let resolved = resolve_index(&dense(&spec), of_vector.as_ref(), config)?;
    let fields = spec.text_fields.or(existing.and_then(|index| index.text_fields.clone()));
    let fields = fields.unwrap_or_default();
    let most = config.limits.text_fields;
    if fields.is_empty() || fields.len() > most {
        return Err(wrong(format!(
            "type HYBRID has {} text_fields, it must have from 1 to {most}: paths into metadata \
             such as \"title\" or \"author.name\"",
            fields.len()
        )));
    }
    for (position, field) in fields.iter().enumerate() {
        check_path(field, &config.limits)
            .map_err(|reason| wrong(format!("text_fields: {reason}")))?;
        if fields.iter().take(position).any(|other| other == field) {
            return Err(wrong(format!("text_fields names {field:?} twice")));
        }
    }
    let language = spec.language.or(existing.and_then(|index| index.language.clone()));
    let language = language.unwrap_or_else(|| Language::NONE.name().to_owned());
    language.parse::<Language>().map_err(wrong)?;
    Ok(IndexSpec {
        kind: IndexType::Hybrid,
        dense: Some(resolved.kind),
        text_fields: Some(fields),
        language: Some(language),
        ..resolved
    })
}

impl Settings {
    /// What the index of text of a shard is opened with, if there is one.
    ///
    /// # Errors
    /// [`SettingsError`] if stored settings are no longer possible, which would be a defect.
    pub fn text_config(&self, config: &Config) -> Result<Option<TextConfig>, SettingsError> {
        let index = self.vectors.get("").map(|vector| &vector.index);
        let Some(index) = index.filter(|index| index.kind == IndexType::Hybrid) else {
            return Ok(None);
        };
        let paths = index.text_fields.iter().flatten().map(|path| FieldPath::parse(path));
        let fields = paths.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
        let language = index.language.as_deref().unwrap_or("none").parse().map_err(wrong)?;
        Ok(Some(TextConfig {
            fields,
            language,
            writer_bytes: config.text.writer_bytes,
            pending_bytes: config.text.pending_bytes,
            commit_every: Duration::from_millis(config.text.commit_ms),
            owner: String::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use hvs_api::{CreateNamespace, VectorSpec};
    use serde_json::{Value, json};

    use super::*;

    fn request(index: Value) -> CreateNamespace {
        CreateNamespace {
            geometry: Some("poincare".into()),
            dimension: Some(2),
            index: Some(serde_json::from_value(index).unwrap()),
            ..CreateNamespace::default()
        }
    }

    fn resolve(index: Value, config: &Config) -> Result<Settings, SettingsError> {
        Settings::resolve(&request(index), None, config)
    }

    #[test]
    fn what_is_left_out_is_filled_in_and_kept() {
        let config = Config::default();
        let settings =
            resolve(json!({"type": "HYBRID", "text_fields": ["title", "a.b"]}), &config).unwrap();
        let index = &settings.vectors[""].index;
        assert_eq!((index.dense, index.m), (Some(IndexType::Hnsw), Some(16)));
        assert_eq!(index.language.as_deref(), Some("none"));
        let text = settings.text_config(&config).unwrap().unwrap();
        assert_eq!((text.fields.len(), text.language), (2, Language::NONE));
        // The same again, and only what differs.
        for same in [
            json!({"type": "hybrid", "text_fields": ["title", "a.b"]}),
            json!({"type": "HYBRID"}),
            json!({"type": "HYBRID", "dense": "HNSW", "language": "none"}),
        ] {
            let again = Settings::resolve(&request(same), Some(&settings), &config).unwrap();
            assert_eq!(again, settings);
        }
        let flat = json!({"type": "HYBRID", "dense": "FLAT", "text_fields": ["t"]});
        let flat = resolve(flat, &config).unwrap();
        assert!(matches!(
            flat.index_configs(&config).unwrap()[""].kind,
            hvs_index::IndexKind::Flat
        ));
        let none = resolve(json!({"type": "FLAT"}), &config).unwrap();
        assert_eq!(none.text_config(&config).unwrap(), None);
    }

    #[test]
    fn other_vectors_take_only_the_index_of_the_vector() {
        let config = Config::default();
        let mut request = request(json!({"type": "HYBRID", "text_fields": ["t"], "m": 8}));
        request.vectors.insert("other".into(), VectorSpec::default());
        let settings = Settings::resolve(&request, None, &config).unwrap();
        let other = &settings.vectors["other"].index;
        assert_eq!((other.kind, other.m), (IndexType::Hnsw, Some(8)));
        assert_eq!((other.dense, &other.text_fields), (None, &None));
        assert_eq!(Settings::resolve(&request, Some(&settings), &config).unwrap(), settings);
        let own = VectorSpec { index: request.index.clone(), ..VectorSpec::default() };
        request.vectors.insert("other".into(), own);
        assert!(Settings::resolve(&request, None, &config).is_err());
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let mut config = Config::default();
        config.limits.text_fields = 2;
        config.limits.path_bytes = 9;
        let path = "x".repeat(9);
        let with = |index| resolve(index, &config);
        assert!(with(json!({"type": "HYBRID", "text_fields": ["a", path]})).is_ok());
        for refused in [
            json!({"type": "HYBRID"}),
            json!({"type": "HYBRID", "text_fields": []}),
            json!({"type": "HYBRID", "text_fields": ["a", "b", "c"]}),
            json!({"type": "HYBRID", "text_fields": ["a", "a"]}),
            json!({"type": "HYBRID", "text_fields": [format!("{path}x")]}),
            json!({"type": "HYBRID", "text_fields": ["a..b"]}),
            json!({"type": "HYBRID", "text_fields": ["$kind"]}),
            json!({"type": "HYBRID", "text_fields": ["a"], "language": "klingon"}),
            json!({"type": "HYBRID", "text_fields": ["a"], "dense": "HYBRID"}),
            json!({"type": "HYBRID", "text_fields": ["a"], "dense": "IVF", "m": 3}),
            json!({"type": "FLAT", "text_fields": ["a"]}),
            json!({"type": "HNSW", "language": "english"}),
            json!({"type": "IVF", "dense": "HNSW"}),
        ] {
            assert!(with(refused.clone()).is_err(), "{refused}");
        }
    }
}
