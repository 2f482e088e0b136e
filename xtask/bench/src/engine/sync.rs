//! Many clients that each wait for their write to be on the disk.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use hvs_api::{Durability, Encoding};
use hvs_tests::{
    http::{Connection, PACKED},
    node::Node,
};
use xtask::report::Measure;

use super::ingest::Set;

const WRITERS: usize = 64;
const WINDOW: Duration = Duration::from_secs(5);

pub(super) fn measure(node: &Node, set: &Set, rows: &mut Vec<Measure>) -> Result<()> {
    eprintln!("{WRITERS} writers that wait for the disk");
    let mut control = node.connect()?;
    let before = syncs(&mut control)?;
    let next = AtomicUsize::new(set.rows.len());
    let begun = Instant::now();
    let acknowledged = thread::scope(|scope| {
        let next = &next;
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(move || -> Result<usize> {
                    let mut connection = node.connect()?;
                    let mut acknowledged = 0;
                    while begun.elapsed() < WINDOW {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let row = set.rows.get(at % set.rows.len()).context("no rows")?;
                        let mut put = set.put(at, row);
                        put.durability = Some(Durability::Sync);
                        let path = format!("{}/vectors/p{at:07}", set.path());
                        let body = hvs_api::encode(Encoding::MessagePack, &put)?;
                        let request = connection.prepare("PUT", &path, PACKED, &body);
                        let answer = connection.send(&request)?;
                        ensure!(answer.status < 300, "put: {:?}", answer.problem());
                        acknowledged += 1;
                    }
                    Ok(acknowledged)
                })
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap_or_else(|_| bail!("a writer panicked")))
            .sum::<Result<usize>>()
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let syncs = syncs(&mut control)? - before;
    rows.push(
        Measure::at_least(
            "writes per fdatasync, 64 writers",
            acknowledged as f64 / syncs,
            "",
            16.0,
        )
        .against(format!("{acknowledged} writes, {syncs} fdatasync")),
    );
    rows.push(Measure::plain("sync writes, 64 writers", acknowledged as f64 / seconds, "/s"));
    Ok(())
}

/// How often the log was forced to the disk since the node started.
fn syncs(connection: &mut Connection) -> Result<f64> {
    let answer = connection.json("GET", "/metrics", "")?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let values = text
        .lines()
        .filter(|line| line.starts_with("hvs_log_syncs_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum())
}
