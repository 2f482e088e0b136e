//! Chroma: its second API, JSON throughout.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};
use hvs_tests::http::{Answer, Connection};
use serde_json::{Value, json};

use super::{
    EF_CONSTRUCTION, K, M,
    drive::{Request, System},
    install,
    server::{Server, call, free_address, read},
};

const COLLECTIONS: &str = "/api/v2/tenants/default_tenant/databases/default_database/collections";
/// It searches with the width that a collection was made with.
const WIDTH: u64 = 100;

pub(super) struct Chroma {
    server: Server,
    collection: String,
}

impl Chroma {
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let python = install::python("chromadb", "1.5.9")?;
        let program = python.with_file_name("chroma");
        let address = free_address()?;
        let mut command = Command::new(program);
        command
            .arg("run")
            .arg("--path")
            .arg(folder.join("data"))
            .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
            .env("ANONYMIZED_TELEMETRY", "False")
            .current_dir(folder);
        let server = Server::start(&mut command, address, "/api/v2/heartbeat", folder)?;
        Ok(Self { server, collection: String::new() })
    }
}

impl System for Chroma {
    fn name(&self) -> &'static str {
        "chroma"
    }

    fn connect(&self) -> Result<Connection> {
        Connection::open(self.server.address)
    }

    fn pid(&self) -> u32 {
        self.server.pid()
    }

    fn create(&mut self, connection: &mut Connection) -> Result<()> {
        let hnsw = json!({
            "space": "l2", "max_neighbors": M, "ef_construction": EF_CONSTRUCTION,
            "ef_search": WIDTH,
        });
        let body = json!({"name": "bench", "configuration": {"hnsw": hnsw}});
        let made = call(connection, "POST", COLLECTIONS, &body)?;
        let id = made.get("id").and_then(Value::as_str).context("a collection without id")?;
        self.collection = format!("{COLLECTIONS}/{id}");
        Ok(())
    }

    fn batch(&self, first: usize, rows: &[&[f32]]) -> Request {
        let ids: Vec<String> = (0..rows.len()).map(|at| (first + at).to_string()).collect();
        let body = json!({"ids": ids, "embeddings": rows});
        Request::new("POST", format!("{}/add", self.collection), &body)
    }

    fn check_batch(&self, answer: &Answer) -> Result<()> {
        read(answer).map(|_| ())
    }

    fn wait_until_indexed(&self, _: &mut Connection) -> Result<()> {
        // Indexing is part of its writes.
        Ok(())
    }

    fn put(&self, at: usize, row: &[f32], sync: bool) -> Option<Request> {
        let body = json!({"ids": [at.to_string()], "embeddings": [row]});
        (!sync).then(|| Request::new("POST", format!("{}/upsert", self.collection), &body))
    }

    fn set_width(&mut self, _: &mut Connection, _: u64) -> Result<()> {
        Ok(())
    }

    fn widths(&self) -> &[u64] {
        &[WIDTH]
    }

    fn query(&self, vector: &[f32], _: u64) -> Request {
        let body = json!({"query_embeddings": [vector], "n_results": K, "include": []});
        Request::new("POST", format!("{}/query", self.collection), &body)
    }

    fn queries(&self, vectors: &[&[f32]], _: u64) -> Option<Request> {
        let body = json!({"query_embeddings": vectors, "n_results": K, "include": []});
        Some(Request::new("POST", format!("{}/query", self.collection), &body))
    }

    fn hits(&self, answer: &Answer) -> Result<Vec<usize>> {
        let answer = read(answer)?;
        let ids = answer.pointer("/ids/0").and_then(Value::as_array).context("no hits")?;
        ids.iter().map(|id: &Value| Ok(id.as_str().context("no id")?.parse()?)).collect()
    }
}
