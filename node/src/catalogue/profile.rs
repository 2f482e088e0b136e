//! Profiles: what an index is to be good at, as its parameters.

use hvs_api::{Compression, IndexSpec, IndexType, Profile, Quantisation, SpaceSpec};
use hvs_index::IndexConfig;
use hvs_shard::StoreSizes;

use super::settings::{SettingsError, build_space};
use crate::config::{self, Limits};

/// One in so many of the bytes that other stores have in memory is what `memory` gives its own.
const FRUGAL_PART: u64 = 4;

/// The index that a profile stands for in a space, with what is given in its place. What a given
/// index leaves out is the profile's where it is of the same type.
///
/// # Errors
/// [`SettingsError`] for a space that cannot be.
pub(super) fn expand(
    profile: Profile,
    given: Option<&IndexSpec>,
    space: &SpaceSpec,
) -> Result<IndexSpec, SettingsError> {
    let own = index_of(profile, space)?;
    let Some(given) = given else { return Ok(own) };
    let kind = match given.kind {
        IndexType::Hybrid => given.dense.unwrap_or_default(),
        kind => kind,
    };
    let alike = if kind == own.kind { own.clone() } else { IndexSpec::default() };
    let quantised = kind != IndexType::Geometric;
    Ok(IndexSpec {
        m: given.m.or(alike.m),
        ef_construction: given.ef_construction.or(alike.ef_construction),
        ef_search: given.ef_search.or(alike.ef_search),
        nlist: given.nlist.or(alike.nlist),
        nprobe: given.nprobe.or(alike.nprobe),
        quantisation: given.quantisation.or(own.quantisation.filter(|_| quantised)),
        resident: given.resident.or(own.resident),
        ..given.clone()
    })
}

fn index_of(profile: Profile, space: &SpaceSpec) -> Result<IndexSpec, SettingsError> {
    let graph = |m, ef_construction, ef_search| IndexSpec {
        kind: IndexType::Hnsw,
        m: Some(m),
        ef_construction: Some(ef_construction),
        ef_search: Some(ef_search),
        ..IndexSpec::default()
    };
    Ok(match profile {
        Profile::Latency => IndexSpec { resident: Some(true), ..graph(16, 200, 100) },
        Profile::Throughput => IndexSpec {
            quantisation: coarsest(space, &[Quantisation::I8, Quantisation::F16])?,
            resident: Some(true),
            ..graph(16, 128, 32)
        },
        Profile::Memory => IndexSpec {
            kind: IndexType::Ivf,
            quantisation: coarsest(space, &[Quantisation::Pq, Quantisation::F16])?,
            resident: Some(false),
            ..IndexSpec::default()
        },
        Profile::Accuracy => IndexSpec { resident: Some(true), ..graph(32, 400, 200) },
    })
}

/// What a shard's store may hold in memory.
pub(super) fn store_sizes(profile: Option<Profile>, storage: &config::Storage) -> StoreSizes {
    let part = if profile == Some(Profile::Memory) { FRUGAL_PART } else { 1 };
    StoreSizes {
        cache_bytes: storage.shard_cache_bytes / part,
        memtable_bytes: storage.shard_memtable_bytes / part,
    }
}

/// How records are compressed at rest, if the profile says it.
pub(super) fn compression(profile: Profile) -> Option<Compression> {
    match profile {
        Profile::Latency => Some(Compression::None),
        Profile::Memory => Some(Compression::Lz4),
        Profile::Throughput | Profile::Accuracy => None,
    }
}

/// Whether records of hits are read before someone asks for them.
pub(super) fn prefetch(profile: Profile) -> bool {
    profile == Profile::Latency
}

/// The first quantisation that the space allows.
fn coarsest(
    space: &SpaceSpec,
    wanted: &[Quantisation],
) -> Result<Option<Quantisation>, SettingsError> {
    let unlimited = Limits { dimension: usize::MAX, components: usize::MAX, ..Limits::default() };
    let config = IndexConfig::new(build_space(space, None, &unlimited)?);
    Ok(wanted.iter().copied().find(|quantisation| {
        let quantisation = super::settings::index_quantisation(*quantisation);
        IndexConfig { quantisation, ..config.clone() }.check().is_ok()
    }))
}

#[cfg(test)]
mod tests {
    use hvs_api::{ComponentSpec, CreateNamespace, VectorSpec};
    use serde_json::json;

    use super::*;
    use crate::{catalogue::Settings, config::Config};

    fn request(geometry: &str, profile: Profile) -> CreateNamespace {
        CreateNamespace {
            geometry: Some(geometry.into()),
            dimension: Some(8),
            profile: Some(profile),
            ..CreateNamespace::default()
        }
    }

    fn index(request: &CreateNamespace) -> IndexSpec {
        let settings = Settings::resolve(request, None, &Config::default()).unwrap();
        settings.vectors[""].index.clone()
    }

    #[test]
    fn each_profile_stands_for_these_parameters_and_no_others() {
        let graph = |m: u64, ef_construction: u64, ef_search: u64| {
            json!({"type": "HNSW", "m": m, "ef_construction": ef_construction,
                "ef_search": ef_search, "resident": true})
        };
        let mut coded = graph(16, 128, 32);
        coded["quantisation"] = json!("i8");
        let lists = json!({"type": "IVF", "quantisation": "pq", "resident": false});
        for (profile, expected) in [
            (Profile::Latency, graph(16, 200, 100)),
            (Profile::Throughput, coded),
            (Profile::Memory, lists),
            (Profile::Accuracy, graph(32, 400, 200)),
        ] {
            for geometry in ["euclidean", "spherical"] {
                let found = serde_json::to_value(index(&request(geometry, profile))).unwrap();
                assert_eq!(found, expected, "{profile:?}, {geometry}");
            }
        }
    }

    #[test]
    fn what_the_space_does_not_allow_is_not_asked_for() {
        let memory = index(&request("poincare", Profile::Memory));
        assert_eq!(memory.quantisation, Some(Quantisation::F16));
        assert_eq!(index(&request("lorentzian", Profile::Memory)).quantisation, None);
        let throughput = index(&request("hyperboloid", Profile::Throughput));
        assert_eq!(throughput.quantisation, Some(Quantisation::F16));
        let all = [Profile::Latency, Profile::Throughput, Profile::Memory, Profile::Accuracy];
        for (profile, geometry) in all.iter().flat_map(|profile| {
            ["poincare", "hyperboloid", "klein", "euclidean", "spherical", "lorentzian"]
                .map(|geometry| (*profile, geometry))
        }) {
            index(&request(geometry, profile));
        }
        let product = CreateNamespace {
            geometry: None,
            dimension: None,
            components: Some(vec![
                ComponentSpec {
                    geometry: "hyperboloid".into(),
                    dimension: 4,
                    curvature: None,
                    weight: None,
                },
                ComponentSpec {
                    geometry: "spherical".into(),
                    dimension: 2,
                    curvature: None,
                    weight: None,
                },
            ]),
            ..request("euclidean", Profile::Memory)
        };
        assert_eq!(index(&product).quantisation, Some(Quantisation::F16));
    }

    #[test]
    fn what_is_to_save_memory_has_little_for_its_store() {
        let storage = config::Storage::default();
        let sizes = |profile| {
            let StoreSizes { cache_bytes, memtable_bytes } = store_sizes(profile, &storage);
            (cache_bytes, memtable_bytes)
        };
        let whole = (storage.shard_cache_bytes, storage.shard_memtable_bytes);
        assert_eq!(sizes(None), whole);
        assert_eq!(sizes(Some(Profile::Accuracy)), whole);
        assert_eq!(sizes(Some(Profile::Memory)), (whole.0 / 4, whole.1 / 4));
    }

    #[test]
    fn records_are_compressed_and_read_ahead_as_the_profile_has_it() {
        let mut config = Config::default();
        config.storage.compression = Compression::Zstd;
        let of = |profile, compression, prefetch| {
            let request =
                CreateNamespace { compression, prefetch, ..request("euclidean", profile) };
            let settings = Settings::resolve(&request, None, &config).unwrap();
            (settings.compression(&config), settings.prefetch())
        };
        assert_eq!(of(Profile::Latency, None, None), (Compression::None, true));
        assert_eq!(of(Profile::Throughput, None, None), (Compression::Zstd, false));
        assert_eq!(of(Profile::Memory, None, None), (Compression::Lz4, false));
        assert_eq!(of(Profile::Accuracy, None, None), (Compression::Zstd, false));
        // What is given goes before it.
        let given = of(Profile::Latency, Some(Compression::Lz4), Some(false));
        assert_eq!(given, (Compression::Lz4, false));
        assert_eq!(of(Profile::Memory, None, Some(true)), (Compression::Lz4, true));
    }

    #[test]
    fn what_is_given_goes_before() {
        let with = |profile, given| {
            let given: IndexSpec = serde_json::from_value(given).unwrap();
            index(&CreateNamespace { index: Some(given), ..request("euclidean", profile) })
        };
        let given = with(Profile::Memory, json!({"type": "IVF", "nlist": 7}));
        assert_eq!((given.nlist, given.quantisation), (Some(7), Some(Quantisation::Pq)));
        let given = with(Profile::Memory, json!({"type": "IVF", "quantisation": "none"}));
        assert_eq!((given.quantisation, given.resident), (None, Some(false)));
        let given = with(Profile::Accuracy, json!({"ef_search": 9, "resident": false}));
        assert_eq!((given.m, given.ef_search), (Some(32), Some(9)));
        assert_eq!(given.resident, Some(false));
        let given = with(Profile::Memory, json!({"type": "HNSW"}));
        assert_eq!((given.m, given.quantisation), (Some(16), Some(Quantisation::Pq)));
        let given = with(Profile::Memory, json!({"type": "GEOMETRIC"}));
        assert_eq!((given.kind, given.quantisation), (IndexType::Geometric, None));
        let given = with(
            Profile::Accuracy,
            json!({"type": "HYBRID", "text_fields": ["title"], "quantisation": "f16"}),
        );
        assert_eq!((given.m, given.quantisation), (Some(32), Some(Quantisation::F16)));
    }

    #[test]
    fn the_same_request_again_finds_what_it_made() {
        let config = Config::default();
        let own = VectorSpec {
            geometry: Some("poincare".into()),
            dimension: Some(3),
            ..VectorSpec::default()
        };
        let mut request = request("euclidean", Profile::Memory);
        request.vectors.insert("own".into(), own);
        request.vectors.insert("alike".into(), VectorSpec::default());
        let settings = Settings::resolve(&request, None, &config).unwrap();
        assert_eq!(Settings::resolve(&request, Some(&settings), &config).unwrap(), settings);
        assert_eq!(settings.profile, Some(Profile::Memory));
        assert_eq!(settings.vectors["alike"], settings.vectors[""]);
        let own = &settings.vectors["own"].index;
        assert_eq!((own.kind, own.quantisation), (IndexType::Ivf, Some(Quantisation::F16)));
        // Another profile is another wish, also where the parameters are the same.
        let other = CreateNamespace { profile: Some(Profile::Latency), ..request };
        assert_ne!(Settings::resolve(&other, Some(&settings), &config).unwrap(), settings);
    }
}
