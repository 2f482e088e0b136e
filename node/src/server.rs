//! Accepting connections, serving them, and letting them end.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::IntGauge;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::{gate::Gate, serving::Serving};

/// How long accepting pauses after the system refused, for lack of file descriptors for instance.
const PAUSE: Duration = Duration::from_millis(50);

/// One listener with the gate to the routes that it serves.
pub(crate) struct Server {
    listener: TcpListener,
    gate: Arc<Gate>,
    permits: Arc<Semaphore>,
    header_timeout: Duration,
    connections: IntGauge,
    serving: Option<Arc<Serving>>,
}

impl Server {
    /// Binds an address; port 0 takes a free one.
    pub(crate) async fn bind(
        address: SocketAddr,
        gate: Arc<Gate>,
        connections: usize,
        header_timeout: Duration,
        gauge: IntGauge,
    ) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            gate,
            permits: Arc::new(Semaphore::new(connections)),
            header_timeout,
            connections: gauge,
            serving: None,
        })
    }

    /// Serves connections on these threads, and not on the runtime that accepts them.
    pub(crate) fn on(self, serving: Arc<Serving>) -> Self {
        Self { serving: Some(serving), ..self }
    }

    /// The address that was bound.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` turns true. Then no connection is accepted any more, idle ones are
    /// closed, and those with a request in progress end after its answer, or after `grace`.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>, grace: Duration) {
        let mut open = JoinSet::new();
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&self.permits).acquire_owned() => permit,
                () = stopped(&mut stop) => break,
            };
            let Ok(permit) = permit else { break };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stopped(&mut stop) => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let Ok(stream) = stream.into_std() else { continue };
                    let place = self.serving.as_ref().and_then(|serving| serving.place());
                    let runtime = place
                        .as_ref()
                        .map_or_else(Handle::current, |place| place.runtime().clone());
                    let connection = self.connection(stream, stop.clone());
                    let served = async move {
                        connection.await;
                        drop(place);
                        drop(permit);
                    };
                    open.spawn_on(served, &runtime);
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections for the moment");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            while open.try_join_next().is_some() {}
        }
        drop(self.listener);
        let ended =
            tokio::time::timeout(grace, async { while open.join_next().await.is_some() {} });
        if ended.await.is_err() {
            let left = open.len() as u64;
            tracing::warn!(connections = left, "ending connections with requests in progress");
            open.shutdown().await;
        }
    }

    fn connection(
        &self,
        stream: std::net::TcpStream,
        mut stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + use<> {
        // Answers are written whole; waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        let gate = Arc::clone(&self.gate);
        let service = service_fn(move |request| {
            let answer = Arc::clone(&gate).answer(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.header_timeout);
        let gauge = self.connections.clone();
        async move {
            // On the runtime that serves it, so that its events wake the thread that waits for them.
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            gauge.inc();
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                // What ends a connection early is the client's affair.
                _ = connection.as_mut() => {}
                () = stopped(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
            gauge.dec();
        }
    }
}

/// Waits until `stop` is true, or nobody is left who could set it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The client gave up before it was accepted; the listener is as good as before.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
