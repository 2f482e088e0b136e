//! Geometry without a node, and hierarchies.

use std::fs;

use hvs_tests::node::workspace;
use serde_json::{Value, json};

use crate::setup::{Setup, code, errors};

#[test]
fn reference_cases_are_checked() {
    let setup = Setup::new();
    let golden = workspace().join("crates/geometry/tests/golden/geometry.json");
    let golden = golden.to_str().unwrap();
    let report = setup.json(&["geometry", "check", golden]);
    let cases: u64 = report["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["cases"].as_u64().unwrap())
        .sum();
    assert_eq!(cases, 804);

    let mut file: Value = serde_json::from_str(&fs::read_to_string(golden).unwrap()).unwrap();
    file["cases"][0]["out"] = json!(0.759_116_737);
    setup.file("altered.json", file.to_string());
    let altered = setup.run(&["geometry", "check", "altered.json"]);
    assert_eq!(code(&altered), 1);
    let shown = String::from_utf8_lossy(&altered.stdout).into_owned();
    assert!(shown.contains("case 0, poincare distance: error"), "{shown}");
    file["cases"][3]["op"] = json!("cube");
    setup.file("malformed.json", file.to_string());
    let malformed = setup.run(&["geometry", "check", "malformed.json"]);
    assert_eq!(code(&malformed), 5);
    assert!(errors(&malformed).contains("case 3: unknown operation \"cube\""));
}

#[test]
fn geometry_is_computed_without_a_node() {
    let setup = Setup::new();
    let distance =
        setup.json(&["geometry", "distance", "-g", "poincare", "-c", "-4", "0.1,0", "-0.1,0"]);
    // Radii 2·artanh(√c·x)/√c on either side of the centre.
    let expected = 2.0 * 0.2_f64.atanh();
    assert!((distance["distance"].as_f64().unwrap() - expected).abs() < 1e-15, "{distance}");
    let wrong = setup.run(&["geometry", "validate", "-g", "hyperboloid", "1,1,0"]);
    assert_eq!(code(&wrong), 1);
    assert!(errors(&wrong).contains("1.414"), "{}", errors(&wrong));
    setup.file("points.txt", "[1, 0]\n\n-1 0\n");
    let mean = setup.json(&["geometry", "mean", "-g", "euclidean", "points.txt"]);
    assert_eq!(mean["point"], json!([0.0, 0.0]));
}

#[test]
fn coordinates_are_read_from_the_standard_input() {
    let setup = Setup::new();
    setup.file("point", "[0.1, 0]\n");
    setup.file("nothing", "\n");
    let distance = |arguments: &[&str], input: &str| {
        let start = ["geometry", "distance", "-g", "euclidean", "--json"];
        let mut command = setup.command(&[&start[..], arguments].concat());
        command.stdin(fs::File::open(setup.folder.path().join(input)).unwrap()).output().unwrap()
    };
    for arguments in [["-", "0.5,0"], ["0.5,0", "-"]] {
        let output = distance(&arguments, "point");
        assert_eq!(code(&output), 0, "{arguments:?}: {}", errors(&output));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!((answer["distance"].as_f64().unwrap() - 0.4).abs() < 1e-15, "{answer}");
    }
    for (arguments, input) in [(["-", "-"], "point"), (["-", "0.5,0"], "nothing")] {
        let output = distance(&arguments, input);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", errors(&output));
        assert!(errors(&output).contains("standard input"), "{}", errors(&output));
    }
}

#[test]
fn a_hierarchy_is_embedded_imported_and_searched() {
    let setup = Setup::new();
    let edges = "animal\nmammal\tanimal\nbird\tanimal\ndog\tmammal\ncat\tmammal\nowl\tbird\n";
    setup.file("edges.tsv", edges);
    let report = setup.json(&[
        "embed-hierarchy",
        "edges.tsv",
        "--dimension",
        "4",
        "--output",
        "points.jsonl",
        "--report",
    ]);
    assert_eq!(report["nodes"], 6);
    assert!(report["ancestors"]["map"].as_f64().unwrap() > 0.99, "{report}");
    setup.create("animals", "4");
    setup.json(&["import", "animals", "points.jsonl"]);
    let found = setup.json(&["search", "animals", "--id", "dog", "-k", "3"]);
    let nearest: Vec<&str> =
        found["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect();
    assert_eq!(nearest[..2], ["dog", "mammal"]);

    setup.file("circle.tsv", "a\tb\nb\ta\n");
    let circle = setup.run(&["embed-hierarchy", "circle.tsv"]);
    assert_eq!(code(&circle), 5);
    assert!(errors(&circle).contains("circle"), "{}", errors(&circle));
    setup.file("wide.tsv", "a\tb\nc\td\te\n");
    let wide = setup.run(&["embed-hierarchy", "wide.tsv"]);
    assert!(errors(&wide).contains("line 2: 3 fields"), "{}", errors(&wide));
}
