//! A node that is stopped and started again is the same node; two on one folder are refused.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use hvs_api::{
    AliasList, BatchOperation, BatchRequest, BatchResponse, CreateNamespace, NamespaceInfo,
    NamespaceList, PutRecord, RecordInfo, SearchRequest, SearchResponse, SwitchAliases, Vector,
    WriteResult,
};
use hvs_tests::{
    http::Connection,
    node::{Node, Settings, run_to_end},
};

const NAMESPACE: &str = "/v1/namespaces/restart";

fn create(connection: &mut Connection) {
    let request = CreateNamespace {
        geometry: Some("poincare".into()),
        dimension: Some(2),
        ..CreateNamespace::default()
    };
    let _: NamespaceInfo = connection.call("PUT", NAMESPACE, &request).unwrap();
}

fn put(connection: &mut Connection, id: &str, vector: [f64; 2]) -> WriteResult {
    let request = PutRecord { vector: Some(Vector(vector.to_vec())), ..PutRecord::default() };
    connection.call("PUT", &format!("{NAMESPACE}/vectors/{id}"), &request).unwrap()
}

fn fill(connection: &mut Connection, count: u32) {
    let operations = (0..count)
        .map(|number| {
            let (radius, angle) = (0.9 * f64::from(number) / f64::from(count), f64::from(number));
            BatchOperation::Put(PutRecord {
                id: Some(format!("point-{number}")),
                vector: Some(Vector(vec![radius * angle.cos(), radius * angle.sin()])),
                metadata: serde_json::json!({ "even": number % 2 == 0 }).as_object().cloned(),
                ..PutRecord::default()
            })
        })
        .collect();
    let request = BatchRequest { operations, ..BatchRequest::default() };
    let answer: BatchResponse =
        connection.call("POST", &format!("{NAMESPACE}/batch"), &request).unwrap();
    assert_eq!(answer.failed, 0);
}

fn searches(connection: &mut Connection) -> Vec<SearchResponse> {
    let filter = serde_json::json!({ "even": true }).as_object().cloned();
    [None, filter]
        .into_iter()
        .flat_map(|filter| {
            [[0.0, 0.0], [0.5, 0.1], [-0.3, 0.8]].map(|query| SearchRequest {
                vector: Some(Vector(query.to_vec())),
                k: Some(10),
                exact: Some(true),
                filter: filter.clone(),
                include_vectors: Some(true),
                include_metadata: Some(true),
                ..SearchRequest::default()
            })
        })
        .map(|request| connection.call("POST", &format!("{NAMESPACE}/search"), &request).unwrap())
        .collect()
}

#[test]
fn a_restart_changes_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(folder.path()).unwrap().with("index.tail", "100");
    let node = Node::start(&settings).unwrap();
    let mut connection = node.connect().unwrap();
    create(&mut connection);
    fill(&mut connection, 500);
    let aliases =
        SwitchAliases { aliases: [("current".to_owned(), Some("restart".to_owned()))].into() };
    let _: AliasList = connection.call("POST", "/v1/aliases", &aliases).unwrap();
    let etag = put(&mut connection, "point-7", [0.25, 0.5]).etag;
    let answers = searches(&mut connection);
    assert!(answers.iter().all(|answer| answer.hits.len() == 10));
    node.stop().unwrap();

    for _ in 0..2 {
        let node = Node::start(&settings).unwrap();
        let mut connection = node.connect().unwrap();
        assert_eq!(searches(&mut connection), answers);
        let record: RecordInfo = connection.get("/v1/namespaces/current/vectors/point-7").unwrap();
        assert_eq!((Some(record.etag), record.version), (etag.clone(), 2));
        let list: NamespaceList = connection.get("/v1/namespaces").unwrap();
        assert_eq!(list.namespaces.len(), 1);
        assert_eq!(list.namespaces[0].records, 500);
        node.stop().unwrap();
    }
}

#[test]
fn a_second_node_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(folder.path()).unwrap();
    let node = Node::start(&settings).unwrap();
    let mut connection = node.connect().unwrap();
    create(&mut connection);
    let (status, said) = run_to_end(&settings).unwrap();
    assert!(!status.success());
    assert!(
        said.contains(&folder.path().display().to_string()),
        "the message names the folder: {said}"
    );
    // The first one goes on as if nothing had happened, and leaves the folder to a third.
    put(&mut connection, "still-here", [0.1, 0.2]);
    node.stop().unwrap();
    let node = Node::start(&settings).unwrap();
    let record: RecordInfo =
        node.connect().unwrap().get(&format!("{NAMESPACE}/vectors/still-here")).unwrap();
    assert_eq!(record.id, "still-here");
    node.stop().unwrap();
}

#[test]
fn a_lock_left_by_a_killed_node_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(folder.path()).unwrap();
    let node = Node::start(&settings).unwrap();
    create(&mut node.connect().unwrap());
    node.kill().unwrap();
    let node = Node::start(&settings).unwrap();
    let list: NamespaceList = node.connect().unwrap().get("/v1/namespaces").unwrap();
    assert_eq!(list.namespaces.len(), 1);
    node.stop().unwrap();
}
