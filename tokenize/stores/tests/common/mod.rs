//! A web server on this machine that misbehaves as it is told to.

#![allow(dead_code, reason = "no test needs all of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use stores::Retry;

/// Retries without pauses.
pub const QUICK: Retry = Retry {
    attempts: 4,
    base: Duration::ZERO,
    cap: Duration::ZERO,
    stall: Duration::from_secs(20),
};

/// A client without a time-out would not end.
const ENDLESS: Duration = Duration::from_secs(600);

/// The body of the first request to a path with this name in it is never read.
pub const UNREAD: &str = "unread";

/// What was asked; the log has it without its body.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    pub body: Vec<u8>,
    headers: Vec<(String, String)>,
}

impl Request {
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
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Bytes of the body after which no more are sent.
    pub until: Option<usize>,
    /// How long the connection then stays open.
    pub linger: Duration,
    /// Time between single bytes.
    pub drip: Option<Duration>,
    /// Time before the first byte of the answer.
    pub silence: Duration,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub fn text(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            body: body.into(),
            ..Self::default()
        }
    }

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

    pub fn cut_after(self, bytes: usize) -> Self {
        Self {
            until: Some(bytes),
            ..self
        }
    }

    pub fn stalled_after(self, bytes: usize) -> Self {
        Self {
            until: Some(bytes),
            linger: ENDLESS,
            ..self
        }
    }

    pub fn never_begun(self) -> Self {
        Self {
            silence: ENDLESS,
            ..self
        }
    }
}

/// A server; it ends with the process.
pub struct Server {
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

    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    pub fn count(&self, method: &str) -> usize {
        let requests = self.requests();
        requests.iter().filter(|r| r.method == method).count()
    }
}

fn serve(
    stream: TcpStream,
    answer: &dyn Fn(&Request, usize) -> Reply,
    log: &Mutex<Vec<Request>>,
) -> Option<()> {
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let mut lines = (&mut input).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines
        .map_while(|line| line.ok().filter(|line| !line.is_empty()))
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_lowercase(), value.trim().to_owned()))
        })
        .collect();
    let mut request = Request {
        method,
        path,
        headers,
        body: Vec::new(),
    };
    let before = {
        let mut log = log.lock().unwrap();
        let same = |r: &&Request| r.method == request.method && r.path == request.path;
        let before = log.iter().filter(same).count();
        log.push(request.clone());
        before
    };
    if before == 0 && request.path.contains(UNREAD) {
        thread::sleep(ENDLESS);
    }
    let length = request.header("content-length").map(|n| n.parse().unwrap());
    request.body.resize(length.unwrap_or(0), 0);
    input.read_exact(&mut request.body).ok()?;
    send(stream, &request, answer(&request, before)).ok()
}

fn send(mut stream: TcpStream, request: &Request, reply: Reply) -> std::io::Result<()> {
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
        match reply.drip {
            None => stream.write_all(body)?,
            Some(pause) => {
                for byte in body {
                    stream.write_all(&[*byte])?;
                    thread::sleep(pause);
                }
            }
        }
    }
    stream.flush()?;
    thread::sleep(reply.linger);
    Ok(())
}

/// A server that sends `sent` of the bytes announced and then resets the connection, the first time; `answer` after that.
///
/// The system resets a connection that is closed while there is something unread, here the request's last byte.
pub fn resetting(
    announced: Reply,
    sent: usize,
    answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
) -> Server {
    let well = Server::new(answer);
    let front = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", front.local_addr().unwrap());
    let (log, behind) = (well.log.clone(), well.endpoint.clone());
    thread::spawn(move || {
        let (mut stream, _) = front.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let request = Request {
            method: "GET".to_owned(),
            path: String::new(),
            body: Vec::new(),
            headers: Vec::new(),
        };
        send(stream, &request, announced.cut_after(sent)).unwrap();
        for client in front.incoming() {
            let server = TcpStream::connect(behind.trim_start_matches("http://")).unwrap();
            pipe(client.unwrap(), server);
        }
    });
    Server { endpoint, log }
}

fn pipe(client: TcpStream, server: TcpStream) {
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || std::io::copy(&mut from, &mut to));
    let (mut from, mut to) = (server, client);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}

/// Bytes that differ at different places.
pub fn content(size: usize) -> Vec<u8> {
    (0..size)
        .map(|i| (i * 31 % 251 + i / 65_537) as u8)
        .collect()
}
