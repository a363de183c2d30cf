//! Where files are: a folder, an object store, a web server or a data set of the Hugging Face hub, all read alike.
//!
//! | location | what it is | writable |
//! |---|---|---|
//! | `data/raw`, `/data/raw`, `file:///data/raw` | a folder of this machine | yes |
//! | `s3://BUCKET/PREFIX` | S3, or what has its interface (`AWS_ENDPOINT`) | yes |
//! | `gs://BUCKET/PREFIX` | Google Cloud Storage | yes |
//! | `az://CONTAINER/PREFIX` | Azure Blob Storage | yes |
//! | `https://HOST/FOLDER` | a web server; its folders can be listed where it has WebDAV | no |
//! | `hf://datasets/ORG/NAME[@REVISION][/FOLDER]` | a data set of the hub, at one commit | no |
//!
//! Credentials are in the environment, in the variables that the crate `object_store` and Python's `huggingface_hub` read
//! (`AWS_ACCESS_KEY_ID`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, `HF_TOKEN`, …).
//!
//! Nothing here is asynchronous: calls return when they are done. What the network does wrong is tried again, as [`Retry`]
//! says; a connection that breaks is taken up at the byte where it broke.

mod cloud;
mod error;
#[cfg(test)]
mod fake;
mod http;
mod hub;
mod local;
mod random;
mod reader;
mod remote;
mod retry;
mod web;
mod wire;

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use url::Url;

pub use error::{Error, Result};
pub use random::{Cursor, Random};
pub use reader::Reader;
pub use retry::Retry;

use cloud::Cloud;
use http::Http;
use hub::Hub;
use local::Local;
use remote::{Remote, fetch};
use retry::Place;

/// A file of a [`Store`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// Relative to the store's location, its parts joined by `/`.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Changes with the content; on the hub it is the file's hash. Local files have none.
    pub etag: Option<String>,
}

/// A location. Clones share their connections and their count of bytes.
#[derive(Clone)]
pub struct Store {
    location: Arc<str>,
    kind: Kind,
    transferred: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Kind {
    Local(Arc<Local>),
    Remote(Arc<dyn Remote>),
}

impl Store {
    /// Opens a location, with the usual patience. See the crate's page for the forms of locations.
    ///
    /// A folder need not exist. Only the hub is asked something at once: which commit the revision is.
    ///
    /// # Errors
    /// [`Error::Location`], and [`Error::Request`] from the hub.
    pub fn open(location: &str) -> Result<Self> {
        Self::open_with(location, Retry::default())
    }

    /// As [`open`](Self::open), with other patience.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with(location: &str, retry: Retry) -> Result<Self> {
        let wrong = |reason: String| Error::Location {
            location: location.to_owned(),
            reason,
        };
        let place = || Place {
            location: location.to_owned(),
            retry,
        };
        let kind = match location.split_once("://") {
            None if location.is_empty() => {
                return Err(wrong(
                    "an empty location; give `.` for this folder".to_owned(),
                ));
            }
            None => local(PathBuf::from(location)),
            Some(("file", _)) => {
                let path = Url::parse(location)
                    .ok()
                    .and_then(|url| url.to_file_path().ok());
                local(path.ok_or_else(|| wrong("give file:///FOLDER".to_owned()))?)
            }
            Some((scheme @ ("s3" | "gs" | "az"), rest)) => {
                let (bucket, root) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() || !is_path(root.trim_matches('/'), true) {
                    return Err(wrong(format!("give {scheme}://BUCKET/PREFIX")));
                }
                Kind::Remote(Arc::new(Cloud::open(place(), scheme, bucket, root)?))
            }
            Some(("http" | "https", _)) => Kind::Remote(Arc::new(Http::open(place())?)),
            Some(("hf", _)) => Kind::Remote(Arc::new(Hub::open(place())?)),
            Some((scheme, _)) => {
                return Err(wrong(format!(
                    "`{scheme}` is unknown; give a folder, file://, s3://, gs://, az://, https:// or hf://"
                )));
            }
        };
        Ok(Self {
            location: location.into(),
            kind,
            transferred: Arc::default(),
        })
    }

    /// As it was opened.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The folder, of a location on this machine.
    pub fn local(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Local(local) => Some(&local.root),
            Kind::Remote(_) => None,
        }
    }

    /// The commit that is read, of a location on the hub.
    pub fn revision(&self) -> Option<&str> {
        match &self.kind {
            Kind::Local(_) => None,
            Kind::Remote(remote) => remote.revision(),
        }
    }

    /// All files below the folder `prefix`, `""` for the location itself, sorted by path; none if there is no such folder.
    ///
    /// Hidden files and folders of this machine, whose names begin with a dot, are left out. Links are followed.
    ///
    /// # Errors
    /// [`Error::Request`], also from a web server without WebDAV; [`Error::Disk`], also for a link that leads nowhere;
    /// [`Error::Name`]; [`Error::Path`].
    pub fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let prefix = prefix.trim_end_matches('/');
        if !is_path(prefix, true) {
            return Err(self.no_path(prefix));
        }
        let mut objects = match &self.kind {
            Kind::Local(local) => local.list(prefix)?,
            Kind::Remote(remote) => remote.list(prefix)?,
        };
        objects.sort();
        Ok(objects)
    }

    /// The file at `path`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Request`], [`Error::Disk`], [`Error::Path`].
    pub fn head(&self, path: &str) -> Result<Option<Object>> {
        self.check(path)?;
        match &self.kind {
            Kind::Local(local) => local.head(path),
            Kind::Remote(remote) => remote.head(path),
        }
    }

    /// The content of a small file; `None` if there is none.
    ///
    /// # Errors
    /// As [`head`](Self::head), and [`Error::Changed`].
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Some(object) = self.head(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        match self.reader(&object)?.read_to_end(&mut bytes) {
            Ok(_) => Ok(Some(bytes)),
            Err(e) => Err(match e.downcast::<Error>() {
                Ok(error) => error,
                Err(source) => Error::Disk {
                    action: "read",
                    path: PathBuf::from(&*self.location).join(path),
                    source,
                },
            }),
        }
    }

    /// Reads a file from its first byte to its last.
    ///
    /// # Errors
    /// [`Error::Disk`], and [`Error::Changed`] if a local file has another size than `object`. A remote file is not asked for
    /// before the first read.
    pub fn reader(&self, object: &Object) -> Result<Reader> {
        self.check(&object.path)?;
        let transferred = self.transferred.clone();
        Ok(match &self.kind {
            Kind::Local(local) => Reader::local(local.open(&self.location, object)?, transferred),
            Kind::Remote(remote) => Reader::remote(remote.clone(), object.clone(), transferred),
        })
    }

    /// Reads a file at any place, as parquet wants it.
    ///
    /// # Errors
    /// As [`reader`](Self::reader).
    pub fn random(&self, object: &Object) -> Result<Random> {
        self.check(&object.path)?;
        let transferred = self.transferred.clone();
        Ok(match &self.kind {
            Kind::Local(local) => {
                Random::local(local.open(&self.location, object)?, object, transferred)
            }
            Kind::Remote(remote) => Random::remote(remote.clone(), object.clone(), transferred),
        })
    }

    /// The bytes of a range that lies within a file, in one request.
    ///
    /// # Errors
    /// As [`reader`](Self::reader).
    pub fn read_range(&self, object: &Object, range: Range<u64>) -> Result<Vec<u8>> {
        self.check(&object.path)?;
        match &self.kind {
            Kind::Local(local) => {
                let bytes = local.read_range(&self.location, object, range)?;
                self.transferred
                    .fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Ok(bytes)
            }
            Kind::Remote(remote) => {
                let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
                let mut sink = |piece: &[u8]| {
                    bytes.extend_from_slice(piece);
                    true
                };
                fetch(&**remote, object, range, true, &self.transferred, &mut sink)?;
                Ok(bytes)
            }
        }
    }

    /// Writes a file, which is whole or absent at any time; one that is there is replaced.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Request`], [`Error::Disk`], [`Error::Path`].
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.check(path)?;
        match &self.kind {
            Kind::Local(local) => local.write(path, bytes),
            Kind::Remote(remote) => remote.write(path, bytes.to_vec()),
        }
    }

    /// Copies the finished file `from` of this machine to `path`, where it appears when all of it has arrived.
    ///
    /// Large files go to object stores in parts, which are dropped again after an error.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn upload(&self, path: &str, from: &Path) -> Result<()> {
        self.check(path)?;
        match &self.kind {
            Kind::Local(local) => local.upload(path, from),
            Kind::Remote(remote) => remote.upload(path, from),
        }
    }

    /// Deletes a file; one that is not there is no error.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn delete(&self, path: &str) -> Result<()> {
        self.check(path)?;
        match &self.kind {
            Kind::Local(local) => local.delete(path),
            Kind::Remote(remote) => remote.delete(path),
        }
    }

    /// Bytes of files read so far, through this store, its clones and their readers; for remote ones also those that had to
    /// be read twice.
    pub fn transferred(&self) -> u64 {
        self.transferred.load(Ordering::Relaxed)
    }

    fn check(&self, path: &str) -> Result<()> {
        match is_path(path, false) {
            true => Ok(()),
            false => Err(self.no_path(path)),
        }
    }

    fn no_path(&self, path: &str) -> Error {
        Error::Path {
            location: self.location.to_string(),
            path: path.to_owned(),
        }
    }
}

fn local(root: PathBuf) -> Kind {
    Kind::Local(Arc::new(Local { root }))
}

/// Whether it consists of names joined by `/`, or of nothing where that is allowed.
fn is_path(path: &str, may_be_empty: bool) -> bool {
    let name = |name: &str| !["", ".", ".."].contains(&name) && !name.contains(char::is_control);
    path.is_empty() && may_be_empty || path.split('/').all(name)
}
