//! Errors as clients see them: `application/problem+json` (RFC 9457) with a stable code.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::Code;

/// The media type of a problem in JSON.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// The media type of a problem in MessagePack.
pub const PROBLEM_MESSAGE_PACK: &str = "application/problem+msgpack";

/// What went wrong and what to do, RFC 9457 with the members `code`, `help`, `request_id`,
/// `context` and `errors` added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:hvs:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What went wrong, the same for every problem of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code, for programs.
    pub code: String,
    /// What went wrong in this case, with the numbers.
    pub detail: String,
    /// What to do about it.
    pub help: String,
    /// The id under which the node's log tells more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The numbers and names of `detail`, for programs.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub context: Map<String, Value>,
    /// Each bad item of a request that holds several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ItemProblem>,
}

/// What is wrong with one item of a request that holds several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ItemProblem {
    /// The item's place, counted from 0.
    pub index: usize,
    /// The item's id, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The stable code.
    pub code: String,
    /// What is wrong.
    pub detail: String,
}

impl Problem {
    /// A problem of `code`; `detail` says what is wrong with the case at hand.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:hvs:problem:{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            code: code.as_str().to_owned(),
            detail: detail.into(),
            help: code.help().to_owned(),
            request_id: None,
            context: Map::new(),
            errors: Vec::new(),
        }
    }

    /// Adds a number or name for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.context.insert(name.to_owned(), value.into());
        self
    }

    /// The code, unless it is one that this version does not know.
    pub fn known_code(&self) -> Option<Code> {
        self.code.parse().ok()
    }

    /// As one of several.
    #[must_use]
    pub fn at(self, index: usize, id: Option<&str>) -> ItemProblem {
        ItemProblem { index, id: id.map(str::to_owned), code: self.code, detail: self.detail }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.detail, self.code)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_carries_its_code_and_leaves_out_what_is_empty() {
        let problem = Problem::new(Code::InvalidK, "k is 0").with("limit", 10_000);
        let text = serde_json::to_value(&problem).unwrap();
        assert_eq!(text["type"], "urn:hvs:problem:invalid_k");
        assert_eq!(text["status"], 400);
        assert_eq!(text["context"]["limit"], 10_000);
        assert!(text.get("errors").is_none() && text.get("request_id").is_none());
        let back: Problem = serde_json::from_value(text).unwrap();
        assert_eq!(back.known_code(), Some(Code::InvalidK));
    }
}
