//! One method per endpoint.

use hvs_api::{
    AliasInfo, AliasList, AlterNamespace, AlteredNamespace, BatchOperation, BatchRequest,
    BatchResponse, BatchSearchRequest, BatchSearchResponse, ByFilterResponse, ChangesQuery,
    ChangesResponse, CheckpointList, CheckpointPlaces, Code, CountRequest, CountResponse,
    CreateCheckpoint, CreateNamespace, DeleteByFilter, DeleteRecord, DeletedCheckpoint,
    DeletedName, Durability, FacetsRequest, FacetsResponse, FetchRequest, FetchResponse, Health,
    MaintenanceInfo, NamespaceInfo, NamespaceList, PatchByFilter, PatchRecord, Problem, PutRecord,
    RecommendRequest, RecommendResponse, RecordInfo, RestoreRequest, ScrollRequest, ScrollResponse,
    SearchRequest, SearchResponse, SetAlias, SwitchAliases, TaskInfo, TaskList, WriteResult,
};
use reqwest::{Method, Url};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Client, ClientError,
    retry::Repeat::{self, Harmless, OnlyIfNotDone},
    transport::Request,
};

/// How to delete a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// As the record was stored with.
    pub partition_key: Option<String>,
    /// Delete only the record of this etag.
    pub if_match: Option<String>,
    /// When to acknowledge.
    pub durability: Option<Durability>,
}

/// Namespaces and aliases.
impl Client {
    /// All namespaces.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_namespaces(&self) -> Result<NamespaceList, ClientError> {
        self.read(&["v1", "namespaces"]).await
    }

    /// Creates a namespace; the same settings again are accepted.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_namespace(
        &self,
        name: &str,
        settings: &CreateNamespace,
    ) -> Result<NamespaceInfo, ClientError> {
        let url = self.url(&["v1", "namespaces", name])?;
        self.send(Request::new(Method::PUT, url, Harmless).body(settings)?).await
    }

    /// Settings and counts of a namespace.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_namespace(&self, name: &str) -> Result<NamespaceInfo, ClientError> {
        self.read(&["v1", "namespaces", name]).await
    }

    /// Changes the indexes of a namespace. What has to be built anew is a task: ask for it until
    /// it has ended.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn alter_namespace(
        &self,
        name: &str,
        request: &AlterNamespace,
    ) -> Result<AlteredNamespace, ClientError> {
        let url = self.url(&["v1", "namespaces", name])?;
        self.send(Request::new(Method::PATCH, url, OnlyIfNotDone).body(request)?).await
    }

    /// Deletes a namespace with all its records and aliases.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_namespace(&self, name: &str) -> Result<DeletedName, ClientError> {
        let url = self.url(&["v1", "namespaces", name])?;
        self.send(Request::new(Method::DELETE, url, OnlyIfNotDone)).await
    }

    /// All aliases.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_aliases(&self) -> Result<AliasList, ClientError> {
        self.read(&["v1", "aliases"]).await
    }

    /// Where an alias leads.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_alias(&self, alias: &str) -> Result<AliasInfo, ClientError> {
        self.read(&["v1", "aliases", alias]).await
    }

    /// Sets an alias, or leads it elsewhere.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_alias(&self, alias: &str, namespace: &str) -> Result<AliasInfo, ClientError> {
        let target = SetAlias { namespace: namespace.to_owned() };
        let url = self.url(&["v1", "aliases", alias])?;
        self.send(Request::new(Method::PUT, url, Harmless).body(&target)?).await
    }

    /// Sets and removes several aliases, all or none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn switch_aliases(&self, switch: &SwitchAliases) -> Result<AliasList, ClientError> {
        self.post(&["v1", "aliases"], switch, OnlyIfNotDone).await
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_alias(&self, alias: &str) -> Result<DeletedName, ClientError> {
        let url = self.url(&["v1", "aliases", alias])?;
        self.send(Request::new(Method::DELETE, url, OnlyIfNotDone)).await
    }
}

/// Checkpoints. What takes long is a task: ask for it until it has ended.
impl Client {
    /// Begins to make a checkpoint.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_checkpoint(
        &self,
        namespace: &str,
        request: &CreateCheckpoint,
    ) -> Result<TaskInfo, ClientError> {
        self.post(&["v1", "namespaces", namespace, "checkpoints"], request, OnlyIfNotDone).await
    }

    /// The checkpoints of a namespace.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_checkpoints(&self, namespace: &str) -> Result<CheckpointList, ClientError> {
        self.read(&["v1", "namespaces", namespace, "checkpoints"]).await
    }

    /// The checkpoints at the node's place for them, whatever namespaces it has.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_all_checkpoints(&self) -> Result<CheckpointPlaces, ClientError> {
        self.read(&["v1", "checkpoints"]).await
    }

    /// Begins to read all of a checkpoint.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn verify_checkpoint(
        &self,
        namespace: &str,
        id: u64,
    ) -> Result<TaskInfo, ClientError> {
        let id = id.to_string();
        let url = self.url(&["v1", "namespaces", namespace, "checkpoints", &id, "verify"])?;
        self.send(Request::new(Method::POST, url, Harmless)).await
    }

    /// Deletes a checkpoint.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_checkpoint(
        &self,
        namespace: &str,
        id: u64,
    ) -> Result<DeletedCheckpoint, ClientError> {
        let url = self.url(&["v1", "namespaces", namespace, "checkpoints", &id.to_string()])?;
        self.send(Request::new(Method::DELETE, url, OnlyIfNotDone)).await
    }

    /// Begins to make a namespace from a checkpoint.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn restore(&self, request: &RestoreRequest) -> Result<TaskInfo, ClientError> {
        self.post(&["v1", "restore"], request, OnlyIfNotDone).await
    }

    /// How far a task is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn task(&self, id: &str) -> Result<TaskInfo, ClientError> {
        self.read(&["v1", "tasks", id]).await
    }

    /// Tells a task that builds indexes to end.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel_task(&self, id: &str) -> Result<TaskInfo, ClientError> {
        let url = self.url(&["v1", "tasks", id])?;
        self.send(Request::new(Method::DELETE, url, OnlyIfNotDone)).await
    }

    /// The tasks that the node knows.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_tasks(&self) -> Result<TaskList, ClientError> {
        self.read(&["v1", "tasks"]).await
    }
}

/// What is done in the background.
impl Client {
    /// Whether indexes are built, and what waits for it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn maintenance(&self) -> Result<MaintenanceInfo, ClientError> {
        self.read(&["v1", "maintenance"]).await
    }

    /// Lets no further build of an index begin, or lets them begin again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pause_maintenance(&self, pause: bool) -> Result<MaintenanceInfo, ClientError> {
        let verb = if pause { "pause" } else { "resume" };
        let url = self.url(&["v1", "maintenance", verb])?;
        self.send(Request::new(Method::POST, url, Harmless)).await
    }
}

/// Records.
impl Client {
    /// Stores a record; `record.id` is required. Without a key of the caller's, the write carries
    /// one of its own, so that repeating it here is safe.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put(
        &self,
        namespace: &str,
        record: &PutRecord,
        idempotency_key: Option<&str>,
    ) -> Result<WriteResult, ClientError> {
        let id = record.id.as_deref().unwrap_or_default();
        if !fits_in_path(id) {
            let durability = record.durability;
            let operation = BatchOperation::Put(PutRecord { durability: None, ..record.clone() });
            return self.write_one(namespace, operation, durability, idempotency_key).await;
        }
        let url = self.record_url(namespace, id, None)?;
        let request = Request::new(Method::PUT, url, Harmless);
        self.send(request.body(record)?.idempotent(idempotency_key)).await
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`ClientError`], with the code `vector_not_found` where there is none.
    pub async fn get(
        &self,
        namespace: &str,
        id: &str,
        partition_key: Option<&str>,
    ) -> Result<RecordInfo, ClientError> {
        if !fits_in_path(id) {
            let request = FetchRequest {
                ids: vec![id.to_owned()],
                partition_key: partition_key.map(str::to_owned),
                ..FetchRequest::default()
            };
            let found = self.fetch(namespace, &request).await?.records.into_iter().next();
            return found.ok_or_else(|| not_found(id));
        }
        let url = self.record_url(namespace, id, partition_key)?;
        self.send(Request::new(Method::GET, url, Harmless)).await
    }

    /// Changes parts of a record; `patch.id` is required.
    ///
    /// # Errors
    /// [`ClientError`], with the code `vector_not_found` where there is none.
    pub async fn patch(
        &self,
        namespace: &str,
        patch: &PatchRecord,
        idempotency_key: Option<&str>,
    ) -> Result<WriteResult, ClientError> {
        let id = patch.id.as_deref().unwrap_or_default();
        if !fits_in_path(id) {
            let durability = patch.durability;
            let operation =
                BatchOperation::Patch(PatchRecord { durability: None, ..patch.clone() });
            return self.write_one(namespace, operation, durability, idempotency_key).await;
        }
        let url = self.record_url(namespace, id, None)?;
        let request = Request::new(Method::PATCH, url, Harmless);
        self.send(request.body(patch)?.idempotent(idempotency_key)).await
    }

    /// Deletes a record.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete(
        &self,
        namespace: &str,
        id: &str,
        options: &DeleteOptions,
        idempotency_key: Option<&str>,
    ) -> Result<WriteResult, ClientError> {
        // Always by a batch of one: the conditions and the partition key are then in the body,
        // and no id is too odd for a path.
        let operation = BatchOperation::Delete(DeleteRecord {
            id: id.to_owned(),
            partition_key: options.partition_key.clone(),
            if_match: options.if_match.clone(),
        });
        self.write_one(namespace, operation, options.durability, idempotency_key).await
    }

    /// Several puts, patches and deletes.
    ///
    /// # Errors
    /// [`ClientError`]. When single operations are bad, the problem's `errors` name each of them
    /// and nothing was changed.
    pub async fn batch(
        &self,
        namespace: &str,
        batch: &BatchRequest,
        idempotency_key: Option<&str>,
    ) -> Result<BatchResponse, ClientError> {
        let url = self.url(&["v1", "namespaces", namespace, "batch"])?;
        let request = Request::new(Method::POST, url, Harmless);
        self.send(request.body(batch)?.idempotent(idempotency_key)).await
    }

    /// Reads many records by their ids.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn fetch(
        &self,
        namespace: &str,
        request: &FetchRequest,
    ) -> Result<FetchResponse, ClientError> {
        self.post(&["v1", "namespaces", namespace, "fetch"], request, Harmless).await
    }

    /// Reads one page of all records.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn scroll(
        &self,
        namespace: &str,
        request: &ScrollRequest,
    ) -> Result<ScrollResponse, ClientError> {
        self.post(&["v1", "namespaces", namespace, "scroll"], request, Harmless).await
    }

    /// Counts records.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn count(
        &self,
        namespace: &str,
        request: &CountRequest,
    ) -> Result<CountResponse, ClientError> {
        self.post(&["v1", "namespaces", namespace, "count"], request, Harmless).await
    }

    /// Deletes the records that match. Repeating it is harmless; an answer that is not complete
    /// says where to go on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_by_filter(
        &self,
        namespace: &str,
        request: &DeleteByFilter,
    ) -> Result<ByFilterResponse, ClientError> {
        self.post(&["v1", "namespaces", namespace, "vectors", "delete"], request, Harmless).await
    }

    /// Changes parts of the records that match, likewise.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn patch_by_filter(
        &self,
        namespace: &str,
        request: &PatchByFilter,
    ) -> Result<ByFilterResponse, ClientError> {
        self.post(&["v1", "namespaces", namespace, "vectors", "patch"], request, Harmless).await
    }

    /// Counts records by the values of a field.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn facets(
        &self,
        namespace: &str,
        request: &FacetsRequest,
    ) -> Result<FacetsResponse, ClientError> {
        self.post(&["v1", "namespaces", namespace, "facets"], request, Harmless).await
    }

    /// The changes after a position: a page of them, waited for if the query says so.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn changes(
        &self,
        namespace: &str,
        query: &ChangesQuery,
    ) -> Result<ChangesResponse, ClientError> {
        let mut url = self.url(&["v1", "namespaces", namespace, "changes"])?;
        let numbers = [
            ("shard", query.shard.map(u64::from)),
            ("limit", query.limit),
            ("wait_ms", query.wait_ms),
        ];
        let texts = [("since", &query.since), ("include", &query.include)];
        {
            let mut pairs = url.query_pairs_mut();
            for (name, number) in numbers {
                if let Some(number) = number {
                    pairs.append_pair(name, &number.to_string());
                }
            }
            for (name, text) in texts {
                if let Some(text) = text {
                    pairs.append_pair(name, text);
                }
            }
        }
        self.send(Request::new(Method::GET, url, Harmless)).await
    }

    async fn write_one(
        &self,
        namespace: &str,
        operation: BatchOperation,
        durability: Option<Durability>,
        idempotency_key: Option<&str>,
    ) -> Result<WriteResult, ClientError> {
        let batch =
            BatchRequest { operations: vec![operation], durability, ..BatchRequest::default() };
        let answer = self.batch(namespace, &batch, idempotency_key).await?;
        let url = self.config().url.clone();
        answer.results.into_iter().next().ok_or_else(|| ClientError::Decode {
            url,
            source: hvs_api::DecodeError::Shape("a batch of one has no result".to_owned()),
        })
    }

    fn record_url(
        &self,
        namespace: &str,
        id: &str,
        partition_key: Option<&str>,
    ) -> Result<Url, ClientError> {
        let mut url = self.url(&["v1", "namespaces", namespace, "vectors", id])?;
        if let Some(key) = partition_key {
            url.query_pairs_mut().append_pair("partition_key", key);
        }
        Ok(url)
    }
}

/// Search, geometry and the node itself.
impl Client {
    /// Finds the nearest records.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn search(
        &self,
        namespace: &str,
        request: &SearchRequest,
    ) -> Result<SearchResponse, ClientError> {
        self.post(&["v1", "namespaces", namespace, "search"], request, Harmless).await
    }

    /// Finds records by examples.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn recommend(
        &self,
        namespace: &str,
        request: &RecommendRequest,
    ) -> Result<RecommendResponse, ClientError> {
        self.post(&["v1", "namespaces", namespace, "recommend"], request, Harmless).await
    }

    /// Several searches in one request.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn search_batch(
        &self,
        namespace: &str,
        request: &BatchSearchRequest,
    ) -> Result<BatchSearchResponse, ClientError> {
        self.post(&["v1", "namespaces", namespace, "search", "batch"], request, Harmless).await
    }

    /// A geometry operation by its name in the API, such as `distance` with a
    /// [`PairRequest`](hvs_api::PairRequest).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn geometry<Q: Serialize, A: DeserializeOwned>(
        &self,
        operation: &str,
        request: &Q,
    ) -> Result<A, ClientError> {
        let mut path = vec!["v1", "geometry"];
        path.extend(operation.split('/'));
        self.post(&path, request, Harmless).await
    }

    /// The state of the node and of its parts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.read(&["health"]).await
    }

    /// Whether the node takes requests.
    ///
    /// # Errors
    /// [`ClientError`]: the reason why it does not.
    pub async fn ready(&self) -> Result<(), ClientError> {
        let url = self.url(&["readyz"])?;
        self.send_raw(&Request::new(Method::GET, url, Harmless)).await.map(|_| ())
    }

    async fn read<A: DeserializeOwned>(&self, path: &[&str]) -> Result<A, ClientError> {
        self.send(Request::new(Method::GET, self.url(path)?, Harmless)).await
    }

    async fn post<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &Q,
        repeat: Repeat,
    ) -> Result<A, ClientError> {
        self.send(Request::new(Method::POST, self.url(path)?, repeat).body(body)?).await
    }
}

/// Whether an id can stand in a path: these would be taken as steps within it.
fn fits_in_path(id: &str) -> bool {
    !matches!(id, "" | "." | "..")
}

fn not_found(id: &str) -> ClientError {
    let detail = format!("no vector has the id {id:?}");
    ClientError::Problem(Box::new(Problem::new(Code::VectorNotFound, detail).with("id", id)))
}
