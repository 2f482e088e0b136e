//! Filters, and what they mean.

use hvs_shard::{Filter, FilterLimits, Record};
use rand::RngExt;
use serde_json::{Value, json};

use crate::run::Run;

pub(crate) type Means = Box<dyn Fn(&Record) -> bool>;

fn filter(json: &Value) -> Filter {
    let limits = FilterLimits::default();
    hvs_filter::Filter::parse(json.as_object().unwrap(), &limits).unwrap().into()
}

impl Run {
    /// Filters, and what they mean once more in the simplest way.
    pub(crate) fn filters(&mut self) -> Vec<(Filter, Means)> {
        let bucket = self.rng.random_range(0..5_u64);
        let region = format!("region-{}", self.rng.random_range(0..3));
        let of = |record: &Record| record.metadata.get("bucket").and_then(Value::as_u64);
        let is_in = {
            let region = region.clone();
            move |record: &Record| record.region.as_ref() == Some(&region)
        };
        let mut filters: Vec<(Filter, Means)> = vec![
            (filter(&json!({"bucket": bucket})), Box::new(move |r| of(r) == Some(bucket))),
            (filter(&json!({"$region": region})), Box::new(is_in.clone())),
            (
                filter(&json!({"bucket": bucket, "$region": region, "$kind": "message"})),
                Box::new({
                    let is_in = is_in.clone();
                    move |r| of(r) == Some(bucket) && is_in(r) && r.kind == "message"
                }),
            ),
            (
                filter(&json!({"bucket": {"$gte": 1, "$lt": bucket}})),
                Box::new(move |r| of(r).is_some_and(|found| (1..bucket).contains(&found))),
            ),
            (
                filter(&json!({"$or": [{"$region": region}, {"bucket": {"$nin": [bucket, 0]}}]})),
                Box::new(move |r| is_in(r) || !matches!(of(r), Some(n) if n == bucket || n == 0)),
            ),
            (filter(&json!({"missing": {"$exists": true}})), Box::new(|_| false)),
        ];
        let ids: Vec<String> = self.model.records.keys().cloned().collect();
        if let Some(id) = ids.get(self.rng.random_range(0..ids.len().max(1))) {
            let key = self.model.records[id].record.partition_key.clone();
            let key = key.unwrap_or_else(|| id.clone());
            let filter = Filter { partition_key: Some(key.clone()), ..Filter::default() };
            let means = move |r: &Record| r.partition_key.as_ref().unwrap_or(&r.id) == &key;
            filters.push((filter, Box::new(means)));
        }
        let first = self.rng.random_range(0..filters.len());
        filters.rotate_left(first);
        filters
    }
}
