//! Weaviate: REST for writes, GraphQL for searches.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use hvs_tests::http::{Answer, Connection};
use serde_json::{Value, json};

use super::{
    EF_CONSTRUCTION, K, M,
    drive::{Request, System},
    install,
    server::{Server, call, free_address, read},
};

const CLASS: &str = "Bench";

pub(super) struct Weaviate {
    server: Server,
}

impl Weaviate {
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let program = install::weaviate()?;
        let address = free_address()?;
        let (gossip, data) = (free_address()?.port(), free_address()?.port());
        let (raft, internal, grpc) =
            (free_address()?.port(), free_address()?.port(), free_address()?.port());
        let mut command = Command::new(program);
        command
            .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--scheme", "http"])
            .env("PERSISTENCE_DATA_PATH", folder.join("data"))
            .env("AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED", "true")
            .env("DEFAULT_VECTORIZER_MODULE", "none")
            .env("CLUSTER_HOSTNAME", "node1")
            .env("CLUSTER_ADVERTISE_ADDR", "127.0.0.1")
            .env("CLUSTER_GOSSIP_BIND_PORT", gossip.to_string())
            .env("CLUSTER_DATA_BIND_PORT", data.to_string())
            .env("RAFT_PORT", raft.to_string())
            .env("RAFT_INTERNAL_RPC_PORT", internal.to_string())
            .env("RAFT_BOOTSTRAP_EXPECT", "1")
            .env("RAFT_JOIN", format!("node1:{raft}"))
            .env("GRPC_PORT", grpc.to_string())
            .env("DISABLE_TELEMETRY", "true")
            .env("LOG_LEVEL", "warning")
            .current_dir(folder);
        Ok(Self { server: Server::start(&mut command, address, "/v1/.well-known/ready", folder)? })
    }

    /// Its ids are UUIDs; ours are numbers.
    fn id(at: usize) -> String {
        format!("00000000-0000-0000-0000-{at:012}")
    }
}

fn index(ef: u64) -> Value {
    json!({
        "distance": "l2-squared", "maxConnections": M, "efConstruction": EF_CONSTRUCTION, "ef": ef,
    })
}

impl System for Weaviate {
    fn name(&self) -> &'static str {
        "weaviate"
    }

    fn connect(&self) -> Result<Connection> {
        Connection::open(self.server.address)
    }

    fn pid(&self) -> u32 {
        self.server.pid()
    }

    fn create(&mut self, connection: &mut Connection) -> Result<()> {
        let body = json!({
            "class": CLASS, "vectorizer": "none", "vectorIndexType": "hnsw",
            "vectorIndexConfig": index(64),
        });
        call(connection, "POST", "/v1/schema", &body).map(|_| ())
    }

    fn batch(&self, first: usize, rows: &[&[f32]]) -> Request {
        let objects: Vec<Value> = rows
            .iter()
            .enumerate()
            .map(|(at, row)| json!({"class": CLASS, "id": Self::id(first + at), "vector": row}))
            .collect();
        Request::new("POST", String::from("/v1/batch/objects"), &json!({"objects": objects}))
    }

    fn check_batch(&self, answer: &Answer) -> Result<()> {
        let answer = read(answer)?;
        let objects = answer.as_array().context("no list of objects")?;
        for object in objects {
            ensure!(
                object.pointer("/result/status").is_some_and(|status| status == "SUCCESS"),
                "a batch lost a put: {object}"
            );
        }
        Ok(())
    }

    fn wait_until_indexed(&self, _: &mut Connection) -> Result<()> {
        // Indexing is part of its writes.
        Ok(())
    }

    fn put(&self, at: usize, row: &[f32], sync: bool) -> Option<Request> {
        let body = json!({"class": CLASS, "id": Self::id(at), "vector": row});
        (!sync).then(|| Request::new("POST", String::from("/v1/objects"), &body))
    }

    fn set_width(&mut self, connection: &mut Connection, ef: u64) -> Result<()> {
        let path = format!("/v1/schema/{CLASS}");
        let mut class = call(connection, "GET", &path, &Value::Null)?;
        if let Some(known) = class.get_mut("vectorIndexConfig") {
            known.as_object_mut().context("no settings")?.insert(String::from("ef"), json!(ef));
        }
        call(connection, "PUT", &path, &class).map(|_| ())
    }

    fn query(&self, vector: &[f32], _: u64) -> Request {
        let numbers = json!(vector);
        let query = format!(
            "{{Get{{{CLASS}(nearVector:{{vector:{numbers}}},limit:{K}){{_additional{{id}}}}}}}}"
        );
        Request::new("POST", String::from("/v1/graphql"), &json!({"query": query}))
    }

    fn queries(&self, _: &[&[f32]], _: u64) -> Option<Request> {
        None
    }

    fn hits(&self, answer: &Answer) -> Result<Vec<usize>> {
        let answer = read(answer)?;
        let hits = answer.pointer("/data/Get/Bench").and_then(Value::as_array);
        let hits = hits.with_context(|| format!("no hits: {answer}"))?;
        hits.iter()
            .map(|hit| {
                let id = hit
                    .pointer("/_additional/id")
                    .and_then(Value::as_str)
                    .context("a hit without id")?;
                Ok(id.rsplit('-').next().unwrap_or_default().parse()?)
            })
            .collect()
    }
}
