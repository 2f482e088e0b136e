//! What was measured of one system, and what HVS has to reach beside the others.

use serde::{Deserialize, Serialize};
use xtask::report::{self, Measure, number};

use super::WANTED_RECALL;

/// One system under the workload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) name: String,
    /// Whether it was driven over HTTP.
    pub(super) is_server: bool,
    /// From the first write until everything is indexed, in seconds.
    pub(super) load_s: f64,
    pub(super) ef: u64,
    pub(super) recall: f64,
    /// One search after the other by one client, in milliseconds.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Searches a second by four clients, one search a request.
    pub(super) searches_s: f64,
    /// Searches a second by four clients, many in a request, where there is such a request.
    pub(super) batch_searches_s: Option<f64>,
    /// One new vector a request, in milliseconds, as the system acknowledges unless told otherwise.
    pub(super) put_p50_ms: f64,
    /// The same with the promise that it outlives a loss of power, where it can be had.
    pub(super) sync_put_p50_ms: Option<f64>,
    /// New vectors a second in requests of 1,000, until acknowledged.
    pub(super) batch_puts_s: f64,
    /// Resident memory after loading, in MiB.
    pub(super) resident_mib: f64,
}

/// The outcomes, a line for each system.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let head = [
        "system",
        "load+index s",
        "ef",
        "recall@10",
        "p50 ms",
        "p99 ms",
        "searches/s",
        "in batches/s",
        "put p50 ms",
        "sync put ms",
        "1k-batch puts/s",
        "RSS MiB",
    ];
    let mut rows = vec![head.map(String::from)];
    let optional = |value: Option<f64>| value.map_or(String::from("-"), number);
    for outcome in outcomes {
        let place = if outcome.is_server { "HTTP" } else { "in-process" };
        rows.push([
            format!("{} ({place})", outcome.name),
            number(outcome.load_s),
            outcome.ef.to_string(),
            format!("{:.4}", outcome.recall),
            number(outcome.p50_ms),
            number(outcome.p99_ms),
            number(outcome.searches_s),
            optional(outcome.batch_searches_s),
            number(outcome.put_p50_ms),
            optional(outcome.sync_put_p50_ms),
            number(outcome.batch_puts_s),
            number(outcome.resident_mib),
        ]);
    }
    report::align(&rows, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
}

/// The goals that can be judged with the systems that were there.
pub(super) fn judge(outcomes: &[Outcome]) -> Vec<Measure> {
    let mut rows = Vec::new();
    let Some(hvs) = outcomes.iter().find(|outcome| outcome.name == "hvs") else { return rows };
    rows.push(Measure::at_least("recall@10 of HVS", hvs.recall, "", WANTED_RECALL));
    if let Some(weaviate) = outcomes.iter().find(|outcome| outcome.name == "weaviate") {
        let beside = format!("{}/s", number(weaviate.searches_s));
        let single = hvs.searches_s / weaviate.searches_s;
        rows.push(
            Measure::at_least("searches/s over Weaviate's", single, "x", 2.5).against(&beside),
        );
        let batch = hvs.batch_searches_s.unwrap_or(f64::NAN) / weaviate.searches_s;
        rows.push(Measure::at_least("the same in batches", batch, "x", 4.0).against(&beside));
    }
    let servers: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| outcome.is_server && outcome.name != "hvs").collect();
    let able = || servers.iter().filter(|server| server.recall >= WANTED_RECALL);
    if let Some(best) = able().max_by(|a, b| a.searches_s.total_cmp(&b.searches_s)) {
        let ratio = hvs.searches_s / best.searches_s;
        let row = Measure::at_least("searches/s over the best peer server's", ratio, "x", 1.0);
        rows.push(row.against(format!("{} {}/s", best.name, number(best.searches_s))));
    }
    if let Some(best) = able().min_by(|a, b| a.p50_ms.total_cmp(&b.p50_ms)) {
        let ratio = hvs.p50_ms / best.p50_ms;
        let row = Measure::at_most("p50 over the best peer server's", ratio, "x", 0.5);
        rows.push(row.against(format!("{} {} ms", best.name, number(best.p50_ms))));
    }
    if let Some(best) = servers.iter().min_by(|a, b| a.put_p50_ms.total_cmp(&b.put_p50_ms)) {
        let ratio = hvs.sync_put_p50_ms.unwrap_or(f64::NAN) / best.put_p50_ms;
        let row = Measure::at_most("sync put p50 over the best peer server's put", ratio, "x", 1.0);
        rows.push(row.against(format!("{} {} ms", best.name, number(best.put_p50_ms))));
    }
    if let Some(best) = servers.iter().min_by(|a, b| a.load_s.total_cmp(&b.load_s)) {
        let ratio = hvs.load_s / best.load_s;
        let row = Measure::at_most("load+index over the fastest peer server's", ratio, "x", 1.0);
        rows.push(row.against(format!("{} {} s", best.name, number(best.load_s))));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, searches_s: f64, recall: f64) -> Outcome {
        Outcome {
            name: name.to_owned(),
            is_server: true,
            searches_s,
            recall,
            p50_ms: 1e3 / searches_s,
            put_p50_ms: 1.0,
            load_s: 10.0,
            ..Outcome::default()
        }
    }

    #[test]
    fn only_servers_that_find_enough_are_competitors() {
        let mut hvs = server("hvs", 1_000.0, 0.96);
        hvs.batch_searches_s = Some(2_000.0);
        hvs.sync_put_p50_ms = Some(0.5);
        let outcomes = [hvs, server("weaviate", 300.0, 0.95), server("careless", 5_000.0, 0.5)];
        let rows = judge(&outcomes);
        let value = |name: &str| rows.iter().find(|row| row.measure.starts_with(name)).unwrap();
        assert!((value("searches/s over the best").value - 1_000.0 / 300.0).abs() < 1e-9);
        assert_eq!(value("the same in batches").result, "met");
        assert_eq!(value("p50 over").result, "met");
        assert!(judge(&outcomes[1..]).is_empty(), "nothing to judge without HVS");
    }
}
