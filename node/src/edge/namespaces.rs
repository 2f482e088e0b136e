//! Namespaces and aliases.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, http::StatusCode, response::Response};
use hvs_api::{
    AliasInfo, AliasList, Code, CreateNamespace, DeletedName, IndexState, NamespaceInfo,
    NamespaceList, PayloadState, SetAlias, StorageState, SwitchAliases, TextState, VectorInfo,
};
use hvs_index::IndexStats;
use hvs_shard::ShardStats;

use super::{
    App,
    body::{Params, Payload},
    call::Call,
    failure::Failure,
};
use crate::catalogue::{CatalogueError, Overview, space_info};

pub(super) async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Response, Failure> {
    let aliases = app.catalogue.aliases();
    let namespaces =
        app.catalogue.overviews().iter().map(|overview| info(overview, &aliases)).collect();
    call.reply(&NamespaceList { namespaces })
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Params(name): Params<String>,
    call: Call,
    payload: Payload<CreateNamespace>,
) -> Result<Response, Failure> {
    let catalogue = Arc::clone(&app.catalogue);
    // On a task of its own: a client that goes away leaves no half-made namespace behind.
    let creation = tokio::spawn(async move { catalogue.create(&name, &payload.value).await });
    let (namespace, is_new) = creation.await.map_err(|_| CatalogueError::Worker)??;
    let mut response = call.reply(&info(&namespace, &app.catalogue.aliases()))?;
    if is_new {
        *response.status_mut() = StatusCode::CREATED;
    }
    app.scale.see_dimensions(&app.catalogue);
    Ok(response)
}

pub(super) async fn describe(
    State(app): State<Arc<App>>,
    Params(name): Params<String>,
    call: Call,
) -> Result<Response, Failure> {
    let overview = app.catalogue.overview(&name)?;
    call.reply(&info(&overview, &app.catalogue.aliases()))
}

pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Params(name): Params<String>,
    call: Call,
) -> Result<Response, Failure> {
    let catalogue = Arc::clone(&app.catalogue);
    let deleted = name.clone();
    let deletion = tokio::spawn(async move { catalogue.delete(&name).await });
    deletion.await.map_err(|_| CatalogueError::Worker)??;
    app.scale.see_dimensions(&app.catalogue);
    call.reply(&DeletedName { name: deleted })
}

pub(super) async fn list_aliases(
    State(app): State<Arc<App>>,
    call: Call,
) -> Result<Response, Failure> {
    call.reply(&alias_list(&app))
}

pub(super) async fn switch_aliases(
    State(app): State<Arc<App>>,
    call: Call,
    payload: Payload<SwitchAliases>,
) -> Result<Response, Failure> {
    if payload.value.aliases.is_empty() {
        return Err(Failure::new(Code::EmptyBatch, "aliases is empty"));
    }
    app.catalogue.switch_aliases(&payload.value.aliases).await?;
    call.reply(&alias_list(&app))
}

pub(super) async fn set_alias(
    State(app): State<Arc<App>>,
    Params(alias): Params<String>,
    call: Call,
    payload: Payload<SetAlias>,
) -> Result<Response, Failure> {
    let namespace = payload.value.namespace.clone();
    let change = BTreeMap::from([(alias.clone(), Some(namespace.clone()))]);
    app.catalogue.switch_aliases(&change).await?;
    call.reply(&AliasInfo { alias, namespace })
}

pub(super) async fn get_alias(
    State(app): State<Arc<App>>,
    Params(alias): Params<String>,
    call: Call,
) -> Result<Response, Failure> {
    crate::catalogue::check_name(&alias, app.config.limits.name_bytes)?;
    match app.catalogue.aliases().remove(&alias) {
        Some(namespace) => call.reply(&AliasInfo { alias, namespace }),
        None => Err(CatalogueError::AliasNotFound { name: alias }.into()),
    }
}

pub(super) async fn delete_alias(
    State(app): State<Arc<App>>,
    Params(alias): Params<String>,
    call: Call,
) -> Result<Response, Failure> {
    let change = BTreeMap::from([(alias.clone(), None)]);
    app.catalogue.switch_aliases(&change).await?;
    call.reply(&DeletedName { name: alias })
}

fn alias_list(app: &App) -> AliasList {
    let aliases = app.catalogue.aliases().into_iter();
    AliasList {
        aliases: aliases.map(|(alias, namespace)| AliasInfo { alias, namespace }).collect(),
    }
}

pub(super) fn info(overview: &Overview, aliases: &BTreeMap<String, String>) -> NamespaceInfo {
    let Overview { description: namespace, is_loaded, stats, .. } = overview;
    let settings = &namespace.entry.settings;
    let vectors = namespace.vectors.iter().filter_map(|(name, vector)| {
        let kept = settings.vectors.get(name)?;
        let info = VectorInfo {
            space: space_info(&vector.space),
            precision: kept.precision,
            index: kept.index.clone(),
            state: index_state(stats, name),
        };
        Some((name.clone(), info))
    });
    NamespaceInfo {
        name: namespace.name.clone(),
        uid: namespace.entry.uid.to_string(),
        created_at_ms: namespace.entry.created_at_ms,
        aliases: aliases
            .iter()
            .filter(|(_, target)| **target == namespace.name)
            .map(|(alias, _)| alias.clone())
            .collect(),
        vectors: vectors.collect(),
        shards: settings.shards,
        profile: settings.profile,
        ttl_ms: settings.ttl_ms,
        records: stats.iter().map(|shard| shard.records).sum(),
        loaded: *is_loaded,
        durability: namespace.durability,
        memory_records: stats.iter().map(|shard| shard.memory_records).sum(),
        text: namespace.text.map(|_| text_state(stats)),
        payload_indexing: settings.payload.indexing,
        payload_indexes: settings.payload.indexes.clone(),
        payload: payload_state(stats),
        prefetch: namespace.prefetch,
        storage: StorageState {
            compression: namespace.compression,
            bytes: stats.iter().map(|shard| shard.store_bytes).sum(),
            written_plain_bytes: stats.iter().map(|shard| shard.written_plain_bytes).sum(),
            written_stored_bytes: stats.iter().map(|shard| shard.written_stored_bytes).sum(),
            rewriting: stats.iter().any(|shard| shard.is_recompressing),
        },
    }
}

fn payload_state(shards: &[ShardStats]) -> PayloadState {
    let all = shards.iter();
    all.fold(PayloadState { ready: true, ..PayloadState::default() }, |sum, stats| PayloadState {
        fields: sum.fields.max(stats.payload.fields as u64),
        values: sum.values + stats.payload.values as u64,
        bytes: sum.bytes + stats.payload.bytes as u64,
        partial: sum.partial + stats.payload.partial,
        ready: sum.ready && !stats.payload_building,
    })
}

fn text_state(shards: &[ShardStats]) -> TextState {
    // One whose index is about to be there is not ready.
    let of_text = shards.iter().map(|shard| shard.text.unwrap_or_default());
    of_text.fold(TextState { ready: true, ..TextState::default() }, |sum, stats| TextState {
        documents: sum.documents + stats.documents,
        segments: sum.segments + stats.segments,
        pending_bytes: sum.pending_bytes + stats.pending_bytes,
        ready: sum.ready && stats.is_ready,
    })
}

fn index_state(shards: &[ShardStats], vector: &str) -> IndexState {
    let of_vector = shards.iter().filter_map(|shard| shard.indexes.get(vector));
    of_vector.fold(IndexState::default(), |sum, stats: &IndexStats| IndexState {
        live: sum.live + stats.live as u64,
        dead: sum.dead + stats.dead as u64,
        tail: sum.tail + stats.tail as u64,
        segments: sum.segments + stats.segments as u64,
        bytes_vectors: sum.bytes_vectors + stats.bytes_vectors,
        bytes_graph: sum.bytes_graph + stats.bytes_graph,
        bytes_ids: sum.bytes_ids + stats.bytes_ids,
        building: sum.building || stats.building,
    })
}
