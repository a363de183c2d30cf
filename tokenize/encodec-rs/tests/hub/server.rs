//! A hub on this machine that misbehaves as it is told to.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether it is a GET of `file`.
    pub fn gets(&self, file: &str) -> bool {
        self.method == "GET" && self.path.ends_with(file)
    }
}

/// What is answered.
#[derive(Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Bytes of the body after which no more are sent.
    pub until: Option<usize>,
    /// How long the connection stays open after the last byte.
    pub linger: Duration,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }

    pub fn cut_after(self, bytes: usize) -> Self {
        Self {
            until: Some(bytes),
            ..self
        }
    }

    pub fn stalled_after(self, bytes: usize, linger: Duration) -> Self {
        Self {
            until: Some(bytes),
            linger,
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

    /// The `Range` of each GET of `file`, in order.
    pub fn ranges(&self, file: &str) -> Vec<Option<String>> {
        let requests = self.requests().into_iter();
        requests
            .filter(|request| request.gets(file))
            .map(|request| request.header("range").map(str::to_owned))
            .collect()
    }
}

fn serve(
    stream: TcpStream,
    answer: &dyn Fn(&Request, usize) -> Reply,
    log: &Mutex<Vec<Request>>,
) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
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
    let request = Request {
        method,
        path,
        headers,
    };
    let before = {
        let mut log = log.lock().unwrap();
        let same = |r: &&Request| r.method == request.method && r.path == request.path;
        let before = log.iter().filter(same).count();
        log.push(request.clone());
        before
    };
    send(stream, &request, answer(&request, before)).ok()
}

fn send(mut stream: TcpStream, request: &Request, reply: Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} As-Told\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !reply
        .headers
        .iter()
        .any(|(name, _)| *name == "Content-Length")
    {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method != "HEAD" {
        let until = reply.until.unwrap_or(reply.body.len());
        stream.write_all(&reply.body[..until])?;
    }
    stream.flush()?;
    thread::sleep(reply.linger);
    Ok(())
}

/// The files of a repository, answered for as the hub does.
#[derive(Clone)]
pub struct Repo {
    pub config: Vec<u8>,
    pub weights: Vec<u8>,
}

impl Repo {
    pub fn etag(&self, path: &str) -> String {
        match path.ends_with("config.json") {
            // the hub gives a git hash for small files
            true => "a3c1f0e2".to_owned(),
            false => Sha256::digest(&self.weights)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        }
    }

    pub fn answer(&self, request: &Request) -> Reply {
        let body = match &request.path {
            path if path.ends_with("/config.json") => &self.config,
            path if path.ends_with("/model.safetensors") => &self.weights,
            _ => return Reply::status(404).with("X-Error-Code", "EntryNotFound"),
        };
        let described = Reply::status(200)
            .with("X-Repo-Commit", COMMIT)
            .with("ETag", format!("\"{}\"", self.etag(&request.path)));
        let range = request
            .header("range")
            .map(|range| range.strip_prefix("bytes=").unwrap())
            .map(|range| range.strip_suffix('-').unwrap().parse::<usize>().unwrap());
        match (request.method.as_str(), range) {
            ("HEAD", _) => described.with("Content-Length", body.len().to_string()),
            (_, None) => Reply {
                body: body.clone(),
                ..described
            },
            (_, Some(start)) if start >= body.len() => Reply::status(416),
            (_, Some(start)) => {
                let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
                Reply {
                    status: 206,
                    body: body[start..].to_vec(),
                    ..described.with("Content-Range", range)
                }
            }
        }
    }
}
