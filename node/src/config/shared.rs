//! Settings of a store of logs that several nodes share.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Config,
    check::{Problems, is_address},
};

/// The first part of every key where one node has the store for itself.
const EMBEDDED_PREFIX: &str = "hvs";
/// Longest prefix of a cluster, in bytes.
const PREFIX_BYTES: usize = 128;

/// Which store has the logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvKind {
    /// One in the data directory, for this node alone.
    #[default]
    Embedded,
    /// TiKV, which several nodes may share.
    Tikv,
}

/// The store of logs that several nodes share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tikv {
    /// Addresses of PD, `host:port`.
    #[serde(deserialize_with = "list")]
    pub endpoints: Vec<String>,
    /// What every key of the cluster starts with.
    pub prefix: String,
    /// Milliseconds after which one request is given up.
    pub attempt_timeout_ms: u64,
    /// Milliseconds after which a call fails, with all its attempts.
    pub call_timeout_ms: u64,
}

/// How nodes that share a store of logs know of each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Milliseconds without a renewal after which a node counts as dead.
    pub session_ttl_ms: u64,
    /// Milliseconds between renewals, and between looks at the node that leads.
    pub heartbeat_ms: u64,
    /// The address that other nodes name to clients; empty for the one that is listened on.
    pub address: String,
}

impl Default for Tikv {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            prefix: EMBEDDED_PREFIX.to_owned(),
            attempt_timeout_ms: 500,
            call_timeout_ms: 2_000,
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self { session_ttl_ms: 5_000, heartbeat_ms: 1_000, address: String::new() }
    }
}

impl Cluster {
    /// As the sessions want them.
    pub(crate) fn times(&self) -> hvs_log::SessionTimes {
        hvs_log::SessionTimes {
            time_to_live: Duration::from_millis(self.session_ttl_ms),
            heartbeat: Duration::from_millis(self.heartbeat_ms),
        }
    }
}

impl Config {
    /// The first part of every key in the store of logs.
    pub(crate) fn log_prefix(&self) -> &str {
        match self.storage.kv {
            KvKind::Embedded => EMBEDDED_PREFIX,
            KvKind::Tikv => &self.tikv.prefix,
        }
    }

    /// Says what is wrong with these settings. Addresses are looked at only where they are used.
    pub(super) fn check_shared(&self, found: &mut Problems) {
        let Tikv { endpoints, prefix, attempt_timeout_ms, call_timeout_ms } = &self.tikv;
        let Cluster { session_ttl_ms, heartbeat_ms, address } = &self.cluster;
        found.range("tikv.attempt_timeout_ms", *attempt_timeout_ms, 10, 60_000);
        found.range("tikv.call_timeout_ms", *call_timeout_ms, *attempt_timeout_ms, 600_000);
        found.range("cluster.session_ttl_ms", *session_ttl_ms, 200, 600_000);
        // Two renewals may fail before the session ends.
        found.range("cluster.heartbeat_ms", *heartbeat_ms, 10, session_ttl_ms / 4);
        let is_usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if prefix.is_empty() || prefix.len() > PREFIX_BYTES || !prefix.chars().all(is_usable) {
            let reason = format!(
                "{prefix:?} is not 1 to {PREFIX_BYTES} ASCII letters, digits, '_', '-' and '.'"
            );
            found.add("tikv.prefix", reason);
        }
        if self.storage.kv != KvKind::Tikv {
            return;
        }
        if endpoints.is_empty() {
            let reason = "is empty; storage.kv is tikv, which needs the address of at least one PD";
            found.add("tikv.endpoints", reason.to_owned());
        }
        for endpoint in endpoints.iter().filter(|endpoint| !is_address(endpoint)) {
            let reason =
                format!("{endpoint:?} is not the address of a PD, such as pd.example:2379");
            found.add("tikv.endpoints", reason);
        }
        if *call_timeout_ms > session_ttl_ms / 2 {
            let reason = format!(
                "{call_timeout_ms} is above half of cluster.session_ttl_ms: one call that fails \
                 would end the session"
            );
            found.add("tikv.call_timeout_ms", reason);
        }
        if !address.is_empty() && !is_address(address) {
            let reason = format!("{address:?} is not an address, such as node-1.example:9001");
            found.add("cluster.address", reason);
        }
    }
}

/// A list, or one text with commas, as variables of the environment have it.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Given::deserialize(deserializer)? {
        Given::List(list) => list,
        Given::Text(text) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Config {
        let mut config = Config::default();
        config.storage.kv = KvKind::Tikv;
        config.tikv.endpoints = vec!["pd-0.pd:2379".into(), "[::1]:2379".into()];
        config
    }

    fn refused(change: impl FnOnce(&mut Config)) -> Vec<&'static str> {
        let mut config = shared();
        change(&mut config);
        config.problems().iter().map(|problem| problem.setting).collect()
    }

    #[test]
    fn what_cannot_work_is_named() {
        assert_eq!(shared().problems(), []);
        assert_eq!(refused(|config| config.tikv.endpoints.clear()), ["tikv.endpoints"]);
        for endpoint in ["pd", "http://pd:2379", "pd:port", ":2379", "pd:0", "p d:2379"] {
            let found = refused(|config| config.tikv.endpoints = vec![endpoint.into()]);
            assert_eq!(found, ["tikv.endpoints"], "{endpoint}");
        }
        for prefix in ["", "a/b", "ä"] {
            assert_eq!(refused(|config| config.tikv.prefix = prefix.into()), ["tikv.prefix"]);
        }
        let slow = refused(|config| config.tikv.call_timeout_ms = 3_000);
        assert_eq!(slow, ["tikv.call_timeout_ms"]);
        let rare = refused(|config| config.cluster.heartbeat_ms = 1_300);
        assert_eq!(rare, ["cluster.heartbeat_ms"]);
        let nameless = refused(|config| config.cluster.address = "node".into());
        assert_eq!(nameless, ["cluster.address"]);
    }

    #[test]
    fn endpoints_are_a_list_or_a_text_with_commas() {
        for text in ["endpoints: 'a:1, b:2'", "endpoints: [a:1, b:2]"] {
            let tikv: Tikv = serde_yaml::from_str(text).unwrap();
            assert_eq!(tikv.endpoints, ["a:1", "b:2"], "{text}");
        }
    }
}
