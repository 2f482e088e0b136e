//! Searches by text, and by a vector and a text together.
//!
//! Each order is merged over the shards first, then the two are fused. BM25 needs to know how many
//! records have a word: that is added up over all shards of the namespace, so that scores do not
//! depend on which shard a record is in.

mod groups;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use hvs_api::{Code, Explain, Hit, HitRanks, SearchRequest, SearchResponse, ShardExplain, Vector};
use hvs_shard::{
    Detail, DetailsRequest, QueryLimits, Shard, Statistics, TextAnswer, TextQuery, TextSearch,
};

use super::{
    App,
    asking::{Answered, ask, microseconds_since, properties},
    failure::Failure,
    filter::read_filter,
    fusion::{Fused, Rule, fuse},
    groups::Grouping,
    records::{Parts, check_partition_key},
    room::Room,
    search::{Prepared, checked_k},
    writes::named_vector,
};
use crate::catalogue::Namespace;

/// Searches that are repeated because a record was deleted in between. The last one looks at more
/// than it answers, and what is left takes the place of what has gone.
const ATTEMPTS: usize = 3;
/// How much more.
const SPARE: usize = 256;

/// A record: its shard and its id, which another shard may have as well under another partition
/// key. Ordered by the id first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    id: String,
    shard: usize,
}

/// A search by text that is checked and ready to run.
pub(super) struct Hybrid {
    room: Arc<Room>,
    namespace: Arc<Namespace>,
    /// The search by vector beside it.
    vector: Option<Prepared>,
    /// The named vector that hits carry.
    using: String,
    query: TextQuery,
    rule: Rule,
    /// Without statistics, which are taken when it runs.
    text: TextSearch,
    shard: Option<usize>,
    hits: usize,
    grouping: Option<Grouping>,
    /// Whether groups are to be found until there are enough; of a search by text alone.
    exhaustive: bool,
    parts: Parts,
    explain: bool,
    /// Most hits of one search.
    most: usize,
    max_bytes: usize,
    deadline: Instant,
    started: Instant,
}

/// What one shard answered.
struct Found {
    shard: usize,
    vector: Option<Answered>,
    text: TextAnswer,
    text_us: f64,
}

impl Hybrid {
    pub(super) fn new(
        namespace: Arc<Namespace>,
        wire: SearchRequest,
        app: &App,
        deadline: Instant,
        room: Arc<Room>,
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        let limits = &app.config.limits;
        let Some(language) = namespace.text else {
            let detail = "text is given, but the index of this namespace is not of type HYBRID";
            return Err(Failure::new(Code::NoTextIndex, detail));
        };
        refuse_unusable(&wire)?;
        let grouping = Grouping::read(&wire, limits)?;
        let hits = match &grouping {
            Some(grouping) => grouping.all(),
            // A radius was refused, so that there is a k.
            None => checked_k(&wire, limits)?.unwrap_or(1),
        };
        check_partition_key(wire.partition_key.as_deref(), limits)?;
        let bounds = QueryLimits { bytes: limits.text_bytes, words: limits.text_words };
        let query = TextQuery::new(wire.text.as_deref().unwrap_or_default(), language, bounds)
            .map_err(|error| Failure::new(Code::InvalidText, error.to_string()))?;
        let rule = Rule::new(wire.fusion.as_ref(), hits, limits)?;
        let using = wire.using.clone().unwrap_or_default();
        named_vector(&namespace, &using)?;
        let mut filter = read_filter(wire.filter.clone(), limits)?;
        let shard = wire.partition_key.as_deref().map(|key| namespace.shard_number(key));
        if let Some(key) = &wire.partition_key {
            filter.get_or_insert_default().partition_key = Some(key.clone());
        }
        let parts = Parts {
            vectors: wire.include_vectors.unwrap_or_default(),
            metadata: wire.include_metadata.unwrap_or_default(),
        };
        let (has_vector, explain) = (wire.vector.is_some(), wire.explain.unwrap_or_default());
        let exhaustive = wire.exact.unwrap_or_default();
        let vector = if has_vector {
            let by_vector = SearchRequest {
                text: None,
                fusion: None,
                k: Some(rule.candidates as u64),
                include_vectors: None,
                include_metadata: None,
                explain: None,
                group_by: None,
                groups: None,
                group_size: None,
                // What is fused is found anew.
                cache: Some(false),
                ..wire
            };
            let (namespace, room) = (Arc::clone(&namespace), Arc::clone(&room));
            Some(Prepared::new(namespace, by_vector, app, deadline, room)?)
        } else {
            None
        };
        let text = TextSearch {
            query: query.clone(),
            statistics: Statistics::default(),
            k: if has_vector { rule.candidates } else { hits },
            filter,
            deadline: Some(deadline),
        };
        Ok(Self {
            room,
            vector,
            using,
            query,
            rule,
            text,
            shard,
            hits,
            grouping,
            exhaustive,
            parts,
            explain,
            most: limits.k,
            max_bytes: limits.answer_bytes,
            deadline,
            started,
            namespace,
        })
    }

    /// On this thread, one shard after the other.
    pub(super) fn run(&self) -> Result<SearchResponse, Failure> {
        if let (Some(grouping), None) = (&self.grouping, &self.vector) {
            return self.run_grouped(grouping);
        }
        for attempt in 1.. {
            let search = self.attempt(attempt)?;
            let found: Result<Vec<_>, Failure> =
                self.shards().map(|(number, shard)| self.ask(number, shard, &search)).collect();
            if let Some(response) = self.respond(&found?, attempt == ATTEMPTS)? {
                return Ok(response);
            }
        }
        Err(Failure::internal(Code::Internal, "a search that never ends"))
    }

    /// On workers, the shards side by side.
    pub(super) async fn run_heavy(self: Arc<Self>, app: &App) -> Result<SearchResponse, Failure> {
        let deadline = self.deadline;
        let is_repeated = self.grouping.is_some() && self.vector.is_none();
        if is_repeated || self.shards().count() <= 1 {
            return app.workers.run(deadline, move || self.run()).await?;
        }
        for attempt in 1.. {
            let this = Arc::clone(&self);
            let search = app.workers.run(deadline, move || this.attempt(attempt)).await??;
            let search = Arc::new(search);
            let asked = self.shards().map(|(number, shard)| {
                let (this, shard, search) = (Arc::clone(&self), shard.clone(), Arc::clone(&search));
                app.workers.run(deadline, move || this.ask(number, &shard, &search))
            });
            let mut found = Vec::new();
            for outcome in futures_util::future::join_all(asked).await {
                found.push(outcome??);
            }
            let this = Arc::clone(&self);
            let is_last = attempt == ATTEMPTS;
            let answer = app.workers.run(deadline, move || this.respond(&found, is_last)).await??;
            if let Some(response) = answer {
                return Ok(response);
            }
        }
        Err(Failure::internal(Code::Internal, "a search that never ends"))
    }

    /// The shards to ask, with their numbers.
    fn shards(&self) -> impl Iterator<Item = (usize, &Shard)> {
        let all = self.namespace.shards().iter().enumerate();
        all.filter(|(number, _)| self.shard.is_none_or(|only| only == *number))
    }

    /// The search by text, with what is known of its words over all shards, asked or not.
    fn with_statistics(&self) -> Result<TextSearch, Failure> {
        let mut statistics = Statistics::default();
        for shard in self.namespace.shards() {
            statistics.add(&shard.text_statistics(&self.query, Some(self.deadline))?);
        }
        Ok(TextSearch { statistics, ..self.text.clone() })
    }

    fn attempt(&self, number: usize) -> Result<TextSearch, Failure> {
        Ok(TextSearch { k: self.text_hits(number == ATTEMPTS), ..self.with_statistics()? })
    }

    /// How many hits by text are looked at. Of a fused order they are its candidates, and more would
    /// make it another order.
    fn text_hits(&self, is_last: bool) -> usize {
        if !is_last || self.vector.is_some() {
            return self.text.k;
        }
        self.text.k.saturating_add(SPARE).min(self.most.max(self.text.k))
    }

    fn ask(&self, number: usize, shard: &Shard, search: &TextSearch) -> Result<Found, Failure> {
        let vector = match &self.vector {
            Some(prepared) => Some(ask(number, shard, &prepared.request)?),
            None => None,
        };
        let started = Instant::now();
        let text = shard.search_text(search)?;
        Ok(Found { shard: number, vector, text, text_us: microseconds_since(started) })
    }

    /// The answer; none if a record has gone that would be in it, and another attempt is to be
    /// made.
    fn respond(&self, found: &[Found], is_last: bool) -> Result<Option<SearchResponse>, Failure> {
        let (mut by_vector, mut by_text) = (by_vector(found), by_text(found));
        // Each shard offered so many.
        by_vector.truncate(self.rule.candidates);
        by_text.truncate(self.text_hits(is_last));
        let scores: Vec<f64> = by_text.iter().map(|(_, score)| *score).collect();
        let places: Vec<Place> = by_text.into_iter().map(|(place, _)| place).collect();
        let mut fused = if self.vector.is_some() {
            fuse(&self.rule, [&by_vector, &places])
        } else {
            let ranked = places.into_iter().zip(&scores).enumerate();
            ranked
                .map(|(position, (item, score))| Fused {
                    item,
                    score: *score,
                    positions: [None, Some(position)],
                })
                .collect()
        };
        if self.grouping.is_none() && !is_last {
            fused.truncate(self.hits);
        }
        let mut details = self.details(&fused)?;
        let is_gone =
            |fused: &Fused<Place>| details.get(&fused.item).is_some_and(|detail| !detail.exists);
        if !is_last && fused.iter().any(is_gone) {
            return Ok(None);
        }
        fused.retain(|fused| !is_gone(fused));
        if self.grouping.is_none() {
            fused.truncate(self.hits);
        }
        let mut answers = found.iter().filter_map(|found| found.vector.as_ref());
        let exact = answers.all(|answered| answered.answer.exact);
        if let Some(grouping) = &self.grouping {
            let is_whole = by_vector.len() < self.rule.candidates && scores.len() < self.text.k;
            let explain = self.explain.then(|| self.explanation(found));
            let response = self.grouped(grouping, fused, &mut details, &scores)?;
            let exact = exact && (response.exact || is_whole);
            return Ok(Some(SearchResponse { exact, explain, ..response }));
        }
        let ids = fused.iter().map(|fused| fused.item.id.as_str());
        self.room.take_hits(ids, details.values().map(|detail| detail.bytes).sum())?;
        let hits = (1..).zip(fused).map(|(rank, fused)| {
            let detail = details.remove(&fused.item).unwrap_or_default();
            self.hit(rank, fused, detail, &scores)
        });
        let hits = hits.collect();
        let explain = self.explain.then(|| self.explanation(found));
        Ok(Some(SearchResponse { hits, exact, explain, ..SearchResponse::default() }))
    }

    /// What is to be told of the hits, as far as it is not known yet.
    fn details(&self, hits: &[Fused<Place>]) -> Result<BTreeMap<Place, Detail>, Failure> {
        let with_records = self.parts.vectors || self.parts.metadata || self.grouping.is_some();
        let mut details = BTreeMap::new();
        if self.vector.is_none() && !with_records {
            return Ok(details);
        }
        let mut left = self.max_bytes;
        for (number, shard) in self.shards() {
            let places = hits.iter().map(|hit| &hit.item).filter(|place| place.shard == number);
            let places: Vec<&Place> = places.collect();
            let from = self.vector.as_ref().map(|prepared| {
                (prepared.request.vector.as_str(), prepared.request.query.as_slice())
            });
            let found = shard.details(&DetailsRequest {
                ids: places.iter().map(|place| place.id.as_str()).collect(),
                from,
                with_records,
                max_bytes: left,
            })?;
            for (place, detail) in places.into_iter().zip(found) {
                left = left.saturating_sub(detail.bytes);
                details.insert(place.clone(), detail);
            }
        }
        Ok(details)
    }

    fn hit(&self, rank: u64, fused: Fused<Place>, detail: Detail, scores: &[f64]) -> Hit {
        let (mut vector, mut metadata) = (None, None);
        let (mut region, mut kind) = (None, None);
        if let Some(mut record) = detail.record {
            if self.parts.vectors {
                vector = record.vectors.remove(&self.using).map(Vector);
            }
            if self.parts.metadata {
                metadata = Some(record.metadata);
                region = record.region;
                kind = Some(record.kind);
            }
        }
        let [by_vector, by_text] = fused.positions;
        let ranks = self.explain.then(|| HitRanks {
            vector: by_vector.map(|position| position as u64 + 1),
            text: by_text.map(|position| position as u64 + 1),
            text_score: by_text.and_then(|position| scores.get(position).copied()),
        });
        Hit {
            id: fused.item.id,
            distance: detail.distance,
            score: fused.score,
            rank,
            ranks,
            vector,
            metadata,
            region,
            kind,
        }
    }

    fn explanation(&self, found: &[Found]) -> Explain {
        let filter = self.text.filter.as_ref();
        let of = |found: &Found| self.namespace.shards().get(found.shard);
        let by_vector = found.iter().filter_map(|found| Some((found.vector.as_ref()?, of(found)?)));
        let mut shards: Vec<_> =
            by_vector.map(|(answered, shard)| answered.explain(shard, filter)).collect();
        shards.extend(found.iter().map(|found| {
            let (indexed, unindexed) =
                of(found).map(|shard| properties(shard, filter)).unwrap_or_default();
            ShardExplain {
                shard: found.shard as u64,
                strategy: "text".to_owned(),
                scanned: found.text.scanned as u64,
                exact: true,
                matching: found.text.matching,
                indexed,
                unindexed,
                cached: false,
                index_us: found.text_us,
            }
        }));
        Explain {
            index_us: shards.iter().map(|shard| shard.index_us).sum(),
            shards,
            total_us: microseconds_since(self.started),
        }
    }
}

/// Nearest first, over all shards.
fn by_vector(found: &[Found]) -> Vec<Place> {
    let answers = found.iter().filter_map(|found| found.vector.as_ref());
    let mut hits: Vec<(f64, Place)> = answers
        .flat_map(|answered| {
            let place = |id: &String| Place { id: id.clone(), shard: answered.shard };
            answered.answer.hits.iter().map(move |hit| (hit.distance, place(&hit.id)))
        })
        .collect();
    // As they come from one shard they are in the order in which they were put where equal.
    if found.len() > 1 {
        hits.sort_by(|left, right| left.0.total_cmp(&right.0).then_with(|| left.1.cmp(&right.1)));
    }
    hits.into_iter().map(|(_, place)| place).collect()
}

/// The best text first, over all shards; equal scores in the order of the shards.
fn by_text(found: &[Found]) -> Vec<(Place, f64)> {
    let mut hits: Vec<_> = found
        .iter()
        .flat_map(|found| {
            let place = |id: &String| Place { id: id.clone(), shard: found.shard };
            found.text.hits.iter().map(move |hit| (place(&hit.id), hit.score))
        })
        .collect();
    hits.sort_by(|left, right| right.1.total_cmp(&left.1));
    hits
}

/// Refuses what has no meaning beside a text.
fn refuse_unusable(wire: &SearchRequest) -> Result<(), Failure> {
    if wire.radius.is_some() {
        let detail = "radius bounds a search by vector alone; leave out radius or text";
        return Err(Failure::new(Code::SearchUnsupported, detail));
    }
    if wire.vector.is_some() {
        return Ok(());
    }
    if wire.fusion.is_some() {
        let detail = "fusion is given without vector: there is nothing to fuse the text with";
        return Err(Failure::new(Code::InvalidFusion, detail));
    }
    let given = [
        ("ef", wire.ef.is_some()),
        ("nprobe", wire.nprobe.is_some()),
        ("exact", wire.exact.is_some() && wire.group_by.is_none()),
        ("coordinates", wire.coordinates.is_some()),
        ("geometry", wire.geometry.is_some()),
        ("curvature", wire.curvature.is_some()),
        ("project", wire.project.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => {
            let detail = format!("{name} is of a search by vector, but no vector is given");
            Err(Failure::new(Code::SearchUnsupported, detail))
        }
    }
}
