//! Web servers: files by HEAD and ranged GET, folders by WebDAV where the server has it.

use std::ops::Range;
use std::path::Path;

use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use ureq::http::{Method, StatusCode, header};
use url::Url;

use crate::Object;
use crate::cloud::{self, no_retries};
use crate::error::{Error, Result};
use crate::remote::{Download, Remote};
use crate::retry::{Attempt, Failure, Place};
use crate::web::{Answer, Web, bare_etag, join, shown, text};
use crate::wire::Connector;

/// A folder of a web server.
pub(crate) struct Http {
    place: Place,
    base: Url,
    web: Web,
}

impl Http {
    pub fn open(place: Place) -> Result<Self> {
        let wrong = |reason: String| Error::Location {
            location: place.location.clone(),
            reason,
        };
        let base = Url::parse(&place.location)
            .map_err(|e| wrong(format!("{e}; give https://HOST/FOLDER")))?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err(wrong(
                "an address with `?` or `#` names no folder; give https://HOST/FOLDER".to_owned(),
            ));
        }
        Ok(Self {
            web: Web::new(&place.retry, None),
            base,
            place,
        })
    }
}

impl Remote for Http {
    fn place(&self) -> &Place {
        &self.place
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let store = HttpBuilder::new()
            .with_url(self.base.as_str())
            .with_http_connector(Connector::new(&self.place.retry))
            .with_retry(no_retries())
            .build()
            .map_err(|e| Error::Location {
                location: self.place.location.clone(),
                reason: e.to_string(),
            })?;
        // WebDAV gives paths from the host's root on
        let root = Key::from_url_path(self.base.path()).unwrap_or_default();
        self.place.run(prefix, || {
            let listed = cloud::list(&store, &cloud::key("", prefix)?, root.as_ref());
            listed.map_err(|failure| match failure {
                Failure::Passing { .. } => failure,
                other => Failure::lasting(
                    format!("the folder cannot be listed by WebDAV: {other}"),
                    "name the files to be read, or copy the folder to a disk or an object store",
                ),
            })
        })
    }

    fn head(&self, path: &str) -> Result<Option<Object>> {
        let url = join(&self.base, path);
        self.place.find(path, || {
            let answer = self.web.call(Method::HEAD, &url, &[], false)?;
            if !answer.response.status().is_success() {
                return Err(refused(&answer));
            }
            let headers = answer.response.headers();
            let size = text(headers, "content-length").and_then(|size| size.parse().ok());
            let lacks = || {
                Failure::lasting(
                    format!(
                        "{} answers HEAD without Content-Length",
                        shown(url.as_str())
                    ),
                    "only files of known size can be read; copy it to a disk",
                )
            };
            Ok(Object {
                path: path.to_owned(),
                size: size.ok_or_else(lacks)?,
                etag: text(headers, "etag").map(str::to_owned),
            })
        })
    }

    fn get(&self, object: &Object, range: Range<u64>) -> Attempt<Download> {
        let mut headers = vec![(
            header::RANGE,
            format!("bytes={}-{}", range.start, range.end - 1),
        )];
        // weak ones match nothing
        if let Some(etag) = object.etag.as_ref().filter(|etag| etag.starts_with('"')) {
            headers.push((header::IF_MATCH, etag.clone()));
        }
        let url = join(&self.base, &object.path);
        let answer = self.web.call(Method::GET, &url, &headers, false)?;
        let found = text(answer.response.headers(), "etag")
            .filter(|_| answer.response.status().is_success());
        if let (Some(expected), Some(found)) = (&object.etag, found)
            && bare_etag(expected) != bare_etag(found)
        {
            let cause = format!("its ETag was {expected} and is {found}");
            return Err(Failure::Changed { cause });
        }
        answer
            .download(object, &range)?
            .map_err(|answer| refused(&answer))
    }

    fn write(&self, path: &str, _: Vec<u8>) -> Result<()> {
        Err(self.read_only(path, "http"))
    }

    fn upload(&self, path: &str, _: &Path) -> Result<()> {
        Err(self.read_only(path, "http"))
    }

    fn delete(&self, path: &str) -> Result<()> {
        Err(self.read_only(path, "http"))
    }
}

/// What an answer means that is no file.
fn refused(answer: &Answer) -> Failure {
    let status = answer.response.status();
    let cause = format!("{} answers {status}", shown(answer.url.as_str()));
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Failure::Missing { cause },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::lasting(
            cause,
            "the server wants a login, which is not supported here; copy the file to a disk or an object store",
        ),
        _ => Failure::lasting(cause, "check the address"),
    }
}
