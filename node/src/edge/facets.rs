//! Counting records by the values of a field.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use hvs_api::{FacetValue, FacetsRequest, FacetsResponse};
use hvs_shard::{Facet, FacetRequest, ReadError};

use super::{
    App,
    body::{Params, Payload},
    call::Call,
    failure::Failure,
    filter::{read_filter, read_subject},
    scroll::page_limit,
};

const DEFAULT_LIMIT: u64 = 10;

pub(super) async fn facets(
    State(app): State<Arc<App>>,
    Params(namespace): Params<String>,
    call: Call,
    payload: Payload<FacetsRequest>,
) -> Result<Response, Failure> {
    let namespace = app.catalogue.get(&namespace, call.deadline).await?;
    let limits = &app.config.limits;
    let FacetsRequest { field, filter, limit } = payload.value;
    let most = limits.page.min(limits.facet_values);
    let limit = page_limit(Some(limit.unwrap_or(DEFAULT_LIMIT.min(most as u64))), most)?;
    let request = FacetRequest {
        subject: read_subject(&field)?,
        filter: read_filter(filter, limits)?,
        most: limits.facet_values,
        deadline: Some(call.deadline),
    };
    let work = move || -> Result<Option<Facet>, ReadError> {
        let mut all: Option<Facet> = None;
        for shard in namespace.shards() {
            let facet = shard.facet(&request)?;
            match &mut all {
                None => all = Some(facet),
                Some(all) => all.merge(facet),
            }
        }
        Ok(all)
    };
    let facet = app.workers.run(call.deadline, work).await??.unwrap_or_default();
    let values = facet.top(limit).into_iter().map(|(value, count)| FacetValue { value, count });
    call.reply(&FacetsResponse { values: values.collect(), exact: facet.is_exact() })
}
