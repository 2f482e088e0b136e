//! What the profiles `memory` and `accuracy` take and find, over the same rows.

use std::path::Path;

use anyhow::{Result, ensure};
use hvs_api::{
    BatchOperation, BatchRequest, BatchResponse, CreateNamespace, NamespaceInfo, Profile,
    SearchRequest, SearchResponse, Vector,
};
use xtask::report::{Measure, number};

use super::ingest::{self, BATCH, Set};
use crate::{
    glove::{self, Workload},
    process,
};

const K: usize = 10;
const MIB: f64 = 1_048_576.0;

/// What one profile took.
struct Taken {
    resident: f64,
    anonymous: f64,
    recall: f64,
}

/// `count` rows together with the queries.
pub(super) fn measure(file: &Path, count: usize, rows: &mut Vec<Measure>) -> Result<()> {
    let stored = count.saturating_sub(glove::QUERIES + glove::SPARE);
    let workload = Workload::read(file, stored, K)?;
    let memory = take(&workload, Profile::Memory)?;
    let accuracy = take(&workload, Profile::Accuracy)?;
    let part = 100.0 * memory.resident / accuracy.resident;
    let against = format!(
        "{} / {} MiB, of them {} / {} in no file",
        number(memory.resident / MIB),
        number(accuracy.resident / MIB),
        number(memory.anonymous / MIB),
        number(accuracy.anonymous / MIB)
    );
    let resident = "memory profile / accuracy profile resident";
    rows.push(Measure::at_most(resident, part, "%", 40.0).against(against));
    let recall = "memory profile: recall@10";
    rows.push(
        Measure::at_least(recall, memory.recall, "", 0.9)
            .against(format!("accuracy profile {:.3}", accuracy.recall)),
    );
    Ok(())
}

/// Fills a node of its own, starts it again so that nothing is left of building, and searches.
fn take(workload: &Workload, profile: Profile) -> Result<Taken> {
    let folder = tempfile::tempdir()?;
    let mut node = super::start(folder.path())?;
    let mut connection = node.connect()?;
    let set = Set {
        name: "GloVe",
        geometry: "euclidean",
        dimension: glove::DIMENSION,
        rows: workload.stored.iter().map(<[f32]>::to_vec).collect(),
    };
    let path = set.path();
    let create = CreateNamespace {
        geometry: Some(set.geometry.to_owned()),
        dimension: Some(set.dimension as u64),
        profile: Some(profile),
        ..CreateNamespace::default()
    };
    let _: NamespaceInfo = connection.call("PUT", &path, &create)?;
    eprintln!("{profile:?}: writing {} rows", set.rows.len());
    for (first, part) in set.rows.chunks(BATCH).enumerate() {
        let puts = part.iter().enumerate();
        let operations =
            puts.map(|(at, row)| BatchOperation::Put(set.put(first * BATCH + at, row))).collect();
        let request = BatchRequest { operations, ..BatchRequest::default() };
        let answer: BatchResponse = connection.call("POST", &format!("{path}/batch"), &request)?;
        ensure!(answer.failed == 0, "a batch lost puts");
    }
    ingest::wait_until_indexed(&mut connection, &path)?;
    drop(connection);
    node.stop()?;
    node = super::start(folder.path())?;
    let mut connection = node.connect()?;
    let mut found = 0;
    for (query, truth) in workload.queries.iter().zip(&workload.truth) {
        let request = SearchRequest {
            vector: Some(Vector(query.iter().map(|x| f64::from(*x)).collect())),
            k: Some(K as u64),
            cache: Some(false),
            ..SearchRequest::default()
        };
        let answer: SearchResponse =
            connection.call("POST", &format!("{path}/search"), &request)?;
        let is_true = |id: &str| truth.iter().any(|at| format!("p{at:07}") == id);
        found += answer.hits.iter().filter(|hit| is_true(&hit.id)).count();
    }
    let taken = Taken {
        resident: process::resident_memory(node.pid())? as f64,
        anonymous: process::anonymous_memory(node.pid())? as f64,
        recall: found as f64 / (workload.queries.len() * K) as f64,
    };
    eprintln!(
        "{profile:?}: {:.0} MiB resident, {:.0} in no file, recall {:.4}",
        taken.resident / MIB,
        taken.anonymous / MIB,
        taken.recall
    );
    drop(connection);
    node.stop()?;
    Ok(taken)
}
