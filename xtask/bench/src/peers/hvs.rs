//! HVS as a server among the others.

use std::{path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use hvs_tests::{
    http::{Answer, Connection},
    node::{Node, Settings},
};
use serde_json::{Value, json};

use super::{
    EF_CONSTRUCTION, K, M,
    drive::{Request, System},
    server::{call, read},
};
use crate::glove::DIMENSION;

const NAMESPACE: &str = "/v1/namespaces/bench";

pub(super) struct Hvs {
    node: Node,
}

impl Hvs {
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let settings = Settings::release(folder).with("log.level", "warn");
        Ok(Self { node: Node::start(&settings)? })
    }

    fn search(vector: &[f32], ef: u64) -> Value {
        // The others do not keep answers either.
        json!({"vector": vector, "k": K, "ef": ef, "cache": false})
    }
}

impl System for Hvs {
    fn name(&self) -> &'static str {
        "hvs"
    }

    fn connect(&self) -> Result<Connection> {
        self.node.connect()
    }

    fn pid(&self) -> u32 {
        self.node.pid()
    }

    fn create(&mut self, connection: &mut Connection) -> Result<()> {
        let index = json!({"type": "HNSW", "m": M, "ef_construction": EF_CONSTRUCTION});
        let body = json!({"geometry": "euclidean", "dimension": DIMENSION, "index": index});
        call(connection, "PUT", NAMESPACE, &body).map(|_| ())
    }

    fn batch(&self, first: usize, rows: &[&[f32]]) -> Request {
        let operations: Vec<Value> = rows
            .iter()
            .enumerate()
            .map(|(at, row)| json!({"put": {"id": (first + at).to_string(), "vector": row}}))
            .collect();
        Request::new("POST", format!("{NAMESPACE}/batch"), &json!({"operations": operations}))
    }

    fn check_batch(&self, answer: &Answer) -> Result<()> {
        let answer = read(answer)?;
        ensure!(
            answer.pointer("/failed").and_then(Value::as_u64) == Some(0),
            "a batch lost puts: {answer}"
        );
        Ok(())
    }

    fn wait_until_indexed(&self, connection: &mut Connection) -> Result<()> {
        let mut quiet = 0;
        while quiet < 3 {
            let info = call(connection, "GET", NAMESPACE, &Value::Null)?;
            let building = info.pointer("/vectors//state/building").and_then(Value::as_bool);
            let building = building.context("no state of the index")?;
            // Between two builds nothing is built for a moment.
            quiet = if building { 0 } else { quiet + 1 };
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn put(&self, at: usize, row: &[f32], sync: bool) -> Option<Request> {
        let durability = if sync { "sync" } else { "buffered" };
        let body = json!({"vector": row, "durability": durability});
        Some(Request::new("PUT", format!("{NAMESPACE}/vectors/{at}"), &body))
    }

    fn set_width(&mut self, _: &mut Connection, _: u64) -> Result<()> {
        Ok(())
    }

    fn query(&self, vector: &[f32], ef: u64) -> Request {
        Request::new("POST", format!("{NAMESPACE}/search"), &Self::search(vector, ef))
    }

    fn queries(&self, vectors: &[&[f32]], ef: u64) -> Option<Request> {
        let searches: Vec<Value> = vectors.iter().map(|vector| Self::search(vector, ef)).collect();
        let body = json!({"searches": searches});
        Some(Request::new("POST", format!("{NAMESPACE}/search/batch"), &body))
    }

    fn hits(&self, answer: &Answer) -> Result<Vec<usize>> {
        let answer = read(answer)?;
        let hits = answer.get("hits").and_then(Value::as_array).context("no hits")?;
        hits.iter()
            .map(|hit| {
                Ok(hit.get("id").and_then(Value::as_str).context("a hit without id")?.parse()?)
            })
            .collect()
    }
}
