//! What a namespace indexes, and how that changes.

use serde_json::json;

use crate::setup::{Setup, code, errors};

#[test]
fn metadata_and_text_are_indexed_as_is_asked() {
    let setup = Setup::new();
    let created = setup.json(&[
        "ns",
        "create",
        "docs",
        "--geometry",
        "euclidean",
        "--dimension",
        "2",
        "--payload-indexing",
        "declared",
        "--payload-index",
        "year:integer",
        "--payload-index",
        "a.b:datetime",
    ]);
    let declared =
        json!([{"field": "a.b", "type": "datetime"}, {"field": "year", "type": "integer"}]);
    assert_eq!(
        (&created["payload_indexing"], &created["payload_indexes"]),
        (&json!("declared"), &declared)
    );
    let put = ["put", "docs", "x", "--vector", "1,2", "--metadata", r#"{"title": "old cats"}"#];
    setup.json(&put);
    let altered = setup.json(&["ns", "alter", "docs", "--payload-index", "year:float"]);
    assert_eq!(altered["payload_indexes"], json!([{"field": "year", "type": "float"}]));
    assert_eq!(altered["payload_indexing"], "declared");
    let none = ["ns", "alter", "docs", "--no-payload-indexes", "--payload-indexing", "auto"];
    let altered = setup.json(&none);
    assert!(altered["payload_indexes"].is_null(), "{altered}");

    let text = ["ns", "alter", "docs", "--text-field", "title", "--language", "english"];
    let altered = setup.json(&text);
    assert_eq!(altered["vectors"][""]["index"]["type"], "HYBRID");
    assert_eq!(altered["text"]["ready"], true);
    let found = setup.json(&["search", "docs", "--text", "cat"]);
    assert_eq!(found["hits"][0]["id"], "x");
    let table = setup.run(&["ns", "get", "docs"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("metadata indexed") && table.contains("1 documents"), "{table}");
    setup.json(&["ns", "alter", "docs", "--index", "hnsw"]);
    let refused = setup.run(&["search", "docs", "--text", "cat"]);
    assert_eq!(code(&refused), 3, "{}", errors(&refused));
    for wrong in ["year", "year:number"] {
        let refused = setup.run(&["ns", "alter", "docs", "--payload-index", wrong]);
        assert_eq!(code(&refused), 2, "{}", errors(&refused));
    }
}
