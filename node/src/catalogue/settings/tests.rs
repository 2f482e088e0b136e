use super::*;

fn hyperboloid() -> CreateNamespace {
    CreateNamespace {
        geometry: Some("hyperboloid".into()),
        dimension: Some(12),
        ..CreateNamespace::default()
    }
}

#[test]
fn what_is_left_out_is_filled_in() {
    let settings = Settings::resolve(&hyperboloid(), None, &Config::default()).unwrap();
    let vector = &settings.vectors[""];
    assert_eq!(vector.space.curvature, Some(-1.0));
    assert_eq!((vector.precision, settings.shards), (Precision::F32, 1));
    assert_eq!((vector.index.m, vector.index.ef_search), (Some(16), Some(64)));
}

#[test]
fn the_same_request_resolves_alike_after_the_defaults_changed() {
    let before = Settings::resolve(&hyperboloid(), None, &Config::default()).unwrap();
    let mut config = Config::default();
    config.index.m = 32;
    assert_eq!(Settings::resolve(&hyperboloid(), Some(&before), &config).unwrap(), before);
    let wider = CreateNamespace {
        index: Some(IndexSpec { m: Some(48), ..IndexSpec::default() }),
        ..hyperboloid()
    };
    assert_ne!(Settings::resolve(&wider, Some(&before), &config).unwrap(), before);
}

#[test]
fn a_named_vector_takes_the_space_of_the_default_or_has_its_own() {
    let own = VectorSpec {
        geometry: Some("euclidean".into()),
        dimension: Some(3),
        precision: Some(Precision::F64),
        ..VectorSpec::default()
    };
    let vectors =
        BTreeMap::from([("alike".to_owned(), VectorSpec::default()), ("own".to_owned(), own)]);
    let request = CreateNamespace { vectors, ..hyperboloid() };
    let settings = Settings::resolve(&request, None, &Config::default()).unwrap();
    assert_eq!(settings.vectors["alike"], settings.vectors[""]);
    assert_eq!(settings.vectors["own"].space.geometry.as_deref(), Some("euclidean"));
    assert_eq!(settings.vectors["own"].precision, Precision::F64);
    // A curvature alone is not a space.
    let half = VectorSpec { curvature: Some(-2.0), ..VectorSpec::default() };
    let vectors = BTreeMap::from([("half".to_owned(), half)]);
    let request = CreateNamespace { vectors, ..hyperboloid() };
    assert_eq!(
        Settings::resolve(&request, None, &Config::default()),
        Err(SettingsError::NoGeometry)
    );
}

#[test]
fn settings_survive_their_stored_form() {
    let request = CreateNamespace {
        components: Some(vec![
            ComponentSpec {
                geometry: "hyperboloid".into(),
                dimension: 4,
                curvature: Some(-0.1),
                weight: Some(2.0),
            },
            ComponentSpec {
                geometry: "spherical".into(),
                dimension: 2,
                curvature: None,
                weight: None,
            },
        ]),
        ..CreateNamespace::default()
    };
    let settings = Settings::resolve(&request, None, &Config::default()).unwrap();
    let text = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
    let configs = settings.index_configs(&Config::default()).unwrap();
    assert_eq!(configs[""].space.ambient(), 5 + 3);
}

#[test]
fn limits_hold_at_their_edges() {
    let mut config = Config::default();
    config.limits.dimension = 12;
    config.limits.shards = 2;
    config.limits.named_vectors = 1;
    let with_shards = |shards| CreateNamespace { shards: Some(shards), ..hyperboloid() };
    assert!(Settings::resolve(&with_shards(2), None, &config).is_ok());
    for refused in [
        with_shards(3),
        with_shards(0),
        CreateNamespace { dimension: Some(13), ..hyperboloid() },
        CreateNamespace {
            vectors: BTreeMap::from([("v".into(), VectorSpec::default())]),
            ..hyperboloid()
        },
    ] {
        assert!(Settings::resolve(&refused, None, &config).is_err(), "{refused:?}");
    }
}
