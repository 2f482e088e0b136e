//! One suite for every kind of place.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use hvs_checkpoint::{CheckpointStore, StoreError, conformance};

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    conformance::run(conformance::in_memory()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    // Characters that a URL escapes, and that object stores escape in their own way.
    let place = folder.path().join("with blank, ä and %41");
    conformance::run(CheckpointStore::open(place.to_str().unwrap(), []).unwrap()).await;
    assert!(place.join("swap/manifest").is_file(), "the folder is where it was said to be");
    let url = url::Url::from_directory_path(place.join("swap")).unwrap();
    let same = CheckpointStore::open(url.as_str(), []).unwrap();
    assert!(same.manifest().await.unwrap().is_some());
}

#[test]
fn urls_that_lead_nowhere_are_refused_without_their_secrets() {
    for url in ["", "checkpoints", "ftp://host/a", "http://host/a", "file://host/a", "s3:///a"] {
        let refused = CheckpointStore::open(url, []);
        assert!(matches!(refused, Err(StoreError::Url { .. })), "{url}");
    }
    let refused = CheckpointStore::open("ftp://user:secret@host/a?key=secret", []).unwrap_err();
    assert!(!refused.to_string().contains("secret"), "{refused}");
}

#[test]
fn every_kind_of_object_store_is_there() {
    let options = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let aws = options(&[
        ("AWS_ACCESS_KEY_ID", "k"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_REGION", "r"),
        ("SOMETHING_ELSE", "is ignored"),
    ]);
    let azure =
        options(&[("AZURE_STORAGE_ACCOUNT_NAME", "a"), ("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")]);
    for (url, options) in
        [("s3://bucket/a/b", aws), ("gs://bucket/a/b", vec![]), ("az://container/a/b", azure)]
    {
        let store = CheckpointStore::open(url, options).unwrap();
        assert_eq!(store.child("docs").url(), format!("{url}/docs"));
    }
}

#[test]
fn the_time_that_a_request_has_is_a_setting_of_each() {
    for (url, setting) in [
        ("s3://bucket/a", "AWS_TIMEOUT"),
        ("gs://bucket/a", "GOOGLE_TIMEOUT"),
        ("az://container/a", "AZURE_TIMEOUT"),
    ] {
        let open = |value: &str| {
            let options = [
                (setting.to_owned(), value.to_owned()),
                ("AZURE_STORAGE_ACCOUNT_NAME".to_owned(), "a".to_owned()),
            ];
            CheckpointStore::open(url, options)
        };
        open("120s").unwrap();
        let refused = open("soon").unwrap_err();
        assert!(refused.to_string().contains("soon"), "{refused}");
    }
}
