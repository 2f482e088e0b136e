//! Whether searches find what they should.

use hvs_shard::{Record, SearchRequest};
use rand::RngExt;

use crate::compare::without_hash;
use crate::filters::Means;
use crate::run::Run;
use crate::support::FLAT;

impl Run {
    pub(crate) fn compare_one_search(&mut self) {
        let (name, query) = if self.rng.random_bool(0.5) {
            (String::new(), self.curved_point())
        } else {
            (FLAT.to_owned(), vec![self.coordinate(), self.coordinate()])
        };
        let (filter, means) = match self.filters().into_iter().next() {
            Some((filter, means)) if self.rng.random_bool(0.5) => (Some(filter), means),
            _ => (None, Box::new(|_: &Record| true) as Means),
        };
        let space = &self.home.config.vectors[&name].space;
        let mut expected: Vec<(f64, Record)> = self
            .all_expected()
            .into_iter()
            .filter(|record| means(record))
            .filter_map(|record| {
                let distance = space.distance(&query, record.vectors.get(&name)?).unwrap();
                Some((distance, record))
            })
            .collect();
        expected.sort_by(|left, right| left.0.total_cmp(&right.0));

        let k = self.rng.random_range(1..20);
        let radius = self.rng.random_bool(0.3).then(|| self.rng.random_range(0.1..3.0));
        let with_records = self.rng.random_bool(0.5);
        let mut request = SearchRequest {
            vector: name,
            radius,
            filter,
            with_records,
            exact: true,
            ..SearchRequest::nearest(query, k)
        };
        if let Some(radius) = radius {
            expected.retain(|(distance, _)| *distance <= radius);
        }
        if radius.is_some() && self.rng.random_bool(0.5) {
            request.k = None;
        } else {
            expected.truncate(k);
        }
        let exact = self.shard().search(&request).unwrap();
        assert!(exact.exact);
        let ids: Vec<&str> = exact.hits.iter().map(|hit| hit.id.as_str()).collect();
        let expected_ids: Vec<&str> =
            expected.iter().map(|(_, record)| record.id.as_str()).collect();
        assert_eq!(ids, expected_ids, "{request:?}");
        for (hit, (distance, record)) in exact.hits.iter().zip(&expected) {
            assert!((hit.distance - distance).abs() <= 1e-9 * (1.0 + distance));
            let found = hit.record.clone().map(without_hash);
            assert_eq!(found, with_records.then(|| record.clone()));
        }

        // Without the flag the nearest may be missed, but never replaced by fewer or by others.
        request.exact = false;
        let near = self.shard().search(&request).unwrap();
        if radius.is_none() {
            assert_eq!(near.hits.len(), expected.len());
        }
        for hit in &near.hits {
            let known = &self.model.records[&hit.id];
            let record = self.expected(known);
            assert!(means(&record));
        }
    }
}
