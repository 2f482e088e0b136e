//! Hits gathered by the values of a field.

use hvs_api::{Code, Group, Hit, SearchRequest, SearchResponse};
use hvs_filter::{Operator, Test};
use hvs_shard::{Filter, Record, Scalar, SearchHit, Subject};

use super::{failure::Failure, filter::read_subject, room::Room, search::Prepared};
use crate::config::Limits;

const DEFAULT_GROUPS: u64 = 10;
/// An approximate search looks at so many times the hits that the groups could hold.
const LOOKED_AT: usize = 4;
/// What a hit takes in an answer beside its id, its vector and its metadata.
const HIT_BYTES: usize = 64;

/// What is asked for.
pub(super) struct Grouping {
    subject: Subject,
    groups: usize,
    size: usize,
    /// Most hits of one search.
    most: usize,
}

/// What can be gathered: a hit with its record.
pub(super) trait Grouped {
    /// The record.
    fn record(&self) -> Option<&Record>;
}

impl Grouped for SearchHit {
    fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }
}

/// The hits of one value, best first.
pub(super) struct Found<T> {
    value: Scalar,
    hits: Vec<T>,
}

/// Asks for at most so many of the best hits that match a filter: those, and whether none can have
/// been missed.
pub(super) type Ask<'a, T> = dyn Fn(Filter, usize) -> Result<(Vec<T>, bool), Failure> + 'a;

impl Grouping {
    pub(super) fn read(wire: &SearchRequest, limits: &Limits) -> Result<Option<Self>, Failure> {
        let refuse = |detail: &str| Failure::new(Code::InvalidArgument, detail);
        let Some(field) = &wire.group_by else {
            if wire.groups.is_some() || wire.group_size.is_some() {
                return Err(refuse("groups and group_size are of no use without group_by"));
            }
            return Ok(None);
        };
        if wire.k.is_some() {
            return Err(refuse("group_by takes groups and group_size in place of k"));
        }
        if wire.radius.is_some_and(|radius| !(radius.is_finite() && radius >= 0.0)) {
            let detail = "radius must be a finite number of at least 0";
            return Err(Failure::new(Code::InvalidRadius, detail));
        }
        let groups = wire.groups.unwrap_or(DEFAULT_GROUPS.min(limits.groups as u64));
        let size = wire.group_size.unwrap_or(1);
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let (groups, size) = (number(groups), number(size));
        let all = groups.saturating_mul(size);
        if !(1..=limits.groups).contains(&groups) || !(1..=limits.k).contains(&all) {
            let detail = format!(
                "there are {groups} groups of {size}; at most {} groups are allowed, and {} hits in all",
                limits.groups, limits.k
            );
            return Err(Failure::new(Code::InvalidK, detail).with("limit", limits.groups));
        }
        Ok(Some(Self { subject: read_subject(field)?, groups, size, most: limits.k }))
    }

    /// The hits that are looked at first.
    pub(super) fn first_k(&self) -> usize {
        self.groups.saturating_mul(self.size).saturating_mul(LOOKED_AT).min(self.most)
    }

    /// The hits that the groups hold at most.
    pub(super) fn all(&self) -> usize {
        self.groups.saturating_mul(self.size)
    }

    pub(super) fn run(&self, search: &Prepared) -> Result<SearchResponse, Failure> {
        let mut request = hvs_shard::SearchRequest::clone(&search.request);
        request.with_records = true;
        let asked = request.filter.take().unwrap_or_default();
        let (found, exact) = self.gather(&asked, request.exact, &|filter, k| {
            search.ask(&hvs_shard::SearchRequest {
                k: Some(k),
                filter: Some(filter),
                ..request.clone()
            })
        })?;
        self.respond(&search.room, found, exact, &|rank, hit| search.hit(rank, hit))
    }

    /// Gathers the best hits; all that there are, if that is asked for, else those that one search
    /// finds. Also says whether that makes a difference.
    pub(super) fn gather<T: Grouped>(
        &self,
        asked: &Filter,
        exhaustive: bool,
        ask: &Ask<'_, T>,
    ) -> Result<(Vec<Found<T>>, bool), Failure> {
        let mut found: Vec<Found<T>> = Vec::new();
        let mut k = self.first_k();
        let mut exact = true;
        loop {
            // Groups that are known are left out, so that every further search finds others.
            let (hits, is_exact) = ask(self.without(asked, &found), k)?;
            exact &= is_exact;
            let is_last = hits.len() < k;
            let before = found.len();
            self.sort(hits, &mut found);
            if found.len() >= self.groups || is_last {
                break;
            }
            if !exhaustive {
                exact = false;
                break;
            }
            if found.len() == before {
                // Only records that belong to no group lie so near.
                if k >= self.most {
                    exact = false;
                    break;
                }
                k = k.saturating_mul(4).min(self.most);
            }
        }
        if exhaustive {
            for group in found.iter_mut().filter(|group| group.hits.len() < self.size) {
                exact &= self.fill(group, asked, ask)?;
            }
        } else {
            exact &= found.iter().all(|group| group.hits.len() >= self.size);
        }
        Ok((found, exact))
    }

    /// Gathers what is all that is to be looked at, and says whether the groups are complete.
    pub(super) fn gather_from<T: Grouped>(&self, hits: Vec<T>) -> (Vec<Found<T>>, bool) {
        let mut found = Vec::new();
        self.sort(hits, &mut found);
        let is_full = found.iter().all(|group| group.hits.len() >= self.size);
        let is_complete = is_full && found.len() >= self.groups;
        (found, is_complete)
    }

    /// Puts hits to their groups, and makes new groups while there are too few.
    fn sort<T: Grouped>(&self, hits: Vec<T>, found: &mut Vec<Found<T>>) {
        for hit in hits {
            let Some(value) = hit.record().and_then(|record| self.value(record)) else {
                continue;
            };
            if let Some(group) = found.iter_mut().find(|group| group.value == value) {
                if group.hits.len() < self.size {
                    group.hits.push(hit);
                }
            } else if found.len() < self.groups {
                found.push(Found { value, hits: vec![hit] });
            }
        }
    }

    /// Finds all hits of a group, up to its size.
    fn fill<T: Grouped>(
        &self,
        group: &mut Found<T>,
        asked: &Filter,
        ask: &Ask<'_, T>,
    ) -> Result<bool, Failure> {
        let mut k = self.size;
        loop {
            let of_group = self.test(Operator::Equal(group.value.to_value()));
            let (mut hits, exact) = ask(and(asked, of_group), k)?;
            let is_last = hits.len() < k;
            // A list with the value matches as well, but is in no group.
            hits.retain(|hit| {
                hit.record().and_then(|record| self.value(record)).as_ref() == Some(&group.value)
            });
            if hits.len() >= self.size || is_last || k >= self.most {
                let is_whole = hits.len() >= self.size || is_last;
                hits.truncate(self.size);
                group.hits = hits;
                return Ok(exact && is_whole);
            }
            k = k.saturating_mul(4).min(self.most);
        }
    }

    /// The group of a record: the one scalar that it has, unless that is null.
    fn value(&self, record: &Record) -> Option<Scalar> {
        let fields = hvs_filter::Fields {
            kind: &record.kind,
            region: record.region.as_deref(),
            partition_key: record.partition_key.as_deref(),
            metadata: &record.metadata,
        };
        fields.only_scalar(&self.subject)
    }

    fn without<T>(&self, asked: &Filter, found: &[Found<T>]) -> Filter {
        let exists = self.test(Operator::Exists(true));
        if found.is_empty() {
            return and(asked, exists);
        }
        let values = found.iter().map(|group| group.value.to_value()).collect();
        let known = hvs_filter::Filter::Not(Box::new(self.test(Operator::In(values))));
        and(asked, hvs_filter::Filter::And(vec![exists, known]))
    }

    fn test(&self, operator: Operator) -> hvs_filter::Filter {
        hvs_filter::Filter::Test(Test { subject: self.subject.clone(), operator })
    }

    pub(super) fn respond<T>(
        &self,
        room: &Room,
        found: Vec<Found<T>>,
        exact: bool,
        hit: &dyn Fn(u64, T) -> Hit,
    ) -> Result<SearchResponse, Failure> {
        let mut groups = Vec::with_capacity(found.len());
        for Found { value, hits } in found.into_iter().take(self.groups) {
            let hits: Vec<_> = (1..).zip(hits).map(|(rank, found)| hit(rank, found)).collect();
            let bytes = hits.iter().map(|hit| {
                let vector = hit.vector.as_ref().map_or(0, |vector| vector.len() * 8);
                let metadata = hit.metadata.as_ref().map_or(0, |metadata| {
                    serde_json::to_vec(metadata).map_or(0, |bytes| bytes.len())
                });
                HIT_BYTES + hit.id.len() + vector + metadata
            });
            room.take_bytes(bytes.sum())?;
            groups.push(Group { value: value.to_value(), hits });
        }
        Ok(SearchResponse { groups: Some(groups), exact, ..SearchResponse::default() })
    }
}

fn and(asked: &Filter, more: hvs_filter::Filter) -> Filter {
    let condition = hvs_filter::Filter::And(vec![asked.condition.clone(), more]);
    Filter { condition, ..asked.clone() }
}
