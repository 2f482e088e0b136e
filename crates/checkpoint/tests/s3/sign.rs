//! Signature version 4, as S3 checks it:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>.

use std::fmt::Write as _;

use hyper::Uri;
use sha2::{Digest as _, Sha256};

use super::{ACCESS_KEY, Asked, SECRET_KEY, answer::Refusal};

/// Whether the request is signed with the secret key, and its body is what was signed.
pub(crate) fn check(asked: &Asked, uri: &Uri) -> Result<(), Refusal> {
    let signed = asked.header("authorization").and_then(Signed::parse);
    let signed = signed.ok_or(Refusal::ACCESS_DENIED)?;
    if signed.key != ACCESS_KEY {
        return Err(Refusal::UNKNOWN_KEY);
    }
    let date = asked.header("x-amz-date").ok_or(Refusal::ACCESS_DENIED)?;
    let body_hash = asked.header("x-amz-content-sha256").ok_or(Refusal::ACCESS_DENIED)?;
    let is_right = body_hash == hex(&Sha256::digest(&asked.body));
    if body_hash != "UNSIGNED-PAYLOAD" && !is_right {
        return Err(Refusal::SIGNATURE);
    }
    // What S3 wants to be signed; the client may sign more.
    let must_be_signed = ["host", "x-amz-date", "x-amz-content-sha256"];
    let names: Vec<&str> = signed.headers.split(';').collect();
    if must_be_signed.iter().any(|name| !names.contains(name)) {
        return Err(Refusal::SIGNATURE);
    }
    let mut query: Vec<String> = asked
        .query
        .iter()
        .map(|(name, value)| format!("{}={}", strict(name), strict(value)))
        .collect();
    query.sort();
    let mut canonical = format!("{}\n{}\n{}\n", asked.method, uri.path(), query.join("&"));
    for name in names {
        let value = asked.header(name).ok_or(Refusal::SIGNATURE)?;
        writeln!(canonical, "{name}:{}", value.trim()).unwrap();
    }
    write!(canonical, "\n{}\n{body_hash}", signed.headers).unwrap();
    let scope = signed.scope;
    let hash = hex(&Sha256::digest(canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hash}");
    let key = scope
        .split('/')
        .fold(format!("AWS4{SECRET_KEY}").into_bytes(), |key, part| hmac(&key, part.as_bytes()));
    let expected = hex(&hmac(&key, to_sign.as_bytes()));
    if signed.signature == expected { Ok(()) } else { Err(Refusal::SIGNATURE) }
}

struct Signed<'a> {
    key: &'a str,
    /// Date, region, service, and `aws4_request`.
    scope: &'a str,
    headers: &'a str,
    signature: &'a str,
}

impl<'a> Signed<'a> {
    fn parse(header: &'a str) -> Option<Self> {
        let fields = header.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let field = |name: &str| {
            fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let (key, scope) = field("Credential")?.split_once('/')?;
        Some(Self { key, scope, headers: field("SignedHeaders")?, signature: field("Signature")? })
    }
}

fn strict(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap();
        }
    }
    out
}

pub(crate) fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message);
    let outer = Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}
