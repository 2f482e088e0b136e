//! A server that does nothing: what any HTTP answer of a given size costs on this machine.
//!
//! It is a process of its own and uses the same HTTP stack as the node, so that the difference
//! between the two is what the node adds.

use std::{net::SocketAddr, path::Path, process::Stdio};

use anyhow::{Context, Result};
use axum::{Router, body::Bytes, http::header, routing::post};
use tokio::net::TcpListener;

/// Answers every POST with `bytes` bytes, for ever. The address is printed first.
///
/// # Errors
/// No port is free.
pub(crate) fn serve(bytes: usize) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let answer = Bytes::from(vec![b'x'; bytes]);
        let handler = move |request: Bytes| {
            // Taken whole, as the node has to.
            drop(request);
            let answer = answer.clone();
            async move { ([(header::CONTENT_TYPE, "application/msgpack")], answer) }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            // Small answers would wait for the client's acknowledgement otherwise.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, Router::new().route("/", post(handler))).await?;
        Ok(())
    })
}

/// A running echo server, ended when dropped.
pub(crate) struct Echo {
    child: std::process::Child,
    pub(crate) address: SocketAddr,
}

impl Echo {
    /// Starts this program once more, as an echo server.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(program: &Path, bytes: usize) -> Result<Self> {
        let mut child = std::process::Command::new(program)
            .args(["echo", &bytes.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the echo server")?;
        let output = child.stdout.take().context("no output of the echo server")?;
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
        let address = line.trim().parse().context("the echo server printed no address")?;
        Ok(Self { child, address })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
