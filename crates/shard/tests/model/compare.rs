//! Whether reads answer what they should.

use std::collections::BTreeMap;

use hvs_geometry::Precision;
use hvs_shard::{
    Expiry, FacetRequest, Filter, NewRecord, OrderedRequest, Record, Scalar, ScrollRequest, Subject,
};
use rand::RngExt;
use serde_json::Value;

use crate::operations::IDS;
use crate::reference::Known;
use crate::run::Run;

type Property = fn(&Record) -> Option<Value>;

/// Properties by which records are counted and put in order.
fn properties() -> [(Subject, Property); 3] {
    [
        (Subject::Metadata(vec!["bucket".to_owned()]), |record| {
            record.metadata.get("bucket").cloned()
        }),
        (Subject::Region, |record| record.region.clone().map(Value::from)),
        (Subject::Kind, |record| Some(record.kind.clone().into())),
    ]
}

impl Run {
    pub(crate) fn expected(&self, known: &Known) -> Record {
        let NewRecord { id, partition_key, vectors, metadata, region, kind, expiry } =
            known.record.clone();
        let vectors = vectors
            .into_iter()
            .map(|(name, vector)| {
                let config = &self.home.config.vectors[&name];
                let mut stored = config.space.to_storage(&vector);
                if config.precision == Precision::F32 {
                    #[expect(clippy::cast_possible_truncation, reason = "as it is stored")]
                    for x in &mut stored {
                        *x = f64::from(*x as f32);
                    }
                }
                (name, config.space.from_storage(&stored))
            })
            .collect();
        Record {
            id,
            partition_key,
            vectors,
            metadata,
            region,
            kind,
            version: known.version,
            etag: known.etag,
            timestamp: known.timestamp,
            content_hash: [0; 32],
            expires_at: expiry.map(|expiry| match expiry {
                Expiry::At(at) => at,
                Expiry::After(_) => panic!("not in this test"),
            }),
        }
    }

    pub(crate) fn all_expected(&self) -> Vec<Record> {
        self.model.records.values().map(|known| self.expected(known)).collect()
    }

    pub(crate) fn compare_everything(&mut self) {
        let expected = self.all_expected();
        assert_eq!(self.shard().count(None, None).unwrap(), expected.len() as u64);

        let ids: Vec<String> = (0..IDS).map(|number| format!("id-{number:03}")).collect();
        let many = self.shard().get_many(&ids).unwrap();
        for (id, found) in ids.iter().zip(many) {
            assert_eq!(self.shard().get(id).unwrap(), found);
            let expected = self.model.records.get(id).map(|known| self.expected(known));
            assert_eq!(found.map(without_hash), expected, "{id}");
        }

        let limit = self.rng.random_range(1..50);
        assert_eq!(self.scroll(limit, None), expected);
        for (filter, means) in self.filters() {
            let expected: Vec<Record> =
                expected.iter().filter(|record| means(record)).cloned().collect();
            let count = self.shard().count(Some(&filter), None).unwrap();
            assert_eq!(count, expected.len() as u64);
            self.compare_facets(&expected, &filter);
            self.compare_orders(&expected, &filter);
            assert_eq!(self.scroll(limit, Some(filter)), expected);
        }
    }

    /// Counts by the values of each property that the records have.
    pub(crate) fn compare_facets(&self, records: &[Record], filter: &Filter) {
        for (subject, value) in properties() {
            let mut expected: BTreeMap<String, u64> = BTreeMap::new();
            for value in records.iter().filter_map(value) {
                *expected.entry(value.to_string()).or_default() += 1;
            }
            let name = format!("{subject:?}");
            let request =
                FacetRequest { subject, filter: Some(filter.clone()), most: 100, deadline: None };
            let facet = self.shard().facet(&request).unwrap();
            let found: BTreeMap<String, u64> = facet
                .top(100)
                .into_iter()
                .map(|(value, count)| (value.to_string(), count))
                .collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    /// Pages in the order of each property.
    pub(crate) fn compare_orders(&mut self, records: &[Record], filter: &Filter) {
        for (subject, value) in properties() {
            let descending = self.rng.random_bool(0.5);
            let limit = self.rng.random_range(1..60);
            let mut expected: Vec<(Scalar, &str)> = Vec::new();
            for record in records {
                let value = value(record).and_then(|value| Scalar::of(&value));
                expected.extend(value.map(|value| (value, record.id.as_str())));
            }
            expected.sort_by(|left, right| {
                let values = left.0.cmp(&right.0);
                let values = if descending { values.reverse() } else { values };
                values.then_with(|| left.1.cmp(right.1))
            });
            let filter = Some(filter.clone());
            let mut request =
                OrderedRequest { subject, descending, after: None, limit, filter, deadline: None };
            let mut found: Vec<(Scalar, String)> = Vec::new();
            loop {
                let page = self.shard().scroll_ordered(&request).unwrap().records;
                let is_full = page.len() == limit;
                found.extend(page.into_iter().map(|found| (found.value, found.record.id)));
                match found.last().filter(|_| is_full) {
                    Some((value, id)) => request.after = Some((value.clone(), id.clone(), false)),
                    None => break,
                }
            }
            let found: Vec<(Scalar, &str)> =
                found.iter().map(|(value, id)| (value.clone(), id.as_str())).collect();
            assert_eq!(found, expected, "{request:?}");
        }
    }

    pub(crate) fn scroll(&self, limit: usize, filter: Option<Filter>) -> Vec<Record> {
        let mut request = ScrollRequest { filter, ..ScrollRequest::first(limit) };
        let mut found = Vec::new();
        loop {
            let page = self.shard().scroll(&request).unwrap();
            assert!(page.records.len() <= limit);
            found.extend(page.records.into_iter().map(without_hash));
            match page.next {
                Some(next) => request.after = Some(next),
                None => return found,
            }
        }
    }
}

pub(crate) fn without_hash(record: Record) -> Record {
    assert_ne!(record.content_hash, [0; 32]);
    Record { content_hash: [0; 32], ..record }
}
