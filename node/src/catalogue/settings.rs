//! The settings of a namespace: from a request, in the catalogue, and as a shard needs them.

use std::collections::BTreeMap;

use hvs_api::{
    ComponentSpec, Compression, CreateNamespace, Durability, IndexSpec, IndexType, Precision,
    Profile, Quantisation, SpaceInfo, SpaceSpec, VectorSpec,
};
use hvs_geometry::{Component, Geometry, Space, SpaceError, UnknownGeometry};
use hvs_index::{IndexConfig, IndexKind};
use serde::{Deserialize, Serialize};

use super::{payload::PayloadSettings, profile, text};
use crate::{
    config::{self, Config, Limits},
    durability,
};

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A geometry that does not exist.
    #[error("{0}")]
    UnknownGeometry(#[from] UnknownGeometry),
    /// The space cannot exist.
    #[error("{0}")]
    Space(#[from] SpaceError),
    /// Neither a geometry nor components.
    #[error("no geometry is given, and no components either")]
    NoGeometry,
    /// Both at once.
    #[error(
        "components are given beside {beside}; a product has its geometries, dimensions and curvatures in its components alone"
    )]
    Both {
        /// What else was given.
        beside: &'static str,
    },
    /// No dimension.
    #[error("no dimension is given for {geometry}")]
    NoDimension {
        /// The geometry.
        geometry: Geometry,
    },
    /// More than the node's limit.
    #[error("{what} is {value}, at most {limit} is allowed")]
    Limit {
        /// What is too large.
        what: Limited,
        /// The value given.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// An index parameter that the type does not have, or out of its range.
    #[error("index: {reason}")]
    Index {
        /// What is wrong and what would be right.
        reason: String,
    },
    /// Fields of metadata that cannot be indexed.
    #[error("payload_indexes: {reason}")]
    Payload {
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A durability that needs mirrors.
    #[error("{}", durability::unavailable(*.0))]
    Durability(Durability),
    /// A time to live out of its range.
    #[error("ttl_ms is {ttl}, it must be from 1 to {limit}, or be left out")]
    Ttl {
        /// The value given.
        ttl: u64,
        /// The limit.
        limit: u64,
    },
    /// No shards.
    #[error("shards is 0, at least 1 is needed")]
    NoShards,
    /// A space whose points have no order by distance.
    #[error(
        "a product with a Lorentzian component has no distance to search by; give it a vector of its own"
    )]
    Unordered,
    /// No vector has this name.
    #[error("the namespace has no vector {name:?}")]
    UnknownVector {
        /// The name.
        name: String,
    },
    /// A name of a vector.
    #[error("the vector name {name:?} cannot be used: {reason}")]
    VectorName {
        /// The name.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// What a limit is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// The intrinsic dimension.
    Dimension,
    /// The number of factors.
    Components,
    /// The number of named vectors.
    NamedVectors,
    /// The number of shards.
    Shards,
}

impl std::fmt::Display for Limited {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Dimension => "dimension",
            Self::Components => "the number of components",
            Self::NamedVectors => "the number of named vectors",
            Self::Shards => "shards",
        })
    }
}

/// One named vector, nothing left out, as the catalogue keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorSettings {
    /// Its space.
    pub space: SpaceSpec,
    /// Of stored coordinates.
    pub precision: Precision,
    /// Its index.
    pub index: IndexSpec,
    /// How often it was built anew: which of those on disk is in use.
    #[serde(default, skip_serializing_if = "is_first")]
    pub generation: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_first(generation: &u64) -> bool {
    *generation == 0
}

/// The settings of a namespace, nothing left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// By name; the default vector has the empty one.
    pub vectors: BTreeMap<String, VectorSettings>,
    /// How many shards.
    pub shards: u64,
    /// What its indexes were chosen to be good at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// When writes are acknowledged that do not say it; as the node has it, if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// The time to live of records that are put without one, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Which metadata is indexed.
    #[serde(default, skip_serializing_if = "PayloadSettings::is_default")]
    pub payload: PayloadSettings,
    /// How often an index of text was added or changed: which of those on disk is in use.
    #[serde(default, skip_serializing_if = "is_first")]
    pub text_generation: u64,
    /// How records are compressed at rest; as the node has it, if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Whether records of hits are read before someone asks for them; as the profile has it, if it
    /// is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<bool>,
}

impl Settings {
    /// Fills in what a request leaves out: from the settings of the namespace if it exists, so
    /// that the same request is accepted again after the node's defaults have changed, else from
    /// the node's defaults. Checks everything.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn resolve(
        request: &CreateNamespace,
        existing: Option<&Self>,
        config: &Config,
    ) -> Result<Self, SettingsError> {
        let limits = &config.limits;
        let shards = request.shards.or(existing.map(|settings| settings.shards)).unwrap_or(1);
        if shards == 0 {
            return Err(SettingsError::NoShards);
        }
        check_limit(Limited::Shards, shards, limits.shards)?;
        check_limit(Limited::NamedVectors, request.vectors.len() as u64 + 1, limits.named_vectors)?;

        let durability = request.durability.or(existing.and_then(|settings| settings.durability));
        if let Some(level) = durability.filter(|level| durability::of_shard(*level).is_none()) {
            return Err(SettingsError::Durability(level));
        }

        let profile = request.profile.or(existing.and_then(|settings| settings.profile));
        let find = |name: &str| existing.and_then(|settings| settings.vectors.get(name));
        let resolve_vector = |spec: &VectorSpec, default: Option<&VectorSettings>, name: &str| {
            resolve_vector(spec, default, find(name), profile, config)
        };
        let default = resolve_vector(&default_vector(request), None, "")?;
        let mut vectors = BTreeMap::new();
        for (name, spec) in &request.vectors {
            check_vector_name(name, limits)?;
            let settings = resolve_vector(spec, Some(&default), name)?;
            vectors.insert(name.clone(), settings);
        }
        vectors.insert(String::new(), default);
        let ttl_ms = request.ttl_ms.or(existing.and_then(|settings| settings.ttl_ms));
        if let Some(ttl) = ttl_ms
            && !(1..=limits.ttl_ms).contains(&ttl)
        {
            return Err(SettingsError::Ttl { ttl, limit: limits.ttl_ms });
        }
        let payload = PayloadSettings::resolve(
            request.payload_indexing,
            request.payload_indexes.as_deref(),
            existing.map(|settings| &settings.payload),
            limits,
        )?;
        let text_generation = existing.map_or(0, |settings| settings.text_generation);
        let compression = request.compression.or(existing.and_then(|known| known.compression));
        let prefetch = request.prefetch.or(existing.and_then(|known| known.prefetch));
        Ok(Self {
            vectors,
            shards,
            profile,
            durability,
            ttl_ms,
            payload,
            text_generation,
            compression,
            prefetch,
        })
    }

    /// What each index of a shard is opened with.
    ///
    /// # Errors
    /// [`SettingsError`] if stored settings are no longer possible, which would be a defect.
    pub fn index_configs(
        &self,
        config: &Config,
    ) -> Result<BTreeMap<String, IndexConfig>, SettingsError> {
        self.vectors
            .iter()
            .map(|(name, vector)| Ok((name.clone(), vector.index_config(config)?)))
            .collect()
    }
}

/// The compression as a shard knows it.
pub(super) fn shard_compression(compression: Compression) -> hvs_shard::Compression {
    match compression {
        Compression::None => hvs_shard::Compression::None,
        Compression::Lz4 => hvs_shard::Compression::Lz4,
        Compression::Zstd => hvs_shard::Compression::Zstd,
    }
}

impl Settings {
    /// How records are compressed at rest.
    pub fn compression(&self, config: &Config) -> Compression {
        let of_profile = self.profile.and_then(profile::compression);
        self.compression.or(of_profile).unwrap_or(config.storage.compression)
    }

    /// Whether records of hits are read before someone asks for them.
    pub fn prefetch(&self) -> bool {
        self.prefetch.unwrap_or_else(|| self.profile.is_some_and(profile::prefetch))
    }

    /// Which generation of each index is in use.
    pub(super) fn generations(&self) -> BTreeMap<String, u64> {
        self.vectors.iter().map(|(name, vector)| (name.clone(), vector.generation)).collect()
    }
}

impl VectorSettings {
    /// Refuses what the space forbids.
    pub(super) fn check(&self, config: &Config) -> Result<(), SettingsError> {
        match self.index_config(config)?.check() {
            Err(hvs_index::OpenError::Config { reason }) => Err(SettingsError::Index { reason }),
            _ => Ok(()),
        }
    }

    pub(super) fn index_config(&self, config: &Config) -> Result<IndexConfig, SettingsError> {
        // A limit that was lowered later does not lock anyone out of what is stored.
        let unlimited =
            Limits { dimension: usize::MAX, components: usize::MAX, ..Limits::default() };
        let space = build_space(&self.space, None, &unlimited)?;
        let defaults = &config.index;
        let size = |value: Option<u64>, default: u64| {
            usize::try_from(value.unwrap_or(default)).unwrap_or(usize::MAX)
        };
        let spec = text::dense(&self.index);
        let kind = match spec.kind {
            IndexType::Flat => IndexKind::Flat,
            IndexType::Hnsw | IndexType::Hybrid => IndexKind::Hnsw {
                m: size(self.index.m, defaults.m),
                ef_construction: size(self.index.ef_construction, defaults.ef_construction),
                ef_search: size(self.index.ef_search, defaults.ef_search),
            },
            IndexType::Geometric => IndexKind::Geometric,
            IndexType::Ivf => {
                let lists = |value: Option<u64>| value.map(|value| size(Some(value), 0));
                IndexKind::Ivf { nlist: lists(self.index.nlist), nprobe: lists(self.index.nprobe) }
            }
        };
        let quantisation = index_quantisation(self.index.quantisation.unwrap_or_default());
        Ok(IndexConfig {
            precision: geometry_precision(self.precision),
            kind,
            quantisation,
            tail_limit: defaults.tail,
            max_hits: config.limits.k,
            resident_rows: self.index.resident.unwrap_or(config.storage.resident_rows),
            ..IndexConfig::new(space)
        })
    }
}

/// The quantisation as the index knows it.
pub(super) fn index_quantisation(quantisation: Quantisation) -> hvs_index::Quantisation {
    match quantisation {
        Quantisation::None => hvs_index::Quantisation::None,
        Quantisation::F16 => hvs_index::Quantisation::F16,
        Quantisation::I8 => hvs_index::Quantisation::I8,
        Quantisation::Pq => hvs_index::Quantisation::Pq,
    }
}

/// The precision as the geometry knows it.
pub fn geometry_precision(precision: Precision) -> hvs_geometry::Precision {
    match precision {
        Precision::F32 => hvs_geometry::Precision::F32,
        Precision::F64 => hvs_geometry::Precision::F64,
    }
}

fn default_vector(request: &CreateNamespace) -> VectorSpec {
    VectorSpec {
        geometry: request.geometry.clone(),
        dimension: request.dimension,
        curvature: request.curvature,
        components: request.components.clone(),
        precision: request.precision,
        index: request.index.clone(),
    }
}

fn resolve_vector(
    spec: &VectorSpec,
    default: Option<&VectorSettings>,
    existing: Option<&VectorSettings>,
    profile: Option<Profile>,
    config: &Config,
) -> Result<VectorSettings, SettingsError> {
    let own = SpaceSpec {
        geometry: spec.geometry.clone(),
        dimension: spec.dimension,
        curvature: spec.curvature,
        components: spec.components.clone(),
    };
    let has_own_space = own != SpaceSpec::default();
    let space = match default {
        Some(default) if own == SpaceSpec::default() => default.space.clone(),
        _ => describe_space(&searchable(build_space(&own, None, &config.limits)?)?),
    };
    let inherited = existing.or(default);
    let precision = spec.precision.or(inherited.map(|settings| settings.precision));
    if default.is_some() && spec.index.as_ref().is_some_and(|index| index.kind == IndexType::Hybrid)
    {
        return Err(text::not_of_a_vector());
    }
    let is_new = existing.is_none();
    let index = match (&spec.index, profile.filter(|_| is_new)) {
        (Some(index), None) => {
            resolve_index(index, existing.map(|settings| &settings.index), config)?
        }
        // Where neither is given, another vector than the default one has the index of that.
        (given, Some(profile)) if given.is_some() || default.is_none() || has_own_space => {
            resolve_index(&profile::expand(profile, given.as_ref(), &space)?, None, config)?
        }
        _ => match inherited {
            // Text belongs to the namespace, and not to each of its vectors.
            Some(settings) if default.is_some() => text::dense(&settings.index),
            Some(settings) => settings.index.clone(),
            None => resolve_index(&IndexSpec::default(), None, config)?,
        },
    };
    let generation = existing.map_or(0, |settings| settings.generation);
    let precision = precision.unwrap_or_default();
    let settings = VectorSettings { space, precision, index, generation };
    settings.check(config)?;
    Ok(settings)
}

/// Refuses what an index could not be opened for.
fn searchable(space: Space) -> Result<Space, SettingsError> {
    let is_product = !space.components().is_empty();
    if is_product && !space.is_metric() { Err(SettingsError::Unordered) } else { Ok(space) }
}

pub(super) fn resolve_index(
    spec: &IndexSpec,
    existing: Option<&IndexSpec>,
    config: &Config,
) -> Result<IndexSpec, SettingsError> {
    if spec.kind == IndexType::Hybrid {
        return text::resolve(spec, existing, config);
    }
    text::refuse_foreign(spec)?;
    let given = [
        ("m", spec.m, IndexType::Hnsw),
        ("ef_construction", spec.ef_construction, IndexType::Hnsw),
        ("ef_search", spec.ef_search, IndexType::Hnsw),
        ("nlist", spec.nlist, IndexType::Ivf),
        ("nprobe", spec.nprobe, IndexType::Ivf),
    ];
    let foreign = given.iter().find(|(_, value, of)| value.is_some() && *of != spec.kind);
    if let Some((name, _, of)) = foreign {
        let (own, of) = (type_name(spec.kind), type_name(*of));
        let reason = format!("type {own} has no {name}, which is one of type {of}");
        return Err(SettingsError::Index { reason });
    }
    let defaults: &config::Index = &config.index;
    let existing = existing.filter(|index| index.kind == spec.kind);
    let own = |field: fn(&IndexSpec) -> Option<u64>| field(spec).or(existing.and_then(field));
    let quantisation = spec.quantisation.or(existing.and_then(|index| index.quantisation));
    let mut index = IndexSpec {
        kind: spec.kind,
        resident: spec.resident.or(existing.and_then(|index| index.resident)),
        quantisation: quantisation.filter(|quantisation| *quantisation != Quantisation::None),
        ..IndexSpec::default()
    };
    match spec.kind {
        IndexType::Flat | IndexType::Geometric | IndexType::Hybrid => {}
        IndexType::Hnsw => {
            index.m = own(|index| index.m).or(Some(defaults.m));
            let construction = own(|index| index.ef_construction);
            index.ef_construction = construction.or(Some(defaults.ef_construction));
            index.ef_search = own(|index| index.ef_search).or(Some(defaults.ef_search));
        }
        IndexType::Ivf => {
            // Without a number, or with 0, they follow the size of the segment.
            let fixed = |number: u64| (number > 0).then_some(number);
            index.nlist = own(|index| index.nlist).map_or(fixed(defaults.nlist), fixed);
            index.nprobe = own(|index| index.nprobe).map_or(fixed(defaults.nprobe), fixed);
        }
    }
    let (ef, lists) = (config.limits.ef as u64, config.limits.nprobe as u64);
    let ranges = [
        ("m", index.m, 2, hvs_index::MAX_M as u64),
        ("ef_construction", index.ef_construction, 1, ef),
        ("ef_search", index.ef_search, 1, ef),
        ("nlist", index.nlist, 1, lists),
        ("nprobe", index.nprobe, 1, lists),
    ];
    for (name, value, least, most) in ranges {
        if let Some(value) = value
            && !(least..=most).contains(&value)
        {
            let reason = format!("{name} is {value}, it must be from {least} to {most}");
            return Err(SettingsError::Index { reason });
        }
    }
    Ok(index)
}

pub(super) fn type_name(kind: IndexType) -> &'static str {
    match kind {
        IndexType::Hnsw => "HNSW",
        IndexType::Flat => "FLAT",
        IndexType::Geometric => "GEOMETRIC",
        IndexType::Ivf => "IVF",
        IndexType::Hybrid => "HYBRID",
    }
}

/// Builds the space of a request. `dimension` stands in for one that is left out.
///
/// # Errors
/// [`SettingsError`].
pub fn build_space(
    spec: &SpaceSpec,
    dimension: Option<usize>,
    limits: &Limits,
) -> Result<Space, SettingsError> {
    if let Some(components) = &spec.components {
        let beside = [
            ("geometry", spec.geometry.is_some()),
            ("dimension", spec.dimension.is_some()),
            ("curvature", spec.curvature.is_some()),
        ];
        if let Some((beside, _)) = beside.into_iter().find(|(_, given)| *given) {
            return Err(SettingsError::Both { beside });
        }
        check_limit(Limited::Components, components.len() as u64, limits.components)?;
        let mut parts = Vec::with_capacity(components.len());
        for component in components {
            parts.push(Component {
                space: single_space(
                    &component.geometry,
                    component.dimension,
                    component.curvature,
                    limits,
                )?,
                weight: component.weight.unwrap_or(1.0),
            });
        }
        let space = Space::product(parts)?;
        check_limit(Limited::Dimension, space.dimension() as u64, limits.dimension)?;
        return Ok(space);
    }
    let name = spec.geometry.as_deref().ok_or(SettingsError::NoGeometry)?;
    let dimension = spec.dimension.or(dimension.map(|dimension| dimension as u64));
    match dimension {
        Some(dimension) => single_space(name, dimension, spec.curvature, limits),
        None => Err(SettingsError::NoDimension { geometry: name.parse()? }),
    }
}

fn single_space(
    name: &str,
    dimension: u64,
    curvature: Option<f64>,
    limits: &Limits,
) -> Result<Space, SettingsError> {
    let geometry: Geometry = name.parse()?;
    check_limit(Limited::Dimension, dimension, limits.dimension)?;
    let dimension = usize::try_from(dimension).unwrap_or(usize::MAX);
    let curvature = curvature.unwrap_or_else(|| geometry.default_curvature());
    Ok(Space::new(geometry, dimension, curvature)?)
}

fn check_limit(what: Limited, value: u64, limit: usize) -> Result<(), SettingsError> {
    let limit = limit as u64;
    if value > limit { Err(SettingsError::Limit { what, value, limit }) } else { Ok(()) }
}

fn check_vector_name(name: &str, limits: &Limits) -> Result<(), SettingsError> {
    super::check_name(name, limits.name_bytes)
        .map_err(|error| SettingsError::VectorName { name: error.name, reason: error.reason })
}

/// A space with everything said that a request may leave out.
fn describe_space(space: &Space) -> SpaceSpec {
    match space.geometry() {
        Some(geometry) => SpaceSpec {
            geometry: Some(geometry.name().to_owned()),
            dimension: Some(space.dimension() as u64),
            curvature: Some(space.curvature()),
            components: None,
        },
        None => SpaceSpec { components: Some(describe_components(space)), ..SpaceSpec::default() },
    }
}

fn describe_components(space: &Space) -> Vec<ComponentSpec> {
    space
        .components()
        .iter()
        .map(|component| ComponentSpec {
            geometry: component.space.geometry().map_or("product", Geometry::name).to_owned(),
            dimension: component.space.dimension() as u64,
            curvature: Some(component.space.curvature()),
            weight: Some(component.weight),
        })
        .collect()
}

/// A space as clients are told it.
pub fn space_info(space: &Space) -> SpaceInfo {
    let geometry = space.geometry();
    SpaceInfo {
        geometry: geometry.map_or("product", Geometry::name).to_owned(),
        dimension: space.dimension() as u64,
        ambient: space.ambient() as u64,
        curvature: geometry.map(|_| space.curvature()),
        components: describe_components(space),
        metric: space.is_metric(),
    }
}

#[cfg(test)]
mod tests;
