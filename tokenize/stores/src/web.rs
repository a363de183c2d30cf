//! Blocking HTTP: one client for web servers, the hub and object stores, with the same patience and the same words for what
//! goes wrong.

use std::io::{self, Read};
use std::ops::Range;
use std::time::Duration;

use ureq::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use ureq::{Agent, Body};
use url::{Origin, Url};

use crate::Object;
use crate::remote::Download;
use crate::retry::{Attempt, Failure, Retry};

/// Redirects in a row that are followed.
const REDIRECTS: usize = 8;

/// The client. It follows no redirects and gives answers of any status.
pub(crate) fn agent(retry: &Retry) -> Agent {
    let patience = Some(retry.stall);
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        // PROPFIND, which lists WebDAV folders
        .allow_non_standard_methods(true)
        .user_agent(concat!("timbre/", env!("CARGO_PKG_VERSION")))
        // ranges are of the bytes as they are stored
        .accept_encoding("identity")
        .timeout_resolve(patience)
        .timeout_connect(patience)
        .timeout_recv_response(patience)
        .timeout_per_read(patience)
        .timeout_per_write(patience)
        .build()
        .into()
}

/// A request without an answer.
pub(crate) fn broken(error: &ureq::Error, url: &str) -> Failure {
    let cause = format!("{}: {error}", shown(url));
    match error {
        // where a certificate is not trusted
        ureq::Error::Io(e) if e.kind() == io::ErrorKind::InvalidData => {
            Failure::lasting(cause, "check the address and this machine's clock")
        }
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::Protocol(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed => Failure::passing(cause),
        _ => Failure::lasting(cause, "check the address"),
    }
}

/// An answer that may be another one later; `None` if it is to be taken as it is.
pub(crate) fn passing(status: StatusCode, headers: &HeaderMap, url: &str) -> Option<Failure> {
    let passes = match status.as_u16() {
        408 | 425 | 429 => true,
        // what the server does not know how to do
        501 | 505 => false,
        code => code >= 500,
    };
    passes.then(|| Failure::Passing {
        cause: format!("{} answers {status}", shown(url)),
        wait: text(headers, "retry-after")
            .and_then(|secs| secs.trim().parse().ok())
            .map(Duration::from_secs),
    })
}

/// An address without its query, which may hold a signature.
pub(crate) fn shown(url: &str) -> &str {
    &url[..url.find(['?', '#']).unwrap_or(url.len())]
}

/// A header, if it is there and is text.
pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// An entity tag without quotes and without the mark of a weak one.
pub(crate) fn bare_etag(etag: &str) -> &str {
    etag.trim().trim_start_matches("W/").trim_matches('"')
}

/// `url` with the names of `path` at its end, encoded.
pub(crate) fn join(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        let names = path.split('/').filter(|name| !name.is_empty());
        segments.pop_if_empty().extend(names);
    }
    url
}

/// Plain requests, which follow redirects.
pub(crate) struct Web {
    agent: Agent,
    /// A token, and the only origin that it is sent to.
    token: Option<(Origin, String)>,
}

/// The answer to a request, after redirects.
pub(crate) struct Answer {
    pub url: Url,
    pub response: Response<Body>,
    /// Headers of the last answer that came from the origin that was asked: hosts of files do not know the hub's.
    pub home: HeaderMap,
}

impl Web {
    pub fn new(retry: &Retry, token: Option<(Origin, String)>) -> Self {
        Self {
            agent: agent(retry),
            token,
        }
    }

    /// Sends a request with these headers. With `within`, a redirect to another origin is the answer.
    pub fn call(
        &self,
        method: Method,
        url: &Url,
        headers: &[(header::HeaderName, String)],
        within: bool,
    ) -> Attempt<Answer> {
        let origin = url.origin();
        let mut url = url.clone();
        let mut home = HeaderMap::new();
        for _ in 0..=REDIRECTS {
            let response = self.once(&method, &url, headers)?;
            if url.origin() == origin {
                home = response.headers().clone();
            }
            match target(&response, &url) {
                Some(next) if !within || next.origin() == origin => url = next,
                _ => {
                    return Ok(Answer {
                        url,
                        response,
                        home,
                    });
                }
            }
        }
        Err(Failure::lasting(
            format!("{} redirects without end", shown(url.as_str())),
            "check the address",
        ))
    }

    fn once(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(header::HeaderName, String)],
    ) -> Attempt<Response<Body>> {
        let mut request = Request::builder().method(method).uri(url.as_str());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some((origin, token)) = &self.token
            && url.origin() == *origin
        {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(()).map_err(|e| {
            let cause = format!("{}: {e}", shown(url.as_str()));
            Failure::lasting(cause, "check the address and the token")
        })?;
        let response = self.agent.run(request);
        let response = response.map_err(|e| broken(&e, url.as_str()))?;
        match passing(response.status(), response.headers(), url.as_str()) {
            Some(failure) => Err(failure),
            None => Ok(response),
        }
    }
}

impl Answer {
    /// The object's bytes from a request for `range` of it.
    ///
    /// Other statuses than those of such an answer are for the caller to explain; it gets the answer back.
    pub fn download(self, object: &Object, range: &Range<u64>) -> Attempt<Result<Download, Self>> {
        let headers = self.response.headers();
        let changed = |cause| Err(Failure::Changed { cause });
        let (start, size) = match self.response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let Some((start, size)) = content_range(headers) else {
                    return Err(Failure::passing(format!(
                        "{} answers with no usable Content-Range",
                        shown(self.url.as_str())
                    )));
                };
                if start != range.start {
                    return Err(Failure::passing(format!(
                        "{} answers with the bytes from {start} instead of those from {}",
                        shown(self.url.as_str()),
                        range.start
                    )));
                }
                (start, size)
            }
            StatusCode::OK => {
                let size = text(headers, "content-length").and_then(|size| size.parse().ok());
                (0, size)
            }
            StatusCode::PRECONDITION_FAILED => {
                return changed("its ETag is another one".to_owned());
            }
            StatusCode::RANGE_NOT_SATISFIABLE => return changed("it is shorter".to_owned()),
            _ => return Ok(Err(self)),
        };
        if let Some(size) = size.filter(|size| *size != object.size) {
            return changed(format!("it now has {size} bytes"));
        }
        Ok(Ok(Download {
            start,
            data: Box::new(self.response.into_body().into_reader()),
        }))
    }

    /// The whole body, of an answer that is not an object.
    pub fn bytes(self) -> Attempt<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut reader = self.response.into_body().into_reader();
        match reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(e) => Err(Failure::passing(format!(
                "{} was cut off: {e}",
                shown(self.url.as_str())
            ))),
        }
    }
}

/// Where an answer redirects to.
fn target(response: &Response<Body>, url: &Url) -> Option<Url> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = text(response.headers(), "location").filter(|_| redirects)?;
    url.join(location).ok()
}

/// First byte and the object's size, if told, of `Content-Range: bytes FIRST-LAST/SIZE`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let range = text(headers, "content-range")?.trim();
    let (range, size) = range.strip_prefix("bytes")?.trim().split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, size.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_passes_after_the_time_that_the_server_asks_for() {
        let wait = |status: u16, retry_after: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, retry_after.parse().unwrap());
            let status = StatusCode::from_u16(status).unwrap();
            match passing(status, &headers, "https://host/x?signature=s") {
                Some(Failure::Passing { cause, wait }) => {
                    assert_eq!(cause, format!("https://host/x answers {status}"));
                    Some(wait.map(|wait| wait.as_secs()))
                }
                None => None,
                Some(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(
            (wait(429, "7"), wait(503, "12")),
            (Some(Some(7)), Some(Some(12)))
        );
        assert_eq!(wait(503, "Wed, 21 Oct 2026 07:28:00 GMT"), Some(None));
        assert_eq!(
            (wait(200, "7"), wait(404, "7"), wait(501, "7")),
            (None, None, None)
        );
    }
}
