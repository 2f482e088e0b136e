//! A small blocking HTTP/1.1 client over one connection that is kept open.
//!
//! It does as little as possible for each request, so that a benchmark measures the server. It
//! understands what servers send: a status line, headers, and a body with a length or in chunks.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use hvs_api::{Encoding, Problem, decode, encode};
use serde::{Serialize, de::DeserializeOwned};

/// How long one answer may take before the connection is given up.
const PATIENCE: Duration = Duration::from_mins(2);
/// No answer of a test is larger.
const MAX_BODY: usize = 1 << 30;

/// An answer to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The head as text: status line and headers.
    pub head: String,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as the problem that it describes, when the status says that it is one.
    pub fn problem(&self) -> Option<Problem> {
        let packed = self.header("content-type").is_some_and(|kind| kind.contains("msgpack"));
        let encoding = if packed { Encoding::MessagePack } else { Encoding::Json };
        (self.status >= 400).then(|| decode(encoding, &self.body).ok()).flatten()
    }
}

/// One connection to a node.
pub struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    /// Bytes that were read beyond the answer before.
    buffer: Vec<u8>,
}

impl Connection {
    /// Opens a connection.
    ///
    /// # Errors
    /// Nothing listens there.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, address, buffer: Vec::with_capacity(1 << 16) })
    }

    /// The bytes of a request, to be sent any number of times with [`Connection::send`].
    pub fn prepare(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n{headers}\r\n",
            self.address,
            body.len()
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        request
    }

    /// Sends a prepared request and waits for the answer.
    ///
    /// # Errors
    /// The connection breaks, or the answer is not HTTP.
    pub fn send(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).context("cannot send the request")?;
        self.receive()
    }

    /// Sends a request in JSON and returns the answer as it is.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn json(&mut self, method: &str, path: &str, body: &str) -> Result<Answer> {
        let headers = "content-type: application/json\r\naccept: application/json\r\n";
        self.send(&self.prepare(method, path, headers, body.as_bytes()))
    }

    /// Sends `request` in MessagePack and decodes the answer.
    ///
    /// # Errors
    /// As [`Connection::send`], or the node answers with a problem.
    pub fn call<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        method: &str,
        path: &str,
        request: &Q,
    ) -> Result<A> {
        let body = encode(Encoding::MessagePack, request)?;
        let answer = self.send(&self.prepare(method, path, PACKED, &body))?;
        if let Some(problem) = answer.problem() {
            return Err(problem).with_context(|| format!("{method} {path}"));
        }
        decode(Encoding::MessagePack, &answer.body)
            .with_context(|| format!("{method} {path}: status {}", answer.status))
    }

    /// Sends a GET without a body and decodes the answer.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn get<A: DeserializeOwned>(&mut self, path: &str) -> Result<A> {
        let answer = self.send(&self.prepare("GET", path, PACKED, &[]))?;
        if let Some(problem) = answer.problem() {
            return Err(problem).with_context(|| format!("GET {path}"));
        }
        decode(Encoding::MessagePack, &answer.body)
            .with_context(|| format!("GET {path}: status {}", answer.status))
    }

    fn receive(&mut self) -> Result<Answer> {
        let head_end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let head = String::from_utf8_lossy(self.buffer.get(..head_end).unwrap_or_default());
        let head = head.into_owned();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse().ok())
            .with_context(|| format!("not an answer: {:?}", head.lines().next()))?;
        let mut answer = Answer { status, head, body: Vec::new() };
        let is_chunked = answer.header("transfer-encoding").is_some_and(|how| how == "chunked");
        let length: usize = match answer.header("content-length") {
            Some(text) => text.parse().context("a length that is no number")?,
            None if status == 204 || status == 304 => 0,
            None if is_chunked => {
                self.buffer.drain(..head_end);
                answer.body = self.chunks()?;
                return Ok(answer);
            }
            None => bail!("an answer without a length"),
        };
        if length > MAX_BODY {
            bail!("an answer of {length} bytes");
        }
        while self.buffer.len() < head_end + length {
            self.fill()?;
        }
        answer.body = self.buffer.get(head_end..head_end + length).unwrap_or_default().to_vec();
        self.buffer.drain(..head_end + length);
        Ok(answer)
    }

    /// A body in chunks, each with its length in hexadecimal before it; the last is empty.
    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line_end = loop {
                if let Some(at) = find(&self.buffer, b"\r\n") {
                    break at;
                }
                self.fill()?;
            };
            let line = String::from_utf8_lossy(self.buffer.get(..line_end).unwrap_or_default());
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length = usize::from_str_radix(digits, 16).context("a chunk without a length")?;
            if body.len() + length > MAX_BODY {
                bail!("an answer of more than {MAX_BODY} bytes");
            }
            let end = line_end + 2 + length;
            while self.buffer.len() < end + 2 {
                self.fill()?;
            }
            body.extend_from_slice(self.buffer.get(line_end + 2..end).unwrap_or_default());
            self.buffer.drain(..end + 2);
            if length == 0 {
                return Ok(body);
            }
        }
    }

    fn fill(&mut self) -> Result<()> {
        let mut chunk = [0; 1 << 14];
        let read = loop {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result.context("cannot read the answer")?,
            }
        };
        if read == 0 {
            bail!("the node closed the connection");
        }
        self.buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        Ok(())
    }
}

/// Headers of a request that sends and wants MessagePack.
pub const PACKED: &str = "content-type: application/msgpack\r\naccept: application/msgpack\r\n";

/// One segment of a path, with everything escaped that has a meaning there.
pub fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            let digits = [byte >> 4, byte & 0xf].map(u32::from);
            let digits = digits.into_iter().filter_map(|digit| char::from_digit(digit, 16));
            escaped.extend(digits.map(|digit| digit.to_ascii_uppercase()));
        }
    }
    escaped
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// Answers every request on one connection with the next of `answers`, in pieces of `piece`.
    fn serve(answers: Vec<&'static str>, piece: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut scratch = [0; 4096];
            for answer in answers {
                assert!(stream.read(&mut scratch).unwrap() > 0);
                for part in answer.as_bytes().chunks(piece) {
                    stream.write_all(part).unwrap();
                }
            }
        });
        address
    }

    #[test]
    fn answers_in_pieces_are_put_together() {
        let answers = vec![
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Thing: a b\r\n\r\nhello",
            "HTTP/1.1 204 No Content\r\n\r\n",
        ];
        let mut connection = Connection::open(serve(answers, 3)).unwrap();
        let first = connection.json("GET", "/", "").unwrap();
        assert_eq!((first.status, first.body.as_slice()), (200, b"hello".as_slice()));
        assert_eq!(first.header("x-thing"), Some("a b"));
        assert_eq!(connection.json("GET", "/", "").unwrap().status, 204);
        assert!(connection.json("GET", "/", "").is_err(), "the connection is closed");
    }

    #[test]
    fn answers_in_chunks_are_put_together() {
        let answers = vec![
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x\r\nlo\r\n0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
        ];
        for piece in [1, 7, 4096] {
            let mut connection = Connection::open(serve(answers.clone(), piece)).unwrap();
            assert_eq!(connection.json("GET", "/", "").unwrap().body, b"hello");
            assert_eq!(connection.json("GET", "/", "").unwrap().status, 204);
        }
    }

    #[test]
    fn segments_of_a_path_are_escaped() {
        assert_eq!(segment("dog.n.01"), "dog.n.01");
        assert_eq!(segment("9/11 é?"), "9%2F11%20%C3%A9%3F");
    }

    #[test]
    fn a_problem_becomes_an_error_that_says_it() {
        let body =
            r#"{"type":"t","title":"T","status":404,"code":"c","detail":"no such","help":"h"}"#;
        let text = format!(
            "HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\ncontent-length: \
             {}\r\n\r\n{body}",
            body.len()
        );
        let mut connection = Connection::open(serve(vec![text.leak()], 4096)).unwrap();
        let error = connection.get::<hvs_api::Health>("/x").unwrap_err();
        assert!(format!("{error:#}").contains("no such"), "{error:#}");
    }
}
