//! What is in the bucket, and what becomes of requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use hyper::{Response, StatusCode};
use sha2::{Digest as _, Sha256};

use super::{
    Asked,
    answer::Refusal,
    sign::{hex, hmac},
};

/// S3 has 1000. With few objects there are several pages.
const PAGE: usize = 3;

#[derive(Default)]
pub(crate) struct Bucket {
    objects: BTreeMap<String, Object>,
    /// Keys that a conditional PUT is on its way to.
    busy: BTreeSet<String>,
    generations: u64,
}

struct Object {
    bytes: Bytes,
    generation: u64,
    modified: SystemTime,
}

impl Object {
    /// As that of S3 it says what the content is, not which PUT it was.
    fn etag(&self) -> String {
        format!("\"{}\"", &hex(&Sha256::digest(&self.bytes))[..32])
    }
}

/// What must hold for a PUT.
pub(crate) enum Condition {
    Nothing,
    IsAbsent,
    HasTag(String),
    HasGeneration(u64),
}

impl Condition {
    pub(crate) fn of(asked: &Asked) -> Result<Self, Refusal> {
        let absent = asked.header("if-none-match");
        let tag = asked.header("if-match");
        let generation = asked.header("x-goog-if-generation-match");
        match (absent, tag, generation.map(str::parse)) {
            (None, None, None) => Ok(Self::Nothing),
            (Some("*"), None, None) | (None, None, Some(Ok(0))) => Ok(Self::IsAbsent),
            (None, Some(tag), None) => Ok(Self::HasTag(tag.to_owned())),
            (None, None, Some(Ok(generation))) => Ok(Self::HasGeneration(generation)),
            _ => Err(Refusal::NOT_IMPLEMENTED),
        }
    }
}

fn answer(object: &Object) -> hyper::http::response::Builder {
    Response::builder()
        .header("etag", object.etag())
        .header("x-goog-generation", object.generation)
        .header("last-modified", rfc2822(object.modified))
        .header("content-type", "application/octet-stream")
}

impl Bucket {
    pub(crate) fn keys(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    /// Whether no other conditional PUT is on its way to the same path.
    pub(crate) fn begin(&mut self, path: &str) -> bool {
        self.busy.insert(path.to_owned())
    }

    pub(crate) fn end(&mut self, path: &str) {
        self.busy.remove(path);
    }

    pub(crate) fn replace(&mut self, key: &str, bytes: Bytes) {
        self.generations += 1;
        let object = Object { bytes, generation: self.generations, modified: SystemTime::now() };
        self.objects.insert(key.to_owned(), object);
    }

    pub(crate) fn put(
        &mut self,
        key: &str,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<Response<Bytes>, Refusal> {
        match (condition, self.objects.get(key)) {
            (Condition::Nothing, _) | (Condition::IsAbsent, None) => {}
            (Condition::HasTag(tag), Some(object)) if *tag == object.etag() => {}
            (Condition::HasGeneration(wanted), Some(object)) if *wanted == object.generation => {}
            (Condition::HasTag(_), None) => return Err(Refusal::NO_SUCH_KEY),
            _ => return Err(Refusal::PRECONDITION),
        }
        self.replace(key, bytes);
        Ok(answer(&self.objects[key]).body(Bytes::new()).unwrap())
    }

    pub(crate) fn get(&self, key: &str, asked: &Asked) -> Result<Response<Bytes>, Refusal> {
        let object = self.objects.get(key).ok_or(Refusal::NO_SUCH_KEY)?;
        let length = object.bytes.len();
        let Some(range) = asked.header("range") else {
            let answer = answer(object).header("content-length", length);
            return Ok(answer.body(object.bytes.clone()).unwrap());
        };
        let Range { start, end } = parse_range(range, length).ok_or(Refusal::RANGE)?;
        let said = format!("bytes {start}-{}/{length}", end - 1);
        let answer = answer(object).status(StatusCode::PARTIAL_CONTENT);
        Ok(answer.header("content-range", said).body(object.bytes.slice(start..end)).unwrap())
    }

    /// S3 says the same whether there was something; Google does not.
    pub(crate) fn delete(&mut self, key: &str, asked: &Asked) -> Result<Response<Bytes>, Refusal> {
        if self.objects.remove(key).is_none() && asked.is_google {
            return Err(Refusal::NO_SUCH_KEY);
        }
        Ok(Response::builder().status(StatusCode::NO_CONTENT).body(Bytes::new()).unwrap())
    }

    pub(crate) fn delete_all(&mut self, asked: &Asked) -> Result<Response<Bytes>, Refusal> {
        let body = std::str::from_utf8(&asked.body).map_err(|_| Refusal::NOT_IMPLEMENTED)?;
        let mut xml = "<DeleteResult>".to_owned();
        for part in body.split("<Key>").skip(1) {
            let (key, _) = part.split_once("</Key>").ok_or(Refusal::NOT_IMPLEMENTED)?;
            self.objects.remove(&unescaped(key));
            write!(xml, "<Deleted><Key>{key}</Key></Deleted>").unwrap();
        }
        xml.push_str("</DeleteResult>");
        Ok(Response::new(xml.into()))
    }

    pub(crate) fn list(&self, asked: &Asked) -> Result<Response<Bytes>, Refusal> {
        let known = ["list-type", "prefix", "delimiter", "continuation-token"];
        let is_known = |(name, _): &(String, String)| known.contains(&name.as_str());
        if asked.parameter("list-type") != Some("2") || !asked.query.iter().all(is_known) {
            return Err(Refusal::NOT_IMPLEMENTED);
        }
        let prefix = asked.parameter("prefix").unwrap_or_default();
        let delimiter = asked.parameter("delimiter");
        let mut entries: BTreeMap<String, Option<&Object>> = BTreeMap::new();
        for (key, object) in self.objects.range(prefix.to_owned()..) {
            let Some(rest) = key.strip_prefix(prefix) else { break };
            match delimiter.and_then(|delimiter| rest.find(delimiter).map(|at| (at, delimiter))) {
                Some((at, delimiter)) => {
                    let end = prefix.len() + at + delimiter.len();
                    entries.insert(key[..end].to_owned(), None);
                }
                None => drop(entries.insert(key.clone(), Some(object))),
            }
        }
        let mut entries: Vec<_> = entries.into_iter().collect();
        if let Some(token) = asked.parameter("continuation-token") {
            let after = entries.iter().position(|(name, _)| token_of(name) == token);
            drop(entries.drain(..=after.ok_or(Refusal::NOT_IMPLEMENTED)?));
        }
        let is_last = entries.len() <= PAGE;
        entries.truncate(PAGE);
        let mut xml = format!("<ListBucketResult><IsTruncated>{}</IsTruncated>", !is_last);
        for (name, object) in &entries {
            let name = escaped(name);
            let Some(object) = object else {
                write!(xml, "<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>").unwrap();
                continue;
            };
            let (size, etag) = (object.bytes.len(), escaped(&object.etag()));
            let modified = rfc3339(object.modified);
            write!(
                xml,
                "<Contents><Key>{name}</Key><Size>{size}</Size><ETag>{etag}</ETag>\
                 <LastModified>{modified}</LastModified></Contents>"
            )
            .unwrap();
        }
        if let (false, Some((last, _))) = (is_last, entries.last()) {
            let token = token_of(last);
            write!(xml, "<NextContinuationToken>{token}</NextContinuationToken>").unwrap();
        }
        xml.push_str("</ListBucketResult>");
        Ok(Response::new(xml.into()))
    }
}

/// A client can make nothing of it but give it back.
fn token_of(name: &str) -> String {
    hex(&hmac(b"token", name.as_bytes()))
}

/// `bytes=first-last`, which is all that clients of ours send.
fn parse_range(text: &str, length: usize) -> Option<Range<usize>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let start: usize = first.parse().ok()?;
    let end = last.parse::<usize>().ok()?.saturating_add(1).min(length);
    (start < end).then_some(start..end)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// Year, month and day, hour, minute and second. The days' part is Howard Hinnant's
/// `civil_from_days`, for days after 1970.
fn civil(time: SystemTime) -> ([u64; 3], [u64; 3]) {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    ([year, month, day], [seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60])
}

fn rfc3339(time: SystemTime) -> String {
    let ([year, month, day], [hour, minute, second]) = civil(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z")
}

/// Without the day of the week, which may be left out.
fn rfc2822(time: SystemTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let ([year, month, day], [hour, minute, second]) = civil(time);
    let month = MONTHS[usize::try_from(month - 1).unwrap()];
    format!("{day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}
