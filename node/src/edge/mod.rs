//! The HTTP edge: routes, decoding, problems. Nothing below it knows of HTTP.

mod alter;
mod asking;
mod body;
mod by_filter;
mod call;
mod changes;
mod checkpoints;
mod decide;
mod facets;
mod failure;
mod feed_place;
mod feed_stream;
mod filter;
mod fusion;
mod geometry;
mod groups;
mod hybrid;
mod labels;
mod leading;
mod maintenance;
mod mapping;
mod namespaces;
mod node;
mod observe;
mod ordered;
mod patches;
mod points;
mod recommend;
mod records;
mod room;
mod scroll;
mod search;
mod writes;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post, put},
};
use hvs_api::Code;
use hvs_shard::Lease;
use tokio::sync::watch;

pub(crate) use self::failure::Failure;
use self::{body::Budget, call::RequestIds};
use crate::{
    cache::QueryCache, catalogue::Catalogue, checkpoints::Checkpoints, config::Config,
    followers::Followers, prefetch::Prefetcher, scale::Scale, telemetry::Metrics, workers::Workers,
};

/// What every handler can reach.
pub(crate) struct App {
    pub(crate) config: Arc<Config>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) checkpoints: Arc<Checkpoints>,
    pub(crate) scale: Arc<Scale>,
    pub(crate) followers: Arc<Followers>,
    pub(crate) cache: Option<Arc<QueryCache>>,
    pub(crate) prefetcher: Arc<Prefetcher>,
    /// Whether this node may lead, where others have the same store of logs.
    lease: Option<Lease>,
    workers: Workers,
    budget: Arc<Budget>,
    request_ids: RequestIds,
    /// Whether spans of requests are exported.
    traced: bool,
    stopping: watch::Sender<bool>,
    started: std::time::Instant,
}

impl App {
    pub(crate) fn new(
        config: Arc<Config>,
        catalogue: Arc<Catalogue>,
        scale: Arc<Scale>,
        cache: Option<Arc<QueryCache>>,
        metrics: Arc<Metrics>,
        lease: Option<Lease>,
    ) -> Arc<Self> {
        Arc::new(Self {
            prefetcher: Arc::new(Prefetcher::new(config.cache.prefetch_queue)),
            workers: Workers::new(config.search.heavy, config.search.heavy_queue),
            budget: Budget::new(config.limits.bytes_in_flight, metrics.bytes_in_flight.clone()),
            request_ids: RequestIds::new(),
            traced: !config.otlp.endpoint.is_empty(),
            stopping: watch::Sender::new(false),
            followers: Followers::new(config.feed.followers),
            started: std::time::Instant::now(),
            scale,
            cache,
            checkpoints: Checkpoints::new(Arc::clone(&config), Arc::clone(&catalogue)),
            config,
            catalogue,
            metrics,
            lease,
        })
    }

    /// From now on the node says that it is not ready.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether what this node has is what there is: no other node leads.
    fn may_serve(&self) -> bool {
        self.lease.as_ref().is_none_or(Lease::is_valid)
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until the node stops.
    async fn stopped(&self) {
        // The sender lives as long as this.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }
}

/// All routes. Both listeners have the same ones: until there are identities, everyone who
/// reaches either may do everything.
pub(crate) fn router(app: &Arc<App>) -> Router {
    framed(api().merge(node::routes()), app)
}

fn api() -> Router<Arc<App>> {
    let one = "/v1/namespaces/{namespace}";
    let vectors = "/v1/namespaces/{namespace}/vectors";
    Router::new()
        .route("/v1/namespaces", get(namespaces::list))
        .route(
            one,
            put(namespaces::create)
                .get(namespaces::describe)
                .patch(alter::alter)
                .delete(namespaces::delete),
        )
        .route("/v1/aliases", get(namespaces::list_aliases).post(namespaces::switch_aliases))
        .route(
            "/v1/aliases/{alias}",
            put(namespaces::set_alias).get(namespaces::get_alias).delete(namespaces::delete_alias),
        )
        .route(
            &format!("{vectors}/{{id}}"),
            put(writes::put_one)
                .get(records::get_one)
                .delete(writes::delete_one)
                .patch(patches::patch_one)
                .post(by_filter::by_filter),
        )
        // An empty id matches no parameter; it gets an answer about ids all the same.
        .route(
            &format!("{vectors}/"),
            put(writes::empty_id)
                .get(writes::empty_id)
                .delete(writes::empty_id)
                .patch(writes::empty_id),
        )
        .route(&format!("{one}/batch"), post(writes::batch))
        .route(&format!("{one}/fetch"), post(records::fetch))
        .route(&format!("{one}/scroll"), post(scroll::scroll))
        .route(&format!("{one}/count"), post(records::count))
        .route(&format!("{one}/changes"), get(changes::changes))
        .route(&format!("{one}/facets"), post(facets::facets))
        .route(&format!("{one}/recommend"), post(recommend::recommend))
        .route(&format!("{one}/search"), post(search::search))
        .route(&format!("{one}/search/batch"), post(search::search_batch))
        .merge(checkpoints::routes())
        .merge(maintenance::routes())
        .merge(geometry::routes())
        .merge(decide::routes())
}

fn framed(routes: Router<Arc<App>>, app: &Arc<App>) -> Router {
    let routes =
        if app.config.bench.echo { routes.route("/_echo", post(node::echo)) } else { routes };
    let routes = routes.fallback(unknown_route).method_not_allowed_fallback(unknown_method);
    // One that has its logs for itself asks nobody.
    let routes = if app.lease.is_some() {
        routes.layer(middleware::from_fn_with_state(Arc::clone(app), leading::guard))
    } else {
        routes
    };
    routes
        .layer(middleware::from_fn_with_state(Arc::clone(app), observe::observe))
        .with_state(Arc::clone(app))
}

async fn unknown_route(uri: axum::http::Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    Failure::new(Code::RouteNotFound, format!("there is nothing at {path:?}"))
}

async fn unknown_method(method: axum::http::Method) -> Failure {
    let method: String = method.as_str().chars().take(40).collect();
    Failure::new(Code::MethodNotAllowed, format!("the route does not take {method}"))
}
