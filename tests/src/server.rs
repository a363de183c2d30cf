//! A web server on this machine whose answers go wrong.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

/// Serves files, by path, until it is dropped. Of every four answers to a GET one is a 503, one is cut off in the middle,
/// and one closes the connection without a word.
pub struct BadServer {
    address: String,
    faults: Arc<AtomicUsize>,
}

struct Files {
    content: BTreeMap<String, Vec<u8>>,
    gets: AtomicUsize,
    faults: Arc<AtomicUsize>,
}

impl BadServer {
    /// Begins to serve.
    pub fn start(content: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("its address"));
        let faults = Arc::new(AtomicUsize::new(0));
        let files = Arc::new(Files {
            content,
            gets: AtomicUsize::new(0),
            faults: faults.clone(),
        });
        // it ends with the test's process
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let files = files.clone();
                thread::spawn(move || files.serve(connection));
            }
        });
        BadServer { address, faults }
    }

    /// `http://…`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Answers that went wrong so far.
    pub fn faults(&self) -> usize {
        self.faults.load(SeqCst)
    }
}

impl Files {
    /// Answers requests until one goes wrong or the client is gone.
    fn serve(&self, connection: TcpStream) {
        let mut reader = BufReader::new(&connection);
        let mut writer = &connection;
        while let Some(Request {
            method,
            path,
            range,
        }) = request(&mut reader)
        {
            let Some(content) = self.content.get(path.trim_start_matches('/')) else {
                let _ = write!(
                    writer,
                    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
                );
                continue;
            };
            let (first, last) = range.unwrap_or((0, usize::MAX));
            let end = content.len().min(last.saturating_add(1));
            let part = &content[first.min(end)..end];
            let status = match range {
                Some(_) => format!(
                    "206 Partial Content\r\nContent-Range: bytes {first}-{}/{}",
                    end - 1,
                    content.len()
                ),
                None => "200 OK".to_owned(),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nETag: \"1\"\r\nAccept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n",
                part.len()
            );
            let fault = match method.as_str() {
                "GET" => self.gets.fetch_add(1, SeqCst) % 4,
                _ => 3,
            };
            self.faults.fetch_add(usize::from(fault < 3), SeqCst);
            let sent = match fault {
                0 => write!(writer, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
                1 => {
                    let _ = writer.write_all(head.as_bytes());
                    let _ = writer.write_all(&part[..part.len() / 2]);
                    return;
                }
                2 => return,
                _ if method == "HEAD" => writer.write_all(head.as_bytes()),
                _ => writer.write_all(&[head.as_bytes(), part].concat()),
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

struct Request {
    method: String,
    path: String,
    /// First and last byte.
    range: Option<(usize, usize)>,
}

fn request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut range = None;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|&n| n > 0)?;
        let header = header.trim().to_lowercase();
        if header.is_empty() {
            return Some(Request {
                method,
                path,
                range,
            });
        }
        if let Some(bytes) = header.strip_prefix("range: bytes=") {
            let (first, last) = bytes.split_once('-')?;
            range = Some((first.parse().ok()?, last.parse().unwrap_or(usize::MAX)));
        }
    }
}
