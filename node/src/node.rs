//! A node from start to stop.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use hvs_api::{Code, Problem};
use hvs_kv::embedded::{Embedded, EmbeddedConfig};
use hvs_shard::{Lease, repair::log_of};
use tokio::{
    runtime::Handle,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{
    cache::QueryCache,
    catalogue::{Catalogue, CatalogueError, InspectError, inspect},
    cluster::{self, JoinError, Joined, Leading, NodeSession, SessionEnded, Standby},
    config::{Config, KvKind},
    edge::{self, App},
    gate::Gate,
    identity::{self, IdentityError},
    memory::{self, Memory},
    scale::Scale,
    server::Server,
    serving::Serving,
    telemetry::{Metrics, MetricsError},
};

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be made.
    #[error("{}: {source}", .path.display())]
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A repair was interrupted while it moved things.
    #[error(
        "a repair of {} was interrupted; run `hvs repair --data-dir {}` again, which finishes it",
        .path.display(), .path.display()
    )]
    Repairing {
        /// The directory.
        path: PathBuf,
    },
    /// There are shards, and not what was logged of them.
    #[error(
        "{} has shards, but the store of their logs, `kv`, is missing or empty; put it back, or \
         `hvs repair --data-dir {}` says what can be done",
        .path.display(), .path.display()
    )]
    LogsLost {
        /// The directory.
        path: PathBuf,
    },
    /// The logs are elsewhere.
    #[error(
        "{} is of a node with storage.kv tikv, which has its logs there; a node does not move to another \
         store: give this one a directory of its own",
        .path.display()
    )]
    OtherStore {
        /// The directory.
        path: PathBuf,
    },
    /// The store of the logs does not open.
    #[error(transparent)]
    Store(#[from] hvs_kv::embedded::OpenError),
    /// It cannot be told whose logs these are.
    #[error(transparent)]
    Logs(#[from] InspectError),
    /// The store that several nodes share is not reached, or this node cannot join them.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The session of this node ended before it served anything.
    #[error(transparent)]
    SessionEnded(#[from] SessionEnded),
    /// The identity cannot be read, or is that of another node.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The catalogue or a namespace does not open.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The threads that serve connections do not start.
    #[error("cannot start the threads that serve connections: {0}")]
    Serving(#[source] io::Error),
    /// Metrics cannot be registered.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A worker thread ended early, which would be a defect.
    #[error("a worker thread ended early")]
    Worker,
}

/// Why a node did not stop cleanly. What was acknowledged is in the log all the same.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StopError(#[from] CatalogueError);

/// A running node.
pub struct Node {
    app: Arc<App>,
    external: SocketAddr,
    internal: SocketAddr,
    stop: watch::Sender<bool>,
    servers: JoinSet<()>,
    /// Looks at how large the node has become.
    measuring: JoinHandle<()>,
    /// Unloads namespaces.
    tending: JoinHandle<()>,
    /// Where other nodes have the same store of logs.
    membership: Option<Membership>,
    /// Kept until everything is closed.
    _serving: Arc<Serving>,
}

impl Node {
    /// Listens, opens the data directory, and returns once requests are served. Until then
    /// `/livez` answers, and everything else says that the node is not ready. Within a runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing is listened on any more then.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let metrics = Arc::new(Metrics::new()?);
        let gate = Arc::new(Gate::new(Arc::clone(&metrics)));
        let (stop, stopping) = watch::channel(false);
        let mut servers = JoinSet::new();
        let serving = Serving::start(config.listen.threads).map_err(StartError::Serving)?;
        let serving = Arc::new(serving);
        let grace = Duration::from_millis(config.shutdown.grace_ms);
        let (server, external) = bind(config.listen.external, &config, &gate, &metrics).await?;
        servers.spawn(server.on(Arc::clone(&serving)).run(stopping.clone(), grace));
        // Probes stay on this runtime, so that they are answered however busy the others are.
        let (server, internal) = bind(config.listen.internal, &config, &gate, &metrics).await?;
        servers.spawn(server.run(stopping, grace));
        warn_if_reachable(external, "external");
        warn_if_reachable(internal, "internal");

        let Opened { kv, writer, membership } = open_store(&config, external).await?;
        let lease = membership.as_ref().map(|membership| membership.session.lease());
        metrics.watch_session(lease.clone())?;
        let budget = memory::budget(&config.memory);
        let warn = memory::warn_at(budget, config.memory.warn_percent);
        let scale = Scale::new(config.scale.clone())
            .with_memory(warn, budget)
            .with_dimension(config.limits.dimension);
        let scale = Arc::new(scale);
        let cache = QueryCache::new(config.cache.query_bytes).map(Arc::new);
        let shrinkable: Arc<dyn memory::Cache> = match &cache {
            Some(cache) => Arc::clone(cache) as _,
            None => Arc::new(()),
        };
        let memory = Arc::new(Memory::new(budget, Arc::clone(&scale), shrinkable));
        let logs = Logs { kv, writer, lease: lease.clone() };
        let catalogue = match &membership {
            None => logs.open(&config, memory).await?,
            Some(membership) => membership.lead(&config, &gate, logs, memory).await?,
        };
        let catalogue = Arc::new(catalogue);
        metrics.watch(Arc::clone(&catalogue) as _)?;
        metrics.maintenance_paused.set(i64::from(config.maintenance.paused));
        metrics.watch_memory(Arc::clone(&catalogue))?;
        if let Some(cache) = &cache {
            metrics.watch_cache(Arc::clone(cache))?;
        }
        let app = App::new(
            Arc::clone(&config),
            Arc::clone(&catalogue),
            scale,
            cache,
            Arc::clone(&metrics),
            lease,
        );
        metrics.watch_followers(Arc::clone(&app.followers))?;
        metrics.watch_prefetch(app.prefetcher.figures())?;
        metrics.watch_checkpoints(app.checkpoints.figures())?;
        metrics.watch_scale(Arc::clone(&app.scale))?;
        let data_dir = &config.storage.data_dir;
        // Before the first request, so that a node that is too large already knows it.
        app.scale.measure(&catalogue, data_dir).await;
        let scale = Arc::clone(&app.scale);
        let measuring = tokio::spawn(scale.watch(Arc::clone(&catalogue), data_dir.clone()));
        let tending = tokio::spawn(catalogue.watch(stop.subscribe()));
        gate.open(edge::router(&app));
        tracing::info!(
            listen.external = %external,
            listen.internal = %internal,
            data_dir = %config.storage.data_dir.display(),
            memory.budget = budget,
            version = env!("CARGO_PKG_VERSION"),
            "ready"
        );
        Ok(Self {
            app,
            external,
            internal,
            stop,
            servers,
            measuring,
            tending,
            membership,
            _serving: serving,
        })
    }

    /// The address of the API.
    pub fn external(&self) -> SocketAddr {
        self.external
    }

    /// The address for health and metrics.
    pub fn internal(&self) -> SocketAddr {
        self.internal
    }

    /// Stops: `/readyz` fails first, then no connection is accepted any more, requests in
    /// progress end, and shards are closed, which makes everything acknowledged durable.
    ///
    /// # Errors
    /// [`StopError`] if a shard does not close.
    pub async fn stop(mut self) -> Result<(), StopError> {
        tracing::info!("stopping");
        self.app.stop();
        tokio::time::sleep(Duration::from_millis(self.app.config.shutdown.lead_ms)).await;
        // Nobody listens any more only if all servers have ended.
        let _ = self.stop.send(true);
        while self.servers.join_next().await.is_some() {}
        self.measuring.abort();
        // It may be closing something.
        let _ = self.tending.await;
        self.app.checkpoints.stop().await;
        self.app.catalogue.close().await?;
        if let Some(membership) = self.membership {
            membership.leave().await;
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// Waits until the session of this node is over for good, which never happens to one without
    /// other nodes. The process must then end at once, without [`Node::stop`].
    pub async fn session_ended(&self) -> SessionEnded {
        match &self.membership {
            Some(membership) => membership.session.ended().await,
            None => std::future::pending().await,
        }
    }
}

async fn bind(
    address: SocketAddr,
    config: &Config,
    gate: &Arc<Gate>,
    metrics: &Metrics,
) -> Result<(Server, SocketAddr), StartError> {
    let refuse = |source| StartError::Listen { address, source };
    let server = Server::bind(
        address,
        Arc::clone(gate),
        config.listen.connections,
        Duration::from_millis(config.listen.header_timeout_ms),
        metrics.connections.clone(),
    );
    let server = server.await.map_err(refuse)?;
    let bound = server.address().map_err(refuse)?;
    Ok((server, bound))
}

/// A store of logs, and who this node is in it.
struct Opened {
    kv: Arc<dyn hvs_kv::Kv>,
    writer: hvs_shard::Writer,
    membership: Option<Membership>,
}

async fn open_store(config: &Arc<Config>, listening: SocketAddr) -> Result<Opened, StartError> {
    match config.storage.kv {
        KvKind::Embedded => {
            let config = Arc::clone(config);
            let opening = tokio::task::spawn_blocking(move || open_data(&config));
            opening.await.map_err(|_| StartError::Worker)?
        }
        KvKind::Tikv => {
            let Joined { kv, writer, session, directory } =
                cluster::join(config, listening).await?;
            let keeping = tokio::spawn(Arc::clone(&session).keep());
            let membership = Some(Membership { session, keeping, _directory: directory });
            Ok(Opened { kv, writer, membership })
        }
    }
}

/// What opening the catalogue takes.
#[derive(Clone)]
struct Logs {
    kv: Arc<dyn hvs_kv::Kv>,
    writer: hvs_shard::Writer,
    lease: Option<Lease>,
}

impl Logs {
    async fn open(
        self,
        config: &Arc<Config>,
        memory: Arc<Memory>,
    ) -> Result<Catalogue, CatalogueError> {
        let Self { kv, writer, lease } = self;
        Catalogue::open(Arc::clone(config), kv, writer, memory, lease).await
    }
}

/// This node among others.
struct Membership {
    session: Arc<NodeSession>,
    /// Renews the session.
    keeping: JoinHandle<()>,
    _directory: cluster::LocalDirectory,
}

impl Membership {
    /// Stands by until nobody else leads, then opens everything.
    async fn lead(
        &self,
        config: &Arc<Config>,
        gate: &Gate,
        logs: Logs,
        memory: Arc<Memory>,
    ) -> Result<Catalogue, StartError> {
        let prefix = config.log_prefix();
        let system = hvs_shard::ShardConfig {
            log_prefix: prefix.to_owned(),
            ..inspect::system_config(logs.writer.clone())?
        };
        let log = log_of(&system, Arc::clone(&logs.kv));
        let own = logs.writer.clone();
        let mut standby = Standby::new(
            Arc::clone(&logs.kv),
            log,
            prefix,
            own,
            config.cluster.times(),
            Arc::clone(&self.session),
        );
        let leading = async {
            loop {
                standby.wait(|leading| gate.refuse_with(standby_of(leading))).await;
                gate.refuse_with(Problem::new(
                    Code::NotReady,
                    "the node is starting: it is taking over, and builds its state from the logs",
                ));
                match logs.clone().open(config, Arc::clone(&memory)).await {
                    Err(error) if error.passing().is_some() => {
                        tracing::warn!(%error, "not taking over");
                        tokio::time::sleep(config.cluster.times().heartbeat).await;
                    }
                    opened => return opened,
                }
            }
        };
        tokio::select! {
            opened = leading => Ok(opened?),
            ended = self.session.ended() => Err(ended.into()),
        }
    }

    /// Ends the session: nobody has to wait until it counts as dead.
    async fn leave(self) {
        self.keeping.abort();
        // A renewal under way would come after the end.
        let _ = self.keeping.await;
        self.session.end().await;
    }
}

fn standby_of(leading: &Leading) -> Problem {
    let Leading { node, address } = leading;
    let at = address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
    let problem = Problem::new(Code::Standby, format!("standby of node {node}{at}"));
    let problem = problem.with("leader", node.clone());
    match address {
        Some(address) => problem.with("leader_address", address.clone()),
        None => problem,
    }
}

fn open_data(config: &Config) -> Result<Opened, StartError> {
    let directory = &config.storage.data_dir;
    if crate::repair::is_unfinished(directory) {
        return Err(StartError::Repairing { path: directory.clone() });
    }
    if cluster::LocalDirectory::is_one(directory) {
        return Err(StartError::OtherStore { path: directory.clone() });
    }
    if crate::repair::are_lost(directory) {
        return Err(StartError::LogsLost { path: directory.clone() });
    }
    hvs_kv::directory::create(&directory.join("shards"))
        .map_err(|source| StartError::DataDirectory { path: directory.clone(), source })?;
    // The store comes first: it is what refuses a second node on the same directory.
    let storage = &config.storage;
    let store = EmbeddedConfig {
        cache_bytes: storage.log_cache_bytes,
        memtable_bytes: storage.log_memtable_bytes,
        verify_tables: storage.verify_tables,
        sync_after: (storage.log_sync_ms > 0).then(|| Duration::from_millis(storage.log_sync_ms)),
    };
    let store: Arc<dyn hvs_kv::Kv> = Arc::new(Embedded::open(&directory.join("kv"), store)?);
    let known = Handle::current().block_on(inspect::last_writer(Arc::clone(&store)))?;
    let writer = identity::start(directory, known.as_ref())?;
    Ok(Opened { kv: store, writer, membership: None })
}

fn warn_if_reachable(address: SocketAddr, listener: &str) {
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            listener,
            "NOT ON LOOPBACK: everyone who can reach this address may read, change and delete \
             everything, because nodes do not know identities yet. Put it behind a network that \
             only trusted clients can enter"
        );
    }
}
