//! Data sets of the Hugging Face hub, read where they lie, at one commit.
//!
//! The crate `hf-hub` is not used: its blocking client downloads whole files into a cache, and corpora are larger than disks.

use std::env;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use ureq::http::{Method, StatusCode, header};
use url::Url;

use crate::Object;
use crate::error::{Error, Result};
use crate::remote::{Download, Remote};
use crate::retry::{Attempt, Failure, Place};
use crate::web::{Answer, Web, bare_etag, join, shown, text};

/// A folder of a data set.
pub(crate) struct Hub {
    place: Place,
    endpoint: Url,
    has_token: bool,
    web: Web,
    name: Name,
    commit: String,
}

/// What `hf://datasets/ORG/NAME@REV/FOLDER` says.
#[derive(Debug, PartialEq)]
struct Name {
    /// `ORG/NAME`
    dataset: String,
    revision: String,
    /// Without slashes at its ends; empty for the whole data set.
    folder: String,
}

/// A line of a listing.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    oid: String,
    size: u64,
    lfs: Option<Lfs>,
}

/// The content of a large file, of which git holds only this description.
#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

impl Hub {
    /// Finds out which commit the revision is now.
    pub fn open(place: Place) -> Result<Self> {
        let name = Name::parse(&place.location).ok_or_else(|| Error::Location {
            location: place.location.clone(),
            reason: "give hf://datasets/ORG/NAME, hf://datasets/ORG/NAME@REVISION or one of its folders, \
                     hf://datasets/ORG/NAME/FOLDER; a `/` in the name of a branch is written %2F"
                .to_owned(),
        })?;
        let (endpoint, token) = environment(|name| env::var(name).ok());
        let endpoint = Url::parse(&endpoint).map_err(|e| Error::Location {
            location: place.location.clone(),
            reason: format!("HF_ENDPOINT is `{endpoint}`: {e}; give https://HOST"),
        })?;
        let has_token = token.is_some();
        let token = token.map(|token| (endpoint.origin(), token));
        let mut hub = Self {
            web: Web::new(&place.retry, token),
            commit: String::new(),
            place,
            endpoint,
            has_token,
            name,
        };
        let url = hub.url(&["api/datasets", &hub.name.dataset, "revision"]);
        let url = with_name(url, &hub.name.revision);
        let found: Revision = hub
            .place
            .run("", || hub.json(&url).map(|(value, _)| value))?;
        hub.commit = found.sha;
        Ok(hub)
    }

    fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        for part in parts {
            url = join(&url, part);
        }
        url
    }

    /// Address of a file, at the commit.
    fn file(&self, path: &str) -> Url {
        let commit = &self.commit;
        let dataset = &self.name.dataset;
        self.url(&[
            "datasets",
            dataset,
            "resolve",
            commit,
            &self.name.folder,
            path,
        ])
    }

    /// An answer of the API, and the address of the next page.
    fn json<T: for<'de> Deserialize<'de>>(&self, url: &Url) -> Attempt<(T, Option<Url>)> {
        let answer = self.web.call(Method::GET, url, &[], false)?;
        if !answer.response.status().is_success() {
            return Err(self.refused(&answer));
        }
        let next = answer.response.headers().get_all("link").iter();
        let next = next
            .filter_map(|link| link.to_str().ok())
            .find_map(next_page);
        let next = next.and_then(|next| answer.url.join(next).ok());
        let bytes = answer.bytes()?;
        let value = serde_json::from_slice(&bytes).map_err(|e| {
            Failure::lasting(
                format!("{} answers with unexpected JSON: {e}", shown(url.as_str())),
                "is HF_ENDPOINT a Hugging Face hub?",
            )
        })?;
        Ok((value, next))
    }

    /// What an answer means that is not what was asked for.
    fn refused(&self, answer: &Answer) -> Failure {
        let status = answer.response.status();
        let code = text(&answer.home, "x-error-code").unwrap_or_default();
        let cause = match code {
            "" => format!("{} answers {status}", shown(answer.url.as_str())),
            code => format!("{} answers {status} ({code})", shown(answer.url.as_str())),
        };
        let page = self.url(&["datasets", &self.name.dataset]);
        let advice = match status.as_u16() {
            404 if code == "EntryNotFound" => return Failure::Missing { cause },
            404 if code == "RevisionNotFound" => "check the revision after `@`".to_owned(),
            // the hub does not tell strangers which repositories exist
            401 | 404 if !self.has_token => format!(
                "check the name; if the data set is private or gated, accept its conditions at {page} and set HF_TOKEN"
            ),
            401 => "check the token in HF_TOKEN, and the name".to_owned(),
            403 => format!(
                "accept the conditions at {page}, and check that the token in HF_TOKEN may read the data set"
            ),
            404 => "check the name".to_owned(),
            _ => "is HF_ENDPOINT a Hugging Face hub?".to_owned(),
        };
        Failure::lasting(cause, advice)
    }

    fn object(&self, entry: Entry, within: &str) -> Option<Object> {
        let path = match self.name.folder.as_str() {
            "" => entry.path.as_str(),
            folder => entry.path.strip_prefix(folder)?.strip_prefix('/')?,
        };
        let below = within.is_empty() || path.strip_prefix(within)?.starts_with('/');
        let (etag, size) = match &entry.lfs {
            Some(lfs) => (&lfs.oid, lfs.size),
            None => (&entry.oid, entry.size),
        };
        (below && entry.kind == "file").then(|| Object {
            path: path.to_owned(),
            size,
            etag: Some(etag.clone()),
        })
    }
}

impl Remote for Hub {
    fn place(&self) -> &Place {
        &self.place
    }

    fn revision(&self) -> Option<&str> {
        Some(&self.commit)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let api = ["api/datasets", &self.name.dataset, "tree", &self.commit];
        let url = join(&join(&self.url(&api), &self.name.folder), prefix);
        let mut next = Some(url);
        if let Some(url) = &mut next {
            url.set_query(Some("recursive=true&expand=false"));
        }
        let mut objects = Vec::new();
        while let Some(url) = next {
            let page = self.place.find(prefix, || self.json::<Vec<Entry>>(&url))?;
            // no page: there is no such folder
            let (entries, following) = page.unwrap_or_default();
            let found = entries.into_iter();
            objects.extend(found.filter_map(|entry| self.object(entry, prefix)));
            next = following;
        }
        Ok(objects)
    }

    fn head(&self, path: &str) -> Result<Option<Object>> {
        let url = self.file(path);
        self.place.find(path, || {
            // the host of files does not know their hashes
            let answer = self.web.call(Method::HEAD, &url, &[], true)?;
            let status = answer.response.status();
            if !status.is_success() && !status.is_redirection() {
                return Err(self.refused(&answer));
            }
            let size = text(&answer.home, "x-linked-size")
                .or_else(|| text(&answer.home, "content-length").filter(|_| status.is_success()));
            let size = size.and_then(|size| size.parse().ok()).ok_or_else(|| {
                Failure::lasting(
                    format!("{} answers without the file's size", shown(url.as_str())),
                    "is HF_ENDPOINT a Hugging Face hub?",
                )
            })?;
            Ok(Object {
                path: path.to_owned(),
                size,
                etag: etag(&answer),
            })
        })
    }

    fn get(&self, object: &Object, range: Range<u64>) -> Attempt<Download> {
        let headers = [(
            header::RANGE,
            format!("bytes={}-{}", range.start, range.end - 1),
        )];
        let url = self.file(&object.path);
        let answer = self.web.call(Method::GET, &url, &headers, false)?;
        // not asked for by If-Match, since the host of files has other ETags
        if let (Some(expected), Some(found)) = (&object.etag, etag(&answer))
            && answer.response.status() != StatusCode::NOT_FOUND
            && *expected != found
        {
            let cause = format!("its hash was {expected} and is {found}");
            return Err(Failure::Changed { cause });
        }
        answer
            .download(object, &range)?
            .map_err(|answer| self.refused(&answer))
    }

    fn write(&self, path: &str, _: Vec<u8>) -> Result<()> {
        Err(self.read_only(path, "hf"))
    }

    fn upload(&self, path: &str, _: &Path) -> Result<()> {
        Err(self.read_only(path, "hf"))
    }

    fn delete(&self, path: &str) -> Result<()> {
        Err(self.read_only(path, "hf"))
    }
}

impl Name {
    fn parse(location: &str) -> Option<Self> {
        let rest = location
            .strip_prefix("hf://datasets/")?
            .trim_end_matches('/');
        let mut parts = rest.splitn(3, '/');
        let (org, name) = (parts.next()?, parts.next()?);
        let folder = parts.next().unwrap_or_default();
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        let mut revision = revision.replace("%2F", "/");
        let mut folder = folder;
        // these of the hub's own are taken as they are: `refs/pr/7`, `refs/convert/parquet`
        if revision == "refs" {
            let (kind, rest) = folder.split_once('/')?;
            let (which, rest) = rest.split_once('/').unwrap_or((rest, ""));
            revision = format!("refs/{kind}/{which}");
            folder = rest;
        }
        let named = |part: &str| !part.is_empty() && !part.starts_with('.');
        let whole = folder.is_empty()
            || folder
                .split('/')
                .all(|name| !["", ".", ".."].contains(&name));
        (named(org) && named(name) && !revision.is_empty() && whole).then(|| Self {
            dataset: format!("{org}/{name}"),
            revision,
            folder: folder.to_owned(),
        })
    }
}

/// Endpoint and token, as Python's `huggingface_hub` finds them: `HF_ENDPOINT`; `HF_TOKEN`, or the file `token` of `HF_HOME`,
/// which is `XDG_CACHE_HOME/huggingface` or `~/.cache/huggingface` by default.
fn environment(get: impl Fn(&str) -> Option<String>) -> (String, Option<String>) {
    let filled = |text: String| {
        let text = text.trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    let get = |name: &str| get(name).and_then(filled);
    let home = get("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
        let user = || env::home_dir().unwrap_or_default().join(".cache");
        let caches = get("XDG_CACHE_HOME").map_or_else(user, PathBuf::from);
        caches.join("huggingface")
    });
    let token_file = || fs::read_to_string(home.join("token")).ok().and_then(filled);
    let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
    (endpoint, get("HF_TOKEN").or_else(token_file))
}

/// The hash by which listings name a file: of the content of large files, git's of small ones.
fn etag(answer: &Answer) -> Option<String> {
    let linked = text(&answer.home, "x-linked-etag");
    let etag = linked.or_else(|| text(&answer.home, "etag"));
    etag.map(|etag| bare_etag(etag).to_owned())
}

/// `url` with one more name, whose slashes are encoded.
fn with_name(mut url: Url, name: &str) -> Url {
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.push(name);
    }
    url
}

/// The address in `Link: <ADDRESS>; rel="next"`.
fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|link| {
        let (address, kind) = link.split_once(';')?;
        let next = kind.contains("rel=\"next\"") || kind.contains("rel=next");
        let address = address.trim().strip_prefix('<')?.strip_suffix('>')?;
        next.then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let parse = |location: &str| {
            Name::parse(location).map(|name| (name.dataset, name.revision, name.folder))
        };
        let name = |dataset: &str, revision: &str, folder: &str| {
            Some((dataset.to_owned(), revision.to_owned(), folder.to_owned()))
        };
        assert_eq!(parse("hf://datasets/a/b"), name("a/b", "main", ""));
        assert_eq!(parse("hf://datasets/a/b/"), name("a/b", "main", ""));
        assert_eq!(
            parse("hf://datasets/a/b.c@v1.0/data/en000"),
            name("a/b.c", "v1.0", "data/en000")
        );
        assert_eq!(
            parse("hf://datasets/a/b@feature%2Fx/data"),
            name("a/b", "feature/x", "data")
        );
        assert_eq!(
            parse("hf://datasets/a/b@refs/convert/parquet/default/train"),
            name("a/b", "refs/convert/parquet", "default/train")
        );
        assert_eq!(
            parse("hf://datasets/a/b@refs/pr/7"),
            name("a/b", "refs/pr/7", "")
        );
        for wrong in [
            "hf://a/b",
            "hf://models/a/b",
            "hf://datasets/a",
            "hf://datasets//b",
            "hf://datasets/a/b@",
            "hf://datasets/a/b@refs",
            "hf://datasets/../b",
            "hf://datasets/a/b//c",
            "hf://datasets/a/b/../c",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn variables_are_honoured() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap().to_owned();
        let with = |variables: &[(&str, &str)]| {
            environment(|name| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| value.to_string())
            })
        };
        let hub = "https://huggingface.co".to_owned();
        assert_eq!(
            with(&[("HF_HOME", &home), ("HF_TOKEN", " ")]),
            (hub.clone(), None)
        );
        fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        assert_eq!(
            with(&[("HF_HOME", &home)]),
            (hub, Some("hf_file".to_owned()))
        );
        assert_eq!(
            with(&[
                ("HF_HOME", &home),
                ("HF_TOKEN", "hf_x\n"),
                ("HF_ENDPOINT", "http://mirror:8080/hub/")
            ]),
            (
                "http://mirror:8080/hub/".to_owned(),
                Some("hf_x".to_owned())
            )
        );
    }

    #[test]
    fn pages() {
        assert_eq!(
            next_page("<https://h/a?b=1>; rel=\"next\""),
            Some("https://h/a?b=1")
        );
        assert_eq!(
            next_page("<https://h/0>; rel=\"prev\", <https://h/2>; rel=\"next\""),
            Some("https://h/2")
        );
        assert_eq!(next_page("<https://h/0>; rel=\"prev\""), None);
    }
}
