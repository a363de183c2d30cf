//! Object stores with the interface of S3.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::server::{Reply, Request};

/// What S3 answers, with all buckets.
pub struct S3 {
    /// Finished objects by their keys, the bucket first.
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Parts of unfinished ones, by key and number.
    parts: Mutex<BTreeMap<(String, usize), Vec<u8>>>,
    /// Keys on a page of a listing.
    page: usize,
}

impl S3 {
    /// With so many keys on a page of a listing.
    pub fn new(page: usize) -> Self {
        S3 {
            objects: Mutex::default(),
            parts: Mutex::default(),
            page,
        }
    }

    /// Puts an object there; `key` begins with the bucket.
    pub fn put(&self, key: &str, bytes: Vec<u8>) {
        self.objects.lock().unwrap().insert(key.to_owned(), bytes);
    }

    /// The object of this key.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.objects.lock().unwrap().get(key).cloned()
    }

    /// All objects below `prefix`, without it.
    pub fn below(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let objects = self.objects.lock().unwrap();
        let below = objects.iter().filter_map(|(key, bytes)| {
            let key = key.strip_prefix(prefix)?;
            Some((key.to_owned(), bytes.clone()))
        });
        below.collect()
    }

    /// How many parts of unfinished objects are in a bucket.
    pub fn parts(&self, bucket: &str) -> usize {
        let parts = self.parts.lock().unwrap();
        let bucket = format!("{bucket}/");
        parts
            .keys()
            .filter(|key| key.0.starts_with(&bucket))
            .count()
    }

    /// Answers as S3 does when all is well.
    pub fn answer(&self, request: &Request) -> Reply {
        let authorization = request.header("authorization").unwrap_or_default();
        if !authorization.starts_with("AWS4-HMAC-SHA256 ") {
            return Reply::status(403);
        }
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let key = decoded(&path[1..]);
        match request.method.as_str() {
            "GET" if query.contains("list-type=2") => self.list(&key, query),
            "GET" | "HEAD" => match self.objects.lock().unwrap().get(&key) {
                Some(bytes) => Reply::file(request, bytes, &etag(bytes))
                    .with("Last-Modified", "Mon, 12 Jan 2026 10:00:00 GMT"),
                None => Reply::status(404),
            },
            "POST" if query.starts_with("uploads") => Reply::text(
                "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
            ),
            "PUT" if query.contains("partNumber=") => {
                let number = value(query, "partNumber").parse().unwrap();
                let part = request.body.clone();
                self.parts.lock().unwrap().insert((key, number), part);
                Reply::status(200).with("ETag", format!("\"part{number}\""))
            }
            "POST" => self.complete(key, &request.body),
            "PUT" => {
                let etag = etag(&request.body);
                self.put(&key, request.body.clone());
                Reply::status(200).with("ETag", etag)
            }
            "DELETE" if query.starts_with("uploadId") => {
                self.parts.lock().unwrap().retain(|(of, _), _| *of != key);
                Reply::status(204)
            }
            "DELETE" => {
                self.objects.lock().unwrap().remove(&key);
                Reply::status(204)
            }
            _ => Reply::status(405),
        }
    }

    fn complete(&self, key: String, body: &[u8]) -> Reply {
        let mut parts = self.parts.lock().unwrap();
        let (of_key, others) = std::mem::take(&mut *parts)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|((of, _), _)| *of == key);
        *parts = others;
        let named = String::from_utf8_lossy(body)
            .matches("<PartNumber>")
            .count();
        if named != of_key.len() {
            return Reply::status(400);
        }
        self.put(&key, of_key.into_values().flatten().collect());
        Reply::text(
            "<CompleteMultipartUploadResult><ETag>\"x\"</ETag></CompleteMultipartUploadResult>",
        )
    }

    fn list(&self, bucket: &str, query: &str) -> Reply {
        let (prefix, after) = (value(query, "prefix"), value(query, "continuation-token"));
        let objects = self.objects.lock().unwrap();
        let keys = objects.iter().filter_map(|(key, bytes)| {
            let key = key.strip_prefix(bucket)?.strip_prefix('/')?;
            (key.starts_with(&prefix) && *key > *after).then_some((key, bytes))
        });
        let page: Vec<_> = keys.clone().take(self.page).collect();
        let mut body = "<ListBucketResult>".to_owned();
        for (key, bytes) in &page {
            let (size, etag) = (bytes.len(), etag(bytes).replace('"', "&quot;"));
            body += &format!(
                "<Contents><Key>{key}</Key><LastModified>2026-01-12T10:00:00.000Z</LastModified><ETag>{etag}</ETag>\
                 <Size>{size}</Size></Contents>"
            );
        }
        if keys.count() > page.len() {
            let next = page.last().expect("a page has keys").0;
            body += &format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>"
            );
        }
        Reply::text(body + "</ListBucketResult>")
    }
}

fn etag(bytes: &[u8]) -> String {
    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    format!("\"{}-{sum}\"", bytes.len())
}

/// A value of a query.
fn value(query: &str, name: &str) -> String {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(key, _)| *key == name);
    decoded(found.map_or("", |(_, value)| value))
}

/// Without percent signs.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).expect("two digits after a percent sign"));
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).expect("keys are UTF-8")
}
