//! The table of endpoints, and the OpenAPI document that follows from it.

use std::{borrow::Cow, fmt::Write as _};

use utoipa::{
    ToSchema,
    openapi::{
        ComponentsBuilder, Content, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder,
        Ref, RefOr, Required, ResponseBuilder, Schema,
        path::{OperationBuilder, ParameterBuilder, ParameterIn, PathItem},
        request_body::RequestBodyBuilder,
        schema::{ObjectBuilder, Type},
    },
};

use crate::{
    AliasInfo, AliasList, AlterNamespace, AlteredNamespace, BatchRequest, BatchResponse,
    BatchSearchRequest, BatchSearchResponse, ByFilterResponse, ChangesResponse, CheckpointList,
    CheckpointPlaces, ChooseRequest, ChooseResponse, Code, CostIntervalRequest, CostRequest,
    CostResponse, CountRequest, CountResponse, CreateCheckpoint, CreateNamespace, DEADLINE_MS,
    DeleteByFilter, DeletedCheckpoint, DeletedName, DistanceResponse, Encoding, FacetsRequest,
    FacetsResponse, FetchRequest, FetchResponse, GeodesicRequest, Health, IDEMPOTENCY_KEY,
    InnerRequest, InnerResponse, IntervalResponse, MaintenanceInfo, MeanRequest, NamespaceInfo,
    NamespaceList, PROBLEM_JSON, PROBLEM_MESSAGE_PACK, PairRequest, PatchByFilter, PatchRecord,
    PointRequest, PointResponse, Problem, PutRecord, REQUEST_ID, RecommendRequest,
    RecommendResponse, RecordInfo, RestoreRequest, ScaleRequest, ScrollRequest, ScrollResponse,
    SearchRequest, SearchResponse, SetAlias, SwitchAliases, TangentRequest, TangentResponse,
    TaskInfo, TaskList, TransformRequest, TransportRequest, ValidateRequest, ValidateResponse,
    WriteResult,
};

/// A type of the API as the document knows it: its name and everything that it is made of.
type Described = (Cow<'static, str>, Vec<(String, RefOr<Schema>)>);

/// One method of one route.
pub struct Endpoint {
    /// `GET`, `PUT`, `POST`, `PATCH` or `DELETE`.
    pub method: HttpMethod,
    /// The path, parameters in braces.
    pub path: &'static str,
    /// One line.
    pub summary: &'static str,
    /// The group in the documentation.
    pub tag: &'static str,
    headers: &'static [(&'static str, &'static str)],
    query: &'static [(&'static str, &'static str)],
    status: &'static str,
    request: Option<Described>,
    response: Option<Described>,
}

const WRITE_HEADERS: &[(&str, &str)] = &[
    (IDEMPOTENCY_KEY, "Repeating a request with the same key takes effect once."),
    ("if-match", "Only over the record of this etag."),
    ("if-none-match", "`*`: only where there is no such record."),
];
const PATCH_HEADERS: &[(&str, &str)] = &[
    (IDEMPOTENCY_KEY, "Repeating a request with the same key takes effect once."),
    ("if-match", "Only the record of this etag."),
];
const BATCH_HEADERS: &[(&str, &str)] =
    &[(IDEMPOTENCY_KEY, "Repeating a request with the same key takes effect once.")];
const PARTITION_QUERY: &[(&str, &str)] =
    &[("partition_key", "The record's partition key, where it was stored with one.")];
const CHANGES_QUERY: &[(&str, &str)] = &[
    ("since", "After where: a token; `now`; with `shard` also the seq of an entry of its log."),
    ("shard", "Of this shard alone."),
    ("limit", "Most changes; 100 when left out."),
    ("wait_ms", "Milliseconds to wait for a change if there is none yet."),
    ("include", "`record`: with what each record became by a put or a patch."),
];
const CHANGES_HEADERS: &[(&str, &str)] = &[
    ("accept", "`text/event-stream`: a stream of server-sent events that goes on."),
    ("last-event-id", "Of a stream: after where, in place of `since`."),
];
const DELETE_QUERY: &[(&str, &str)] = &[
    ("partition_key", "The record's partition key, where it was stored with one."),
    (
        "durability",
        "When to acknowledge: `memory`, `buffered` or `sync`; as the namespace has it when left out.",
    ),
];

impl Endpoint {
    fn new(
        method: HttpMethod,
        path: &'static str,
        tag: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            summary,
            tag,
            headers: &[],
            query: &[],
            status: "200",
            request: None,
            response: None,
        }
    }

    fn takes<T: ToSchema>(mut self) -> Self {
        self.request = Some(describe::<T>());
        self
    }

    fn answers<T: ToSchema>(mut self) -> Self {
        self.response = Some(describe::<T>());
        self
    }

    /// Begins a task that goes on after the answer.
    fn begins(self) -> Self {
        Self { status: "202", ..self }.answers::<TaskInfo>()
    }

    fn headers(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }

    fn query(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }
}

fn describe<T: ToSchema>() -> Described {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    (T::name(), schemas)
}

/// Every endpoint of the external listener, in the order of the documentation.
pub fn endpoints() -> Vec<Endpoint> {
    let mut all = namespace_endpoints();
    all.extend(record_endpoints());
    all.extend(checkpoint_endpoints());
    all.extend(maintenance_endpoints());
    all.extend(geometry_endpoints());
    all.extend(node_endpoints());
    all
}

fn namespace_endpoints() -> Vec<Endpoint> {
    use HttpMethod::{Delete, Get, Patch, Post, Put};

    let tag = "namespaces";
    let one = "/v1/namespaces/{namespace}";
    let alias = "/v1/aliases/{alias}";
    vec![
        Endpoint::new(Get, "/v1/namespaces", tag, "List namespaces").answers::<NamespaceList>(),
        Endpoint::new(Put, one, tag, "Create a namespace; the same settings again are accepted")
            .takes::<CreateNamespace>()
            .answers::<NamespaceInfo>(),
        Endpoint::new(Get, one, tag, "Settings and counts of a namespace")
            .answers::<NamespaceInfo>(),
        Endpoint::new(
            Patch,
            one,
            tag,
            "Change the indexes of a namespace; 202 if a task builds them",
        )
        .takes::<AlterNamespace>()
        .answers::<AlteredNamespace>(),
        Endpoint::new(Delete, one, tag, "Delete a namespace with all its records and aliases")
            .answers::<DeletedName>(),
        Endpoint::new(Get, "/v1/aliases", tag, "List aliases").answers::<AliasList>(),
        Endpoint::new(Post, "/v1/aliases", tag, "Set and remove several aliases at once")
            .takes::<SwitchAliases>()
            .answers::<AliasList>(),
        Endpoint::new(Put, alias, tag, "Set an alias, or lead it elsewhere")
            .takes::<SetAlias>()
            .answers::<AliasInfo>(),
        Endpoint::new(Get, alias, tag, "Where an alias leads").answers::<AliasInfo>(),
        Endpoint::new(Delete, alias, tag, "Remove an alias").answers::<DeletedName>(),
    ]
}

fn record_endpoints() -> Vec<Endpoint> {
    use HttpMethod::{Delete, Get, Patch, Post, Put};

    let tag = "records";
    let one = "/v1/namespaces/{namespace}/vectors/{id}";
    let batch = "/v1/namespaces/{namespace}/batch";
    let fetch = "/v1/namespaces/{namespace}/fetch";
    let scroll = "/v1/namespaces/{namespace}/scroll";
    let count = "/v1/namespaces/{namespace}/count";
    let delete = "/v1/namespaces/{namespace}/vectors/delete";
    let patch = "/v1/namespaces/{namespace}/vectors/patch";
    let changes = "/v1/namespaces/{namespace}/changes";
    let facets = "/v1/namespaces/{namespace}/facets";
    let recommend = "/v1/namespaces/{namespace}/recommend";
    let search = "/v1/namespaces/{namespace}/search";
    let searches = "/v1/namespaces/{namespace}/search/batch";
    vec![
        Endpoint::new(Put, one, tag, "Store a record")
            .takes::<PutRecord>()
            .answers::<WriteResult>()
            .headers(WRITE_HEADERS),
        Endpoint::new(Get, one, tag, "Read a record")
            .answers::<RecordInfo>()
            .query(PARTITION_QUERY),
        Endpoint::new(Delete, one, tag, "Delete a record")
            .answers::<WriteResult>()
            .headers(WRITE_HEADERS)
            .query(DELETE_QUERY),
        Endpoint::new(Patch, one, tag, "Change parts of a record")
            .takes::<PatchRecord>()
            .answers::<WriteResult>()
            .headers(PATCH_HEADERS),
        Endpoint::new(Post, batch, tag, "Several puts, patches and deletes")
            .takes::<BatchRequest>()
            .answers::<BatchResponse>()
            .headers(BATCH_HEADERS),
        Endpoint::new(Post, fetch, tag, "Read many records by their ids")
            .takes::<FetchRequest>()
            .answers::<FetchResponse>(),
        Endpoint::new(Post, scroll, tag, "Read all records, page by page")
            .takes::<ScrollRequest>()
            .answers::<ScrollResponse>(),
        Endpoint::new(Post, count, tag, "Count records")
            .takes::<CountRequest>()
            .answers::<CountResponse>(),
        Endpoint::new(Post, delete, tag, "Delete the records that match")
            .takes::<DeleteByFilter>()
            .answers::<ByFilterResponse>(),
        Endpoint::new(Post, patch, tag, "Change parts of the records that match")
            .takes::<PatchByFilter>()
            .answers::<ByFilterResponse>(),
        Endpoint::new(Post, facets, tag, "Count records by the values of a field")
            .takes::<FacetsRequest>()
            .answers::<FacetsResponse>(),
        Endpoint::new(Get, changes, tag, "Follow the changes")
            .answers::<ChangesResponse>()
            .query(CHANGES_QUERY)
            .headers(CHANGES_HEADERS),
        Endpoint::new(Post, recommend, "search", "Find records by examples")
            .takes::<RecommendRequest>()
            .answers::<RecommendResponse>(),
        Endpoint::new(Post, search, "search", "Find the nearest records")
            .takes::<SearchRequest>()
            .answers::<SearchResponse>(),
        Endpoint::new(Post, searches, "search", "Several searches in one request")
            .takes::<BatchSearchRequest>()
            .answers::<BatchSearchResponse>(),
    ]
}

fn checkpoint_endpoints() -> Vec<Endpoint> {
    use HttpMethod::{Delete, Get, Post};

    let tag = "checkpoints";
    let all = "/v1/namespaces/{namespace}/checkpoints";
    let one = "/v1/namespaces/{namespace}/checkpoints/{checkpoint}";
    let verify = "/v1/namespaces/{namespace}/checkpoints/{checkpoint}/verify";
    vec![
        Endpoint::new(Get, all, tag, "List the checkpoints of a namespace")
            .answers::<CheckpointList>(),
        Endpoint::new(Post, all, tag, "Make a checkpoint").takes::<CreateCheckpoint>().begins(),
        Endpoint::new(Delete, one, tag, "Delete a checkpoint").answers::<DeletedCheckpoint>(),
        Endpoint::new(Post, verify, tag, "Read all of a checkpoint and check it").begins(),
        Endpoint::new(Get, "/v1/checkpoints", tag, "List the checkpoints of all namespaces")
            .answers::<CheckpointPlaces>(),
        Endpoint::new(Post, "/v1/restore", tag, "Make a namespace from a checkpoint")
            .takes::<RestoreRequest>()
            .begins(),
        Endpoint::new(Get, "/v1/tasks", tag, "List tasks").answers::<TaskList>(),
        Endpoint::new(Get, "/v1/tasks/{task}", tag, "How far a task is").answers::<TaskInfo>(),
        Endpoint::new(Delete, "/v1/tasks/{task}", tag, "End a task that builds indexes").begins(),
    ]
}

fn maintenance_endpoints() -> Vec<Endpoint> {
    use HttpMethod::{Get, Post};

    let new = |method, path, summary| {
        Endpoint::new(method, path, "maintenance", summary).answers::<MaintenanceInfo>()
    };
    vec![
        new(Get, "/v1/maintenance", "Whether indexes are built in the background, and what waits"),
        new(Post, "/v1/maintenance/pause", "Let no further build of an index begin"),
        new(Post, "/v1/maintenance/resume", "Let builds of indexes begin again"),
    ]
}

fn geometry_endpoints() -> Vec<Endpoint> {
    let post = |path, summary| Endpoint::new(HttpMethod::Post, path, "geometry", summary);
    vec![
        post("/v1/geometry/distance", "The distance of two points")
            .takes::<PairRequest>()
            .answers::<DistanceResponse>(),
        post("/v1/geometry/exp", "The point that a tangent vector leads to")
            .takes::<TangentRequest>()
            .answers::<PointResponse>(),
        post("/v1/geometry/log", "The tangent vector that leads from one point to another")
            .takes::<PairRequest>()
            .answers::<TangentResponse>(),
        post("/v1/geometry/transport", "Move a tangent vector along a geodesic, parallel")
            .takes::<TransportRequest>()
            .answers::<TangentResponse>(),
        post("/v1/geometry/geodesic", "A point on the geodesic between two points")
            .takes::<GeodesicRequest>()
            .answers::<PointResponse>(),
        post("/v1/geometry/midpoint", "The point halfway between two points")
            .takes::<PairRequest>()
            .answers::<PointResponse>(),
        post("/v1/geometry/mean", "The weighted mean of points")
            .takes::<MeanRequest>()
            .answers::<PointResponse>(),
        post("/v1/geometry/inner", "The scalar product of two tangent vectors")
            .takes::<InnerRequest>()
            .answers::<InnerResponse>(),
        post("/v1/geometry/mobius_add", "Möbius addition in the Poincaré ball")
            .takes::<PairRequest>()
            .answers::<PointResponse>(),
        post("/v1/geometry/mobius_scalar", "Möbius scalar multiplication in the Poincaré ball")
            .takes::<ScaleRequest>()
            .answers::<PointResponse>(),
        post("/v1/geometry/validate", "Whether a point would be stored, and if not, why")
            .takes::<ValidateRequest>()
            .answers::<ValidateResponse>(),
        post("/v1/geometry/project", "The point of the manifold for given coordinates")
            .takes::<PointRequest>()
            .answers::<PointResponse>(),
        post("/v1/geometry/transform", "Carry a point into another space")
            .takes::<TransformRequest>()
            .answers::<PointResponse>(),
        post("/v1/geometry/interval", "Interval and causal relation of Lorentzian points")
            .takes::<PairRequest>()
            .answers::<IntervalResponse>(),
        post("/v1/geometry/choose", "Choose a geometry for data, with the evidence")
            .takes::<ChooseRequest>()
            .answers::<ChooseResponse>(),
        post("/v1/geometry/cost", "Choose among options under a budget")
            .takes::<CostRequest>()
            .answers::<CostResponse>(),
        post("/v1/geometry/cost/interval", "The interval between two costs")
            .takes::<CostIntervalRequest>()
            .answers::<IntervalResponse>(),
    ]
}

fn node_endpoints() -> Vec<Endpoint> {
    let get = |path, summary| Endpoint::new(HttpMethod::Get, path, "node", summary);
    vec![
        get("/livez", "Whether the process should go on; 200 or 503"),
        get("/readyz", "Whether the node takes requests; 200 or 503"),
        get("/health", "The state of the node and of its parts").answers::<Health>(),
        get("/metrics", "Metrics in the Prometheus text format"),
        get("/openapi.json", "This document"),
    ]
}

/// The OpenAPI document of [`endpoints`].
pub fn openapi() -> OpenApi {
    let mut paths = PathsBuilder::new();
    let mut components = ComponentsBuilder::new();
    let (problem_name, problem_schemas) = describe::<Problem>();
    components = components.schemas_from_iter(problem_schemas);
    for endpoint in endpoints() {
        let operation = operation(&endpoint, &problem_name);
        paths = paths.path(endpoint.path, PathItem::new(endpoint.method, operation));
        for (_, schemas) in [endpoint.request, endpoint.response].into_iter().flatten() {
            components = components.schemas_from_iter(schemas);
        }
    }
    let info = InfoBuilder::new()
        .title("HVS")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(description()))
        .build();
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components.build())).build()
}

fn operation(endpoint: &Endpoint, problem: &str) -> OperationBuilder {
    let method = match endpoint.method {
        HttpMethod::Put => "put",
        HttpMethod::Post => "post",
        HttpMethod::Delete => "delete",
        HttpMethod::Patch => "patch",
        _ => "get",
    };
    let id: String = endpoint
        .path
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '_' })
        .collect();
    let mut operation = OperationBuilder::new()
        .operation_id(Some(format!("{method}{id}")))
        .summary(Some(endpoint.summary))
        .tag(endpoint.tag);
    for segment in endpoint.path.split('/') {
        if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            operation = operation.parameter(parameter(name, ParameterIn::Path, None));
        }
    }
    for (name, description) in endpoint.headers {
        operation = operation.parameter(parameter(name, ParameterIn::Header, Some(description)));
    }
    for (name, description) in endpoint.query {
        operation = operation.parameter(parameter(name, ParameterIn::Query, Some(description)));
    }
    if let Some((name, _)) = &endpoint.request {
        let mut body = RequestBodyBuilder::new().required(Some(Required::True));
        for media_type in media_types() {
            body = body.content(media_type, reference(name));
        }
        operation = operation.request_body(Some(body.build()));
    }
    let mut success = ResponseBuilder::new().description("Done");
    if let Some((name, _)) = &endpoint.response {
        for media_type in media_types() {
            success = success.content(media_type, reference(name));
        }
    }
    let failure = ResponseBuilder::new()
        .description("A problem with a stable code")
        .content(PROBLEM_JSON, reference(problem))
        .content(PROBLEM_MESSAGE_PACK, reference(problem));
    operation.response(endpoint.status, success).response("default", failure)
}

fn parameter(name: &str, place: ParameterIn, description: Option<&str>) -> ParameterBuilder {
    let required =
        if matches!(place, ParameterIn::Path) { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(description)
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
}

fn reference(name: &str) -> Content {
    Content::new(Some(Ref::from_schema_name(name)))
}

fn media_types() -> [&'static str; 2] {
    [Encoding::Json.content_type(), Encoding::MessagePack.content_type()]
}

fn description() -> String {
    let mut text = format!(
        "A vector database for curved spaces. Bodies are JSON or MessagePack by Content-Type and \
         Accept. Headers of every request: `{REQUEST_ID}` (given back), `traceparent`, \
         `{DEADLINE_MS}`.\n\nCodes of problems:\n"
    );
    for code in Code::ALL {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n- `{code}` ({}): {}.", code.status(), code.title());
    }
    text
}

/// The document as it stands in the tree and at `/openapi.json`.
///
/// # Errors
/// None in practice: the document is strings, lists and maps with string keys.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    openapi().to_pretty_json().map(|text| text + "\n")
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, env, fs, path::Path};

    use super::*;

    /// The document is a contract: a change of it is seen in review, as a change of this file.
    #[test]
    fn the_document_in_the_tree_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let document = openapi_json().unwrap();
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &document).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert!(golden == document, "run `cargo xtask openapi`, and look at the difference");
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_its_own_id() {
        let document = serde_json::to_value(openapi()).unwrap();
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        let ids: HashSet<_> = text
            .split("\"operationId\":")
            .skip(1)
            .map(|rest| rest.split(',').next().unwrap().to_owned())
            .collect();
        assert_eq!(ids.len(), endpoints().len());
    }
}
