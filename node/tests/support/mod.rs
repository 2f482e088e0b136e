//! A node in this process, and requests to it as a client makes them.

#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a failure here is a failed test"
)]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use hvs_api::{Encoding, decode, encode};
use hvs_node::{Node, config::Config};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap},
};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::MessagePack];

/// Longer than anything takes that a test waits for.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running node with its directory.
pub struct TestNode {
    pub node: Option<Node>,
    pub directory: TempDir,
    pub base: String,
    client: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }

    /// Asserts that it is a complete problem of `code`, and returns it.
    #[track_caller]
    pub fn problem(self, code: &str) -> Value {
        let known: hvs_api::Code = code.parse().expect("a code of the API");
        let body = &self.body;
        assert_eq!(body["code"], code, "{self:?}");
        assert_eq!(self.status, known.status(), "{self:?}");
        let media_type = self.headers[CONTENT_TYPE].to_str().unwrap();
        assert!(media_type.starts_with("application/problem+"), "{media_type}");
        assert_eq!(body["type"], format!("urn:hvs:problem:{code}"));
        assert_eq!(body["status"], self.status);
        assert_eq!(body["request_id"], self.headers["x-request-id"].to_str().unwrap());
        for member in ["title", "detail", "help"] {
            assert!(!body[member].as_str().unwrap().is_empty(), "{member} in {body}");
        }
        self.body
    }
}

/// A configuration on free ports in `directory`, small enough to have many of in one process.
pub fn config_in(directory: &Path) -> Config {
    let mut config = Config::default();
    config.listen.external = ([127, 0, 0, 1], 0).into();
    config.listen.internal = ([127, 0, 0, 1], 0).into();
    config.storage.data_dir = directory.into();
    config.storage.shard_cache_bytes = 1 << 20;
    config.storage.shard_memtable_bytes = 1 << 20;
    config
}

impl TestNode {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config_in(directory.path());
        change(&mut config);
        let node = Node::start(config).await.unwrap();
        Self::around(node, directory)
    }

    fn around(node: Node, directory: TempDir) -> Self {
        let base = format!("http://{}", node.external());
        Self { node: Some(node), directory, base, client: reqwest::Client::new() }
    }

    /// Stops the node and starts it again on the same directory.
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same with another configuration.
    pub async fn restart_with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        self.node.take().unwrap().stop().await.unwrap();
        let mut config = config_in(self.directory.path());
        change(&mut config);
        let node = Node::start(config).await.unwrap();
        Self::around(node, self.directory)
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        answer(request.send().await.unwrap()).await
    }

    /// A request with a body in an encoding.
    pub async fn call_in(
        &self,
        encoding: Encoding,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Answer {
        let bytes = encode(encoding, body).unwrap();
        self.bytes(encoding.content_type(), method, path, bytes).await
    }

    pub async fn bytes(
        &self,
        content_type: &str,
        method: Method,
        path: &str,
        bytes: Vec<u8>,
    ) -> Answer {
        let request = self.request(method, path).header(CONTENT_TYPE, content_type).body(bytes);
        self.send(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call_in(Encoding::Json, Method::PUT, path, &body).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call_in(Encoding::Json, Method::POST, path, &body).await
    }

    /// How the task with this id ends.
    pub async fn task(&self, id: &Value) -> Value {
        let path = format!("/v1/tasks/{}", id.as_str().expect("a task"));
        self.until(&path, |task| task["state"] != "running").await
    }

    /// What `path` holds once it is as it should be.
    pub async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let body = self.get(path).await.ok();
            if is_so(&body) {
                return body;
            }
            assert!(begun.elapsed() < PATIENCE, "{path} stays as it is: {body}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Creates a namespace.
    pub async fn namespace(&self, name: &str, settings: Value) {
        self.put(&format!("/v1/namespaces/{name}"), settings).await.ok();
    }

    /// Everything that a client can see, apart from how indexes have arranged it: what must not
    /// change when a request is refused.
    pub async fn contents(&self) -> Value {
        let mut list = self.get("/v1/namespaces").await.ok();
        for namespace in list["namespaces"].as_array_mut().unwrap() {
            let name = namespace["name"].as_str().unwrap().to_owned();
            let scroll = format!("/v1/namespaces/{name}/scroll");
            let records = self.post(&scroll, json!({"limit": 1000})).await.ok();
            namespace["contents"] = records["records"].clone();
            let storage = namespace["storage"].as_object_mut().unwrap();
            storage.retain(|figure, _| figure == "compression");
            namespace.as_object_mut().unwrap().remove("payload");
            for vector in namespace["vectors"].as_object_mut().unwrap().values_mut() {
                vector.as_object_mut().unwrap().remove("state");
            }
        }
        list["aliases"] = self.get("/v1/aliases").await.ok();
        list
    }
}

pub async fn answer(response: reqwest::Response) -> Answer {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let encoding = headers.get(CONTENT_TYPE).and_then(|value| match value.to_str().unwrap() {
        "application/problem+json" => Some(Encoding::Json),
        "application/problem+msgpack" => Some(Encoding::MessagePack),
        other => Encoding::from_content_type(other),
    });
    let bytes = response.bytes().await.unwrap();
    let body = match encoding {
        Some(encoding) => decode(encoding, &bytes).unwrap(),
        None => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
    };
    Answer { status, headers, body }
}

/// The ids of a search's hits.
pub fn ids(answer: &Value) -> Vec<String> {
    let hits = answer["hits"].as_array().unwrap();
    hits.iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

/// A node with small limits, and with a hyperboloid namespace `h` in f32 and a Euclidean one `e` with a record each.
pub async fn prepared() -> TestNode {
    let node = TestNode::with(|config| {
        config.limits.body_bytes = 64 << 10;
        config.limits.bytes_in_flight = 64 << 10;
        config.limits.batch_operations = 5;
        config.limits.fetch_ids = 5;
        config.limits.searches = 5;
        config.limits.k = 50;
        config.limits.ef = 100;
        config.limits.dimension = 64;
        config.limits.metadata_bytes = 100;
        config.limits.filter_terms = 2;
        config.limits.filter_depth = 2;
        config.limits.filter_values = 2;
        config.limits.namespaces = 3;
        config.limits.shards = 4;
        config.limits.points = 5;
        config.index.ef_construction = 100;
        config.limits.nprobe = 100;
    })
    .await;
    node.namespace("h", json!({"geometry": "hyperboloid", "dimension": 2})).await;
    node.namespace("e", json!({"geometry": "euclidean", "dimension": 2})).await;
    node.put("/v1/namespaces/h/vectors/kept", json!({"vector": [1.25, 0, 0.75]})).await.ok();
    node.put("/v1/namespaces/e/vectors/kept", json!({"vector": [1, 2]})).await.ok();
    node
}
