//! Downloads into the cache: resumed where they were cut off, and checked before they get their name.
//!
//! The crate `hf-hub` is not used: its last version with a blocking client, 0.4, waits for ever on a silent connection,
//! checks no hash, reads no `HF_TOKEN` and appends a whole answer to a partial file; 1.0 brings an asynchronous runtime and
//! some 280 crates.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use ureq::Agent;
use ureq::http::{HeaderMap, StatusCode};

use super::cache::{create_parent, length, link, on_disk, sha256};
use super::failure::{Attempt, Failure, Retry, Stop, broken, refused};
use super::{Hub, folder_name};

/// Access to one repository.
pub struct Client<'a> {
    hub: &'a Hub,
    repo: &'a str,
    /// Its folder in the cache.
    place: &'a Path,
    agent: Agent,
}

/// A file as the hub describes it.
struct Remote {
    /// At the endpoint; it may redirect to a host of files.
    url: String,
    commit: String,
    /// SHA-256 of large files.
    etag: String,
    size: u64,
}

impl<'a> Client<'a> {
    /// `place` is the repository's folder in the cache.
    pub fn new(hub: &'a Hub, repo: &'a str, place: &'a Path) -> Self {
        let patience = Some(hub.patience);
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("encodec-rs/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_resolve(patience)
            .timeout_connect(patience)
            .timeout_recv_response(patience)
            .timeout_per_read(patience)
            .timeout_per_write(patience)
            .build()
            .into();
        Self {
            hub,
            repo,
            place,
            agent,
        }
    }

    /// Brings `file` at `revision` into the cache, if it is not there; returns the commit.
    ///
    /// The error is the reason, as text.
    pub fn get(&self, file: &str, revision: &str) -> Result<String, String> {
        self.bring(file, revision).map_err(Stop::reason)
    }

    /// The same for a file that the repository may lack, at a commit that it has; returns whether it is there.
    pub fn find(&self, file: &str, commit: &str) -> Result<bool, String> {
        match self.bring(file, commit) {
            Ok(_) => Ok(true),
            Err(Stop::Absent(_)) => Ok(false),
            Err(stop) => Err(stop.reason()),
        }
    }

    /// The commit that `revision` is, by the answer for `file`.
    pub fn commit(&self, file: &str, revision: &str) -> Result<String, String> {
        let bar = self.bar(file);
        let mut retry = Retry::new(self.hub.pause, &bar);
        let remote = self.described(file, revision, &mut retry);
        Ok(remote.map_err(Stop::reason)?.commit)
    }

    fn bring(&self, file: &str, revision: &str) -> Result<String, Stop> {
        let bar = self.bar(file);
        let mut retry = Retry::new(self.hub.pause, &bar);
        let remote = self.described(file, revision, &mut retry)?;
        (retry.reached, retry.failures) = (true, 0);
        let blob = self.place.join("blobs").join(&remote.etag);
        create_parent(&blob)?;
        let lock = self.lock(&remote.etag, &bar)?;
        if !blob.is_file() {
            self.fetch(&remote, &blob, &mut retry)?;
        }
        let pointer = self.place.join("snapshots").join(&remote.commit).join(file);
        link(&blob, &pointer)?;
        drop(lock);
        bar.finish_and_clear();
        Ok(remote.commit)
    }

    fn bar(&self, file: &str) -> ProgressBar {
        let style = "{prefix}: {bytes} of {total_bytes}, {bytes_per_sec}, {eta} {msg}";
        let style = ProgressStyle::with_template(style).expect("a fixed template");
        let bar = ProgressBar::no_length().with_style(style);
        bar.set_prefix(format!("{} {file}", self.repo));
        bar
    }

    /// What the hub says of a file, asked again where that helps.
    fn described(&self, file: &str, revision: &str, retry: &mut Retry) -> Result<Remote, Stop> {
        let url = format!(
            "{}/{}/resolve/{revision}/{file}",
            self.hub.endpoint, self.repo
        );
        loop {
            match self.describe(&url) {
                Ok(remote) => return Ok(remote),
                Err(failure) => retry.after(failure)?,
            }
        }
    }

    /// Asks for the file's commit, hash and size, following redirects within the endpoint only: the host of files does not
    /// know them.
    fn describe(&self, url: &str) -> Attempt<Remote> {
        let mut url = url.to_owned();
        for _ in 0..5 {
            let request = self.authorized(self.agent.head(&url));
            let response = request.config().max_redirects(0).build().call();
            let response = response.map_err(|e| broken(self.hub, &e))?;
            let location = text(response.headers(), "location");
            match (response.status(), location) {
                (status, Some(location)) if status.is_redirection() => {
                    let within = match location.strip_prefix('/') {
                        Some(path) if !path.starts_with('/') => {
                            Some(format!("{}{location}", origin(&url)))
                        }
                        _ => (origin(location) == origin(&url)).then(|| location.to_owned()),
                    };
                    match within {
                        Some(next) => url = next,
                        None => return remote(url, response.headers()),
                    }
                }
                (status, _) if status.is_success() => return remote(url, response.headers()),
                (status, _) => {
                    return Err(refused(
                        self.hub,
                        self.repo,
                        &url,
                        status,
                        response.headers(),
                    ));
                }
            }
        }
        Err(Failure::Lasting(format!("{url} redirects in a circle")))
    }

    /// Downloads to `BLOB.incomplete`, checks it, and gives it its name. The caller holds the lock.
    fn fetch(&self, remote: &Remote, blob: &Path, retry: &mut Retry) -> Result<(), Stop> {
        let mut partial = blob.as_os_str().to_owned();
        partial.push(".incomplete");
        let partial = PathBuf::from(partial);
        retry.bar.set_length(remote.size);
        let mut mismatched = false;
        loop {
            let before = length(&partial);
            match self.append(remote, &partial, retry.bar) {
                Ok(()) => {}
                Err(failure) => {
                    if length(&partial) > before {
                        retry.failures = 0;
                    }
                    retry.after(failure)?;
                    continue;
                }
            }
            let found = sha256(&partial).map_err(|e| on_disk(&partial, &e))?;
            // small files carry another hash, and mirrors their own
            if remote.etag.len() != found.len() || remote.etag == found {
                break;
            }
            fs::remove_file(&partial).map_err(|e| on_disk(&partial, &e))?;
            // what was there before may have been damaged
            if mismatched {
                return Err(Stop::Lasting(format!(
                    "{} was downloaded twice with the SHA-256 {found} instead of {}; the server, or a proxy before it, \
                     serves a damaged file",
                    remote.url, remote.etag
                )));
            }
            mismatched = true;
        }
        Ok(fs::rename(&partial, blob).map_err(|e| on_disk(blob, &e))?)
    }

    /// Requests what `partial` lacks, appends it, and sees that it is on the disk and of the right length.
    fn append(&self, remote: &Remote, partial: &Path, bar: &ProgressBar) -> Attempt<()> {
        let disk = |e| Failure::Lasting(on_disk(partial, &e));
        let mut have = length(partial);
        if have > remote.size {
            fs::remove_file(partial).map_err(disk)?;
            have = 0;
        }
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(partial)
            .map_err(disk)?;
        if have < remote.size {
            let mut request = self.authorized(self.agent.get(&remote.url));
            if have > 0 {
                request = request.header("Range", format!("bytes={have}-"));
            }
            let response = request.call().map_err(|e| broken(self.hub, &e))?;
            match response.status() {
                StatusCode::PARTIAL_CONTENT if starts_at(response.headers(), have) => {}
                // the whole file
                StatusCode::OK if have == 0 => {}
                StatusCode::OK => {
                    file.set_len(0).map_err(disk)?;
                    have = 0;
                }
                StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                    file.set_len(0).map_err(disk)?;
                    return Err(Failure::Passing(format!(
                        "{} does not answer with the range asked for",
                        remote.url
                    )));
                }
                status => {
                    return Err(refused(
                        self.hub,
                        self.repo,
                        &remote.url,
                        status,
                        response.headers(),
                    ));
                }
            }
            bar.set_position(have);
            let mut body = response.into_body().into_reader();
            // a byte too many is enough to see that there are too many
            let mut body = (&mut body).take(remote.size - have + 1);
            copy(&mut body, &mut file, bar, partial)?;
        }
        file.sync_all().map_err(disk)?;
        match length(partial) {
            found if found == remote.size => Ok(()),
            found if found > remote.size => Err(Failure::Passing(format!(
                "{} gives more than the {} bytes announced",
                remote.url, remote.size
            ))),
            found => Err(Failure::Passing(format!(
                "{} ended after {found} of {} bytes",
                remote.url, remote.size
            ))),
        }
    }

    /// Waits until no other process downloads the blob `etag`.
    fn lock(&self, etag: &str, bar: &ProgressBar) -> Result<File, String> {
        let locks = self.hub.cache.join(".locks").join(folder_name(self.repo));
        let path = locks.join(format!("{etag}.lock"));
        create_parent(&path)?;
        let file = File::create(&path).map_err(|e| on_disk(&path, &e))?;
        bar.set_message("(another process may be downloading it)");
        file.lock().map_err(|e| {
            format!(
                "cannot lock {}: {e}; set HF_HOME to a file system with locks",
                path.display()
            )
        })?;
        bar.set_message("");
        Ok(file)
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.hub.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }
}

/// Reads the description from the headers of the endpoint's answer.
fn remote(url: String, headers: &HeaderMap) -> Attempt<Remote> {
    let lacks = |header: &str| {
        Failure::Lasting(format!(
            "{url} answers without a usable `{header}`; is HF_ENDPOINT a Hugging Face hub?"
        ))
    };
    // they become names of files
    let name = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned())
    };
    let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag"));
    let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
    let size = text(headers, "x-linked-size").or_else(|| text(headers, "content-length"));
    Ok(Remote {
        commit: text(headers, "x-repo-commit")
            .and_then(name)
            .ok_or_else(|| lacks("X-Repo-Commit"))?,
        etag: etag.and_then(name).ok_or_else(|| lacks("ETag"))?,
        size: size
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| lacks("Content-Length"))?,
        url,
    })
}

/// A header, if it is there and is text.
pub fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// `https://host:port` of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']);
    &url[..end.map_or(url.len(), |end| host + end)]
}

fn starts_at(headers: &HeaderMap, position: u64) -> bool {
    text(headers, "content-range")
        .is_some_and(|range| range.starts_with(&format!("bytes {position}-")))
}

fn copy(body: &mut impl Read, file: &mut File, bar: &ProgressBar, partial: &Path) -> Attempt<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = body.read(&mut buffer);
        let count = read.map_err(|e| Failure::Passing(format!("the download was cut off: {e}")))?;
        if count == 0 {
            return Ok(());
        }
        file.write_all(&buffer[..count])
            .map_err(|e| Failure::Lasting(on_disk(partial, &e)))?;
        bar.inc(count as u64);
    }
}
