//! Search: decode and check, ask every shard, merge by the true distance.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::{extract::State, response::Response};
use hvs_api::{
    BatchSearchRequest, BatchSearchResponse, Code, Explain, Hit, Problem, SearchRequest,
    SearchResponse, SpaceSpec, Vector,
};
use hvs_geometry::{Geometry, Precision, Space};
use hvs_shard::{SearchHit, Shard};

use super::{
    App,
    asking::{Answered, ask, ask_and_keep, microseconds_since, nearest_first},
    body::{Params, Payload},
    call::Call,
    failure::Failure,
    filter::read_filter,
    groups::Grouping,
    hybrid::Hybrid,
    points::read_point,
    records::{Parts, check_partition_key},
    room::Room,
    writes::{TOLD_ITEMS, check_count, named_vector, reading, refuse_if_any},
};
use crate::{
    cache::{Query, QueryCache},
    catalogue::{Namespace, VectorSpace, build_space},
    config::{Config, Limits},
    prefetch::Prefetcher,
};

pub(super) async fn search(
    State(app): State<Arc<App>>,
    Params(namespace): Params<String>,
    call: Call,
    payload: Payload<SearchRequest>,
) -> Result<Response, Failure> {
    let namespace = app.catalogue.get(&namespace, call.deadline).await?;
    app.scale.admit_queries(1)?;
    let room = Arc::new(Room::new(app.config.limits.answer_bytes));
    let job = Job::new(namespace, payload.value, &app, call.deadline, room)?;
    let response = match job {
        Job::Vector(prepared) => run(&app, *prepared).await?,
        Job::Text(hybrid) => hybrid.run_heavy(&app).await?,
    };
    call.reply(&response)
}

/// Runs a search by vector wherever it belongs: on this thread if it is over soon.
pub(super) async fn run(app: &App, prepared: Prepared) -> Result<SearchResponse, Failure> {
    if prepared.is_light || prepared.is_recalled() {
        return prepared.run();
    }
    if prepared.grouping.is_some() {
        let deadline = prepared.request.deadline.unwrap_or_else(Instant::now);
        return app.workers.run(deadline, move || prepared.run()).await?;
    }
    prepared.run_heavy(app).await
}

pub(super) async fn search_batch(
    State(app): State<Arc<App>>,
    Params(namespace): Params<String>,
    call: Call,
    payload: Payload<BatchSearchRequest>,
) -> Result<Response, Failure> {
    let namespace = app.catalogue.get(&namespace, call.deadline).await?;
    let searches = payload.value.searches;
    check_count(searches.len(), app.config.limits.searches)?;
    app.scale.admit_queries(searches.len())?;
    let mut prepared = Vec::with_capacity(searches.len());
    let room = Arc::new(Room::new(app.config.limits.answer_bytes));
    let mut errors = Vec::new();
    for (index, search) in searches.into_iter().enumerate() {
        let namespace = Arc::clone(&namespace);
        match Job::new(namespace, search, &app, call.deadline, Arc::clone(&room)) {
            Ok(one) => prepared.push(one),
            Err(failure) => errors.push(failure.problem.at(index, None)),
        }
        if errors.len() >= TOLD_ITEMS {
            break;
        }
    }
    refuse_if_any(errors, "nothing was searched")?;
    let results = run_all(&app, prepared, call.deadline).await?;
    call.reply(&BatchSearchResponse { results })
}

fn in_batch(index: usize, problem: Problem) -> Failure {
    let mut outer = problem.clone().with("index", index);
    outer.detail = format!("search {index}: {}", problem.detail);
    outer.errors = vec![problem.at(index, None)];
    outer.into()
}

/// Runs searches side by side; each worker takes the next one until none is left.
async fn run_all(
    app: &App,
    prepared: Vec<Job>,
    deadline: Instant,
) -> Result<Vec<SearchResponse>, Failure> {
    let total = prepared.len();
    let shared = Arc::new((prepared, AtomicUsize::new(0)));
    let workers = (0..app.workers.parallel().min(total)).map(|_| {
        let shared = Arc::clone(&shared);
        app.workers.run(deadline, move || {
            let (prepared, next) = &*shared;
            let mut done = Vec::new();
            while let Some((index, one)) = take(prepared, next) {
                done.push((index, one.run().map_err(|failure| (index, failure))?));
            }
            Ok::<_, (usize, Failure)>(done)
        })
    });
    let mut results: Vec<Option<SearchResponse>> = Vec::new();
    results.resize_with(total, || None);
    for outcome in futures_util::future::join_all(workers).await {
        let done = outcome?.map_err(|(index, failure)| match failure.cause {
            None => in_batch(index, *failure.problem),
            Some(_) => failure,
        })?;
        for (index, response) in done {
            if let Some(place) = results.get_mut(index) {
                *place = Some(response);
            }
        }
    }
    let complete: Option<Vec<_>> = results.into_iter().collect();
    complete.ok_or_else(|| Failure::internal(Code::Internal, "a search without an answer"))
}

fn take<'a>(prepared: &'a [Job], next: &AtomicUsize) -> Option<(usize, &'a Job)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    prepared.get(index).map(|one| (index, one))
}

/// Records of one shard that are read ahead for one search: who asks for thousands wants no more
/// than their ids.
const PREFETCHED: usize = 100;

/// A search that is checked and ready to run.
enum Job {
    /// By vector alone.
    Vector(Box<Prepared>),
    /// By text, or by both.
    Text(Arc<Hybrid>),
}

impl Job {
    fn new(
        namespace: Arc<Namespace>,
        wire: SearchRequest,
        app: &App,
        deadline: Instant,
        room: Arc<Room>,
    ) -> Result<Self, Failure> {
        if wire.text.is_some() {
            let hybrid = Hybrid::new(namespace, wire, app, deadline, room)?;
            return Ok(Self::Text(Arc::new(hybrid)));
        }
        if wire.fusion.is_some() {
            let detail = "fusion is given without text: there is nothing to fuse the vector with";
            return Err(Failure::new(Code::InvalidFusion, detail));
        }
        let mut prepared = Prepared::new(namespace, wire, app, deadline, room)?;
        prepared.recall();
        Ok(Self::Vector(Box::new(prepared)))
    }

    /// On this thread.
    fn run(&self) -> Result<SearchResponse, Failure> {
        match self {
            Self::Vector(prepared) => prepared.run(),
            Self::Text(hybrid) => hybrid.run(),
        }
    }
}

/// A search by vector that is checked and ready to run.
pub(super) struct Prepared {
    pub(super) room: Arc<Room>,
    namespace: Arc<Namespace>,
    /// Where the records of hits are read ahead, if they are.
    prefetcher: Option<Arc<Prefetcher>>,
    pub(super) request: Arc<hvs_shard::SearchRequest>,
    /// What answers are kept under, and where, if they are.
    kept: Option<(Query, Arc<QueryCache>)>,
    /// Answers that were kept, by the numbers of their shards.
    recalled: BTreeMap<usize, Answered>,
    /// The only shard to ask, if the request names a partition key.
    shard: Option<usize>,
    /// Most hits over all shards.
    most: usize,
    is_light: bool,
    parts: Parts,
    pub(super) grouping: Option<Grouping>,
    explain: bool,
    started: Instant,
}

impl Prepared {
    pub(super) fn new(
        namespace: Arc<Namespace>,
        wire: SearchRequest,
        app: &App,
        deadline: Instant,
        room: Arc<Room>,
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        let config = &*app.config;
        let limits = &config.limits;
        let grouping = Grouping::read(&wire, limits)?;
        let k = match &grouping {
            Some(grouping) => Some(grouping.first_k()),
            None => checked_k(&wire, limits)?,
        };
        let ef = checked_ef(wire.ef, limits)?;
        let nprobe = checked_nprobe(wire.nprobe, limits)?;
        check_partition_key(wire.partition_key.as_deref(), limits)?;
        let using = wire.using.unwrap_or_default();
        let vector = named_vector(&namespace, &using)?;
        let reading = reading(wire.coordinates, wire.project);
        let Some(point) = wire.vector else {
            return Err(Failure::new(Code::MissingVector, "neither vector nor text is given"));
        };
        let query = match wire.geometry.as_deref() {
            None if wire.curvature.is_none() => {
                let point = read_point(&vector.space, vector.precision, point.0, reading)?;
                // On the manifold to f64, of which the client may have known only the f32 part.
                vector.space.project(&point, Precision::F64)?
            }
            geometry => {
                let from = query_space(&vector.space, geometry, wire.curvature, limits)?;
                let point = read_point(&from, vector.precision, point.0, reading)?;
                hvs_geometry::transform(&from, &vector.space, &point)?
            }
        };
        // A group asks for more and more, with filters of its own.
        let cache = app.cache.as_ref().filter(|_| grouping.is_none() && wire.cache != Some(false));
        let as_sent = wire.filter.clone().filter(|_| cache.is_some());
        let mut filter = read_filter(wire.filter, limits)?;
        if let Some(key) = &wire.partition_key {
            // Its shard holds those of other keys as well.
            filter.get_or_insert_default().partition_key = Some(key.clone());
        }
        let parts = Parts {
            vectors: wire.include_vectors.unwrap_or_default(),
            metadata: wire.include_metadata.unwrap_or_default(),
        };
        let exact = wire.exact.unwrap_or_default();
        let shard = wire.partition_key.as_deref().map(|key| namespace.shard_number(key));
        let request = hvs_shard::SearchRequest {
            vector: using,
            query,
            k,
            radius: wire.radius,
            ef,
            nprobe,
            exact,
            filter,
            with_records: parts.vectors || parts.metadata,
            max_bytes: limits.answer_bytes,
            deadline: Some(deadline),
        };
        let is_light = grouping.is_none() && is_light(&request, &namespace, vector, config);
        let kept = cache.and_then(|cache| {
            let query = Query::new(&namespace, &request, as_sent.as_ref())?;
            Some((query, Arc::clone(cache)))
        });
        let prefetcher =
            (namespace.prefetch && !request.with_records).then(|| Arc::clone(&app.prefetcher));
        Ok(Self {
            room,
            prefetcher,
            kept,
            recalled: BTreeMap::new(),
            request: Arc::new(request),
            shard,
            most: k.unwrap_or(limits.k),
            is_light,
            parts,
            grouping,
            explain: wire.explain.unwrap_or_default(),
            started,
            namespace,
        })
    }

    /// The shards to ask, with their numbers.
    fn shards(&self) -> impl Iterator<Item = (usize, &Shard)> {
        let all = self.namespace.shards().iter().enumerate();
        all.filter(|(number, _)| self.shard.is_none_or(|only| only == *number))
    }

    /// On this thread, one shard after the other.
    pub(super) fn run(&self) -> Result<SearchResponse, Failure> {
        if let Some(grouping) = &self.grouping {
            return grouping.run(self);
        }
        let answers: Result<Vec<_>, Failure> = self
            .shards()
            .map(|(number, shard)| match self.recalled.get(&number) {
                Some(recalled) => Ok(recalled.clone()),
                None => ask_and_keep(number, shard, &self.request, self.kept.as_ref()),
            })
            .collect();
        self.respond(answers?)
    }

    /// Looks up what shards answered before.
    pub(super) fn recall(&mut self) {
        let Some((query, cache)) = &self.kept else { return };
        let recalled = self.shards().filter_map(|(number, shard)| {
            let started = Instant::now();
            let answer = cache.recall(query, number, shard)?;
            let index_us = microseconds_since(started);
            Some((number, Answered { shard: number, answer, index_us, is_recalled: true }))
        });
        let recalled: BTreeMap<_, _> = recalled.collect();
        self.recalled = recalled;
    }

    /// Whether that is the answer of all of them.
    fn is_recalled(&self) -> bool {
        self.shards().all(|(number, _)| self.recalled.contains_key(&number))
    }

    /// The hits of another request in place of this one's, nearest first, and whether none can
    /// have been missed. On this thread, one shard after the other.
    pub(super) fn ask(
        &self,
        request: &hvs_shard::SearchRequest,
    ) -> Result<(Vec<SearchHit>, bool), Failure> {
        let (mut hits, mut exact) = (Vec::new(), true);
        for (number, shard) in self.shards() {
            let answer = ask(number, shard, request)?.answer;
            exact &= answer.exact;
            hits.extend(answer.hits);
        }
        hits.sort_by(nearest_first);
        hits.truncate(request.k.unwrap_or(self.most));
        Ok((hits, exact))
    }

    /// Leaves records out by their ids.
    pub(super) fn leave_out(&mut self, ids: Vec<String>) {
        let mut request = hvs_shard::SearchRequest::clone(&self.request);
        request.filter.get_or_insert_default().without = ids;
        self.kept = self.kept.take().and_then(|(query, cache)| {
            Some((query.leaving_out(&request.filter.as_ref()?.without), cache))
        });
        self.request = Arc::new(request);
        self.is_light = false;
    }

    /// On workers, the shards side by side.
    async fn run_heavy(&self, app: &App) -> Result<SearchResponse, Failure> {
        let missing = self.shards().filter(|(number, _)| !self.recalled.contains_key(number));
        let asked = missing.map(|(number, shard)| {
            let shard = shard.clone();
            let kept = self.kept.clone();
            let request = Arc::clone(&self.request);
            // The namespace as a whole is held, so that its deletion waits for this search.
            let namespace = Arc::clone(&self.namespace);
            let deadline = self.request.deadline.unwrap_or_else(Instant::now);
            app.workers.run(deadline, move || {
                let answer = ask_and_keep(number, &shard, &request, kept.as_ref());
                drop(shard);
                drop(namespace);
                answer
            })
        });
        let mut answers: Vec<_> = self.recalled.values().cloned().collect();
        for outcome in futures_util::future::join_all(asked).await {
            answers.push(outcome??);
        }
        answers.sort_by_key(|answered| answered.shard);
        self.respond(answers)
    }

    fn respond(&self, answers: Vec<Answered>) -> Result<SearchResponse, Failure> {
        answers.iter().try_for_each(|answered| self.room.take(&answered.answer))?;
        let explain = self.explain.then(|| self.explain(&answers));
        let exact = answers.iter().all(|answered| answered.answer.exact);
        let mut truncated = answers.iter().any(|answered| answered.answer.truncated);
        self.prefetch(&answers);
        let is_merged = answers.len() > 1;
        let mut hits: Vec<SearchHit> =
            answers.into_iter().flat_map(|answered| answered.answer.hits).collect();
        if is_merged {
            hits.sort_by(nearest_first);
        }
        if hits.len() > self.most {
            hits.truncate(self.most);
            truncated |= self.request.k.is_none();
        }
        let hits = (1..).zip(hits).map(|(rank, hit)| self.hit(rank, hit)).collect();
        Ok(SearchResponse { hits, groups: None, exact, truncated, explain })
    }

    /// Has the records of what was found read, of each shard's answer for itself. Who is given an
    /// answer that was kept has been given it before.
    fn prefetch(&self, answers: &[Answered]) {
        let Some(prefetcher) = &self.prefetcher else { return };
        for answered in answers.iter().filter(|answered| !answered.is_recalled) {
            let hits = answered.answer.hits.iter().take(PREFETCHED);
            let ids = hits.map(|hit| hit.id.clone()).collect();
            prefetcher.guess(self.namespace.shards_unheld(), answered.shard, ids);
        }
    }

    pub(super) fn hit(&self, rank: u64, hit: SearchHit) -> Hit {
        let (mut vector, mut metadata) = (None, None);
        let (mut region, mut kind) = (None, None);
        if let Some(mut record) = hit.record {
            if self.parts.vectors {
                vector = record.vectors.remove(&self.request.vector).map(Vector);
            }
            if self.parts.metadata {
                metadata = Some(record.metadata);
                region = record.region;
                kind = Some(record.kind);
            }
        }
        Hit {
            id: hit.id,
            distance: Some(hit.distance),
            score: 1.0 / (1.0 + hit.distance),
            rank,
            ranks: None,
            vector,
            metadata,
            region,
            kind,
        }
    }

    fn explain(&self, answers: &[Answered]) -> Explain {
        let filter = self.request.filter.as_ref();
        let shards = answers.iter().filter_map(|answered| {
            let shard = self.namespace.shards().get(answered.shard)?;
            Some(answered.explain(shard, filter))
        });
        Explain {
            shards: shards.collect(),
            index_us: answers.iter().map(|answered| answered.index_us).sum(),
            total_us: microseconds_since(self.started),
        }
    }
}

pub(super) fn checked_k(wire: &SearchRequest, limits: &Limits) -> Result<Option<usize>, Failure> {
    if let Some(radius) = wire.radius
        && !(radius.is_finite() && radius >= 0.0)
    {
        let detail = format!("radius is {radius}, it must be a finite number of at least 0");
        return Err(Failure::new(Code::InvalidRadius, detail));
    }
    let Some(asked) = wire.k else {
        if wire.radius.is_some() {
            return Ok(None);
        }
        return Err(Failure::new(Code::MissingBound, "neither k nor radius is given"));
    };
    let most = limits.k;
    let k = usize::try_from(asked).ok().filter(|k| (1..=most).contains(k));
    if k.is_none() {
        let detail = format!("k is {asked}, it must be from 1 to {most}");
        return Err(Failure::new(Code::InvalidK, detail).with("limit", most));
    }
    Ok(k)
}

fn checked_ef(asked: Option<u64>, limits: &Limits) -> Result<Option<usize>, Failure> {
    let Some(asked) = asked else { return Ok(None) };
    let most = limits.ef;
    let ef = usize::try_from(asked).ok().filter(|ef| (1..=most).contains(ef));
    if ef.is_none() {
        let detail = format!("ef is {asked}, it must be from 1 to {most}");
        return Err(Failure::new(Code::InvalidEf, detail).with("limit", most));
    }
    Ok(ef)
}

fn checked_nprobe(asked: Option<u64>, limits: &Limits) -> Result<Option<usize>, Failure> {
    let Some(asked) = asked else { return Ok(None) };
    let most = limits.nprobe;
    let nprobe = usize::try_from(asked).ok().filter(|nprobe| (1..=most).contains(nprobe));
    if nprobe.is_none() {
        let detail = format!("nprobe is {asked}, it must be from 1 to {most}");
        return Err(Failure::new(Code::InvalidNprobe, detail).with("limit", most));
    }
    Ok(nprobe)
}

/// Whether the search is over sooner than two hand-overs between threads.
fn is_light(
    request: &hvs_shard::SearchRequest,
    namespace: &Namespace,
    vector: &VectorSpace,
    config: &Config,
) -> bool {
    let settings = &config.search;
    let small = request.k.is_some_and(|k| k <= settings.inline_k)
        && request.ef.is_none_or(|ef| ef <= settings.inline_ef);
    if !small || request.radius.is_some() || request.filter.is_some() {
        return false;
    }
    let mut records = 0;
    for shard in namespace.shards() {
        // Whatever the index does, what is in memory is compared.
        records += shard.memory_records() as u64;
        if request.exact || vector.scans {
            records += shard.stored();
        }
    }
    let coordinates = records.saturating_mul(vector.space.ambient() as u64);
    coordinates <= settings.inline_coordinates as u64
}

/// The space that a query is given in.
fn query_space(
    target: &Space,
    geometry: Option<&str>,
    curvature: Option<f64>,
    limits: &Limits,
) -> Result<Space, Failure> {
    let Some(target_geometry) = target.geometry() else {
        let detail =
            "a query for a product space is given in that space: leave out geometry and curvature";
        return Err(Failure::new(Code::SearchUnsupported, detail));
    };
    let geometry = match geometry {
        Some(name) => name
            .parse::<Geometry>()
            .map_err(|error| Failure::new(Code::UnknownGeometry, error.to_string()))?,
        None => target_geometry,
    };
    let same_curvature = geometry == target_geometry
        || (geometry.is_hyperbolic() && target_geometry.is_hyperbolic());
    let spec = SpaceSpec {
        geometry: Some(geometry.name().to_owned()),
        dimension: Some(target.dimension() as u64),
        curvature: curvature.or(same_curvature.then(|| target.curvature())),
        components: None,
    };
    Ok(build_space(&spec, None, limits)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(k: Option<u64>, radius: Option<f64>) -> Result<Option<usize>, String> {
        let wire = SearchRequest { k, radius, ..SearchRequest::default() };
        checked_k(&wire, &Limits { k: 10, ..Limits::default() })
            .map_err(|failure| failure.problem.code.clone())
    }

    #[test]
    fn bounds_hold_at_their_edges() {
        assert_eq!(with(Some(1), None), Ok(Some(1)));
        assert_eq!(with(Some(10), Some(0.0)), Ok(Some(10)));
        assert_eq!(with(None, Some(1.5)), Ok(None));
        for k in [0, 11, 1_000_000_000, u64::MAX] {
            assert_eq!(with(Some(k), None).unwrap_err(), "invalid_k");
        }
        for radius in [-1e-9, f64::NAN, f64::INFINITY] {
            assert_eq!(with(Some(1), Some(radius)).unwrap_err(), "invalid_radius");
        }
        assert_eq!(with(None, None).unwrap_err(), "missing_bound");
        let limits = Limits { ef: 5, ..Limits::default() };
        assert_eq!(checked_ef(Some(5), &limits).unwrap(), Some(5));
        assert_eq!(checked_ef(Some(6), &limits).unwrap_err().problem.code, "invalid_ef");
        assert_eq!(checked_ef(Some(0), &limits).unwrap_err().problem.code, "invalid_ef");
        let limits = Limits { nprobe: 5, ..Limits::default() };
        assert_eq!(checked_nprobe(Some(5), &limits).unwrap(), Some(5));
        for bad in [0, 6, u64::MAX] {
            let failure = checked_nprobe(Some(bad), &limits).unwrap_err();
            assert_eq!(failure.problem.code, "invalid_nprobe");
        }
    }

    #[test]
    fn a_query_takes_the_curvature_of_its_namespace_among_hyperbolic_models() {
        let target = Space::new(Geometry::Hyperboloid, 3, -0.25).unwrap();
        let from = |geometry, curvature| {
            query_space(&target, geometry, curvature, &Limits::default()).unwrap()
        };
        let expected = |geometry, curvature| Space::new(geometry, 3, curvature).unwrap();
        assert_eq!(from(Some("poincare"), None), expected(Geometry::Poincare, -0.25));
        assert_eq!(from(Some("klein"), Some(-1.0)), expected(Geometry::Klein, -1.0));
        assert_eq!(from(Some("spherical"), None), expected(Geometry::Spherical, 1.0));
        assert_eq!(from(None, Some(-4.0)), expected(Geometry::Hyperboloid, -4.0));
    }
}
