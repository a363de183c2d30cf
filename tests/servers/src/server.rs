//! A web server whose every answer is told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The body of the first request to a path with this name in it is never read, nor is the request answered.
pub const UNREAD: &str = "never-read";

/// A client without patience would not end.
const ENDLESS: Duration = Duration::from_secs(600);

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `PUT`, …
    pub method: String,
    /// With the query.
    pub path: String,
    /// What came with it.
    pub body: Vec<u8>,
    headers: Vec<(String, String)>,
}

impl Request {
    /// The value of a header, whose name is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// First and last byte of `Range: bytes=FIRST-LAST`.
    pub fn range(&self) -> Option<(usize, usize)> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        let (first, last) = range.split_once('-')?;
        Some((first.parse().unwrap(), last.parse().unwrap()))
    }
}

/// What is answered.
#[derive(Clone, Default)]
pub struct Reply {
    /// `200`, …
    pub status: u16,
    /// Those beside `Content-Length`.
    pub headers: Vec<(&'static str, String)>,
    /// What is announced.
    pub body: Vec<u8>,
    /// Bytes of the body after which no more are sent.
    pub until: Option<usize>,
    /// How long the connection then stays open.
    pub linger: Duration,
    /// Whether it is then reset, rather than closed. One whose request had a body is always closed.
    pub is_reset: bool,
    /// Time between single bytes.
    pub drip: Option<Duration>,
    /// After how many bytes of the body, and for how long, nothing is sent.
    pub pause: Option<(usize, Duration)>,
    /// Time before the first byte of the answer.
    pub silence: Duration,
}

impl Reply {
    /// Nothing but a status.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// A body that is well.
    pub fn text(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            body: body.into(),
            ..Self::default()
        }
    }

    /// Another header.
    pub fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }

    /// `content`, or the range of it that is asked for.
    pub fn file(request: &Request, content: &[u8], etag: &str) -> Self {
        let unmet = request
            .header("if-match")
            .is_some_and(|wanted| wanted != etag);
        if unmet {
            return Self::status(412);
        }
        Self::unconditional(request, content, etag)
    }

    /// The same of a server that knows no `If-Match`.
    pub fn unconditional(request: &Request, content: &[u8], etag: &str) -> Self {
        let reply = Self::status(200).with("ETag", etag);
        match (request.method.as_str(), request.range()) {
            ("HEAD", _) => reply.with("Content-Length", content.len().to_string()),
            (_, None) => Self {
                body: content.to_vec(),
                ..reply
            },
            (_, Some((first, _))) if first >= content.len() => Self::status(416),
            (_, Some((first, last))) => {
                let last = last.min(content.len() - 1);
                let range = format!("bytes {first}-{last}/{}", content.len());
                Self {
                    status: 206,
                    body: content[first..=last].to_vec(),
                    ..reply.with("Content-Range", range)
                }
            }
        }
    }

    /// Ends before the body does.
    pub fn cut_after(self, bytes: usize) -> Self {
        Self {
            until: Some(bytes),
            ..self
        }
    }

    /// Resets the connection in the midst of the body.
    pub fn reset_after(self, bytes: usize) -> Self {
        Self {
            is_reset: true,
            ..self.cut_after(bytes)
        }
    }

    /// Falls silent in the midst of the body.
    pub fn stalled_after(self, bytes: usize) -> Self {
        Self {
            until: Some(bytes),
            linger: ENDLESS,
            ..self
        }
    }

    /// Is silent from the beginning.
    pub fn never_begun(self) -> Self {
        Self {
            silence: ENDLESS,
            ..self
        }
    }
}

/// A server; it ends with the process.
pub struct Server {
    /// `http://…`
    pub endpoint: String,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// `answer` is given the request and how many with its method and path came before.
    pub fn new(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::<Request>::new()));
        let (answer, shared) = (Arc::new(answer), log.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, log) = (answer.clone(), shared.clone());
                thread::spawn(move || serve(stream.unwrap(), &*answer, &log));
            }
        });
        Self { endpoint, log }
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// How often something was asked by this method.
    pub fn count(&self, method: &str) -> usize {
        let requests = self.requests();
        requests.iter().filter(|r| r.method == method).count()
    }
}

fn serve(
    mut stream: TcpStream,
    answer: &dyn Fn(&Request, usize) -> Reply,
    log: &Mutex<Vec<Request>>,
) -> Option<()> {
    let mut request = head(&mut stream)?;
    let is_unread = request.path.contains(UNREAD) && before(&request, &log.lock().unwrap()) == 0;
    let length = request.header("content-length").map(|n| n.parse().unwrap());
    if let (Some(length @ 1..), false) = (length, is_unread) {
        end_head(&mut stream)?;
        request.body.resize(length, 0);
        stream.read_exact(&mut request.body).ok()?;
    }
    let before = {
        let mut log = log.lock().unwrap();
        let before = before(&request, &log);
        log.push(request.clone());
        before
    };
    if is_unread {
        thread::sleep(ENDLESS);
        return None;
    }
    let reply = answer(&request, before);
    send(&mut stream, &request, &reply).ok()?;
    thread::sleep(reply.linger);
    // the system resets a connection that is closed while there is something unread
    match reply.is_reset || !request.body.is_empty() {
        true => Some(()),
        false => end_head(&mut stream),
    }
}

/// How many of the same method and path are in the log.
fn before(request: &Request, log: &[Request]) -> usize {
    let same = |r: &&Request| r.method == request.method && r.path == request.path;
    log.iter().filter(same).count()
}

/// The head of a request but for its last byte.
fn head(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_owned()))
    });
    Some(Request {
        method,
        path,
        headers: headers.collect(),
        body: Vec::new(),
    })
}

fn end_head(stream: &mut TcpStream) -> Option<()> {
    stream.read_exact(&mut [0]).ok()
}

fn send(stream: &mut TcpStream, request: &Request, reply: &Reply) -> std::io::Result<()> {
    thread::sleep(reply.silence);
    let mut head = format!("HTTP/1.1 {} As-Told\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let length = |(name, _): &(&str, String)| *name == "Content-Length";
    if !reply.headers.iter().any(length) {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method != "HEAD" {
        let body = &reply.body[..reply.until.unwrap_or(reply.body.len())];
        match (reply.drip, reply.pause) {
            (None, None) => stream.write_all(body)?,
            (None, Some((bytes, pause))) => {
                stream.write_all(&body[..bytes])?;
                thread::sleep(pause);
                stream.write_all(&body[bytes..])?;
            }
            (Some(pause), _) => {
                for byte in body {
                    stream.write_all(&[*byte])?;
                    thread::sleep(pause);
                }
            }
        }
    }
    stream.flush()
}
