//! S3, Google Cloud Storage and Azure, through `object_store`: it knows their addresses, signatures and listings; patience is
//! ours.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{
    GetOptions, GetRange, MultipartId, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload,
    RetryConfig,
};
use tokio::runtime::{Builder, Runtime};

use crate::Object;
use crate::error::{Error, Result};
use crate::local::disk;
use crate::remote::{Download, Remote};
use crate::retry::{Attempt, Failure, Place};
use crate::web::bare_etag;
use crate::wire::Connector;

/// Files up to this size are sent in one request, larger ones in parts of at least this size.
const PART: u64 = 32 << 20;
/// S3 takes no more parts of a file.
const MOST_PARTS: u64 = 10_000;

/// `object_store` is asynchronous in form only, since its HTTP client blocks: futures run on the thread that waits for them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_current_thread();
    builder.enable_all();
    builder.build().expect("a runtime without threads")
});

trait ObjectStoreWithParts: ObjectStore + MultipartStore {}
impl<S: ObjectStore + MultipartStore> ObjectStoreWithParts for S {}

fn boxed(store: impl ObjectStoreWithParts) -> Box<dyn ObjectStoreWithParts> {
    Box::new(store)
}

/// A folder of a bucket.
pub(crate) struct Cloud {
    place: Place,
    store: Box<dyn ObjectStoreWithParts>,
    /// Without slashes at its ends; empty for the whole bucket.
    root: String,
}

/// Of `object_store`, which would not know what the server asks for, nor count the bytes that came.
pub(crate) fn no_retries() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

impl Cloud {
    /// `scheme` is `s3`, `gs` or `az`; credentials and endpoints are in the variables that `object_store` reads.
    pub fn open(place: Place, scheme: &str, bucket: &str, root: &str) -> Result<Self> {
        let connector = Connector::new(&place.retry);
        let store = match scheme {
            "s3" => AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .with_http_connector(connector)
                .with_retry(no_retries())
                // other stores with this interface often lack it
                .with_disable_bulk_delete(true)
                .build()
                .map(boxed),
            "gs" => GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_http_connector(connector)
                .with_retry(no_retries())
                .build()
                .map(boxed),
            _ => MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .with_http_connector(connector)
                .with_retry(no_retries())
                .build()
                .map(boxed),
        };
        match store {
            Ok(store) => Ok(Self {
                root: root.trim_matches('/').to_owned(),
                store,
                place,
            }),
            Err(e) => Err(Error::Location {
                reason: format!("{e}; {}", credentials(&place.location)),
                location: place.location,
            }),
        }
    }

    fn key(&self, path: &str) -> Attempt<Key> {
        key(&self.root, path)
    }

    fn failure(&self, error: object_store::Error) -> Failure {
        match failure(error) {
            Failure::Lasting { cause, .. } => {
                Failure::lasting(cause, credentials(&self.place.location))
            }
            other => other,
        }
    }

    fn run<T>(
        &self,
        path: &str,
        request: impl AsyncFn(&dyn ObjectStoreWithParts, &Key) -> object_store::Result<T>,
    ) -> Result<T> {
        self.place.run(path, || {
            let key = self.key(path)?;
            let result = RUNTIME.block_on(request(&*self.store, &key));
            result.map_err(|e| self.failure(e))
        })
    }

    /// Sends `file` in parts. The object appears when all have arrived.
    fn upload_parts(&self, path: &str, file: &mut File, size: u64, from: &Path) -> Result<()> {
        let id = self.run(path, async |store, key| store.create_multipart(key).await)?;
        let sent = self.send_parts(path, &id, file, size, from);
        let sent = sent.and_then(|parts| {
            self.run(path, async |store, key| {
                store.complete_multipart(key, &id, parts.clone()).await
            })
        });
        match sent {
            Ok(_) => Ok(()),
            Err(e) => {
                // parts cost money until they are dropped; the first error is the one to tell
                let _ = self.run(path, async |store, key| {
                    store.abort_multipart(key, &id).await
                });
                Err(e)
            }
        }
    }

    fn send_parts(
        &self,
        path: &str,
        id: &MultipartId,
        file: &mut File,
        size: u64,
        from: &Path,
    ) -> Result<Vec<PartId>> {
        let length = PART.max(size.div_ceil(MOST_PARTS));
        let mut parts = Vec::new();
        for start in (0..size).step_by(length as usize) {
            let data = take(file, length.min(size - start)).map_err(disk("read", from))?;
            let index = parts.len();
            parts.push(self.run(path, async |store, key| {
                let payload = PutPayload::from_bytes(data.clone());
                store.put_part(key, id, index, payload).await
            })?);
        }
        Ok(parts)
    }

    fn put(&self, path: &str, data: Bytes) -> Result<()> {
        self.run(path, async |store, key| {
            let payload = PutPayload::from_bytes(data.clone());
            store.put(key, payload).await.map(|_| ())
        })
    }
}

impl Remote for Cloud {
    fn place(&self) -> &Place {
        &self.place
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        self.place.run(prefix, || {
            let store: &dyn ObjectStore = &*self.store;
            list(store, &self.key(prefix)?, &self.root).map_err(|failure| match failure {
                Failure::Lasting { cause, .. } => {
                    Failure::lasting(cause, credentials(&self.place.location))
                }
                other => other,
            })
        })
    }

    fn head(&self, path: &str) -> Result<Option<Object>> {
        self.place.find(path, || {
            let key = self.key(path)?;
            let meta = RUNTIME.block_on(self.store.head(&key));
            let meta = meta.map_err(|e| self.failure(e))?;
            Ok(object(path.to_owned(), meta))
        })
    }

    fn get(&self, object: &Object, range: Range<u64>) -> Attempt<Download> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            if_match: object.etag.clone(),
            ..GetOptions::default()
        };
        let key = self.key(&object.path)?;
        let result = RUNTIME.block_on(self.store.get_opts(&key, options));
        let result = result.map_err(|e| self.failure(e))?;
        if result.meta.size != object.size {
            let cause = format!("it now has {} bytes", result.meta.size);
            return Err(Failure::Changed { cause });
        }
        // some stores with this interface know no If-Match
        if let (Some(expected), Some(found)) = (&object.etag, &result.meta.e_tag)
            && bare_etag(expected) != bare_etag(found)
        {
            let cause = format!("its ETag was {expected} and is {found}");
            return Err(Failure::Changed { cause });
        }
        Ok(Download {
            start: result.range.start,
            data: Box::new(Stream {
                pieces: result.into_stream(),
                piece: Bytes::new(),
            }),
        })
    }

    fn write(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.put(path, bytes.into())
    }

    fn upload(&self, path: &str, from: &Path) -> Result<()> {
        let read = disk("read", from);
        let mut file = File::open(from).map_err(&read)?;
        let size = file.metadata().map_err(&read)?.len();
        if size > PART {
            return self.upload_parts(path, &mut file, size, from);
        }
        let data = take(&mut file, size).map_err(&read)?;
        self.put(path, data)
    }

    fn delete(&self, path: &str) -> Result<()> {
        let deleted = self.place.find(path, || {
            let key = self.key(path)?;
            let deleted = RUNTIME.block_on(self.store.delete(&key));
            deleted.map_err(|e| self.failure(e))
        });
        deleted.map(|_| ())
    }
}

/// Everything below `folder`, with paths relative to `root`, which is the start of the paths that the store gives.
pub(crate) fn list(store: &dyn ObjectStore, folder: &Key, root: &str) -> Attempt<Vec<Object>> {
    let folder = (!folder.as_ref().is_empty()).then_some(folder);
    let found: object_store::Result<Vec<_>> = RUNTIME.block_on(store.list(folder).try_collect());
    let relative = |meta: ObjectMeta| {
        let path = meta.location.as_ref();
        let path = path
            .strip_prefix(root)
            .unwrap_or(path)
            .trim_start_matches('/');
        object(path.to_owned(), meta)
    };
    // empty objects that stand for folders in some tools have the folder's own name
    let found = found.map_err(failure)?.into_iter().map(relative);
    Ok(found.filter(|object| !object.path.is_empty()).collect())
}

pub(crate) fn key(root: &str, path: &str) -> Attempt<Key> {
    let joined = match (root, path) {
        (root, "") => root.to_owned(),
        ("", path) => path.to_owned(),
        (root, path) => format!("{root}/{path}"),
    };
    Key::parse(&joined).map_err(|e| Failure::lasting(e.to_string(), "rename the object"))
}

fn object(path: String, meta: ObjectMeta) -> Object {
    Object {
        path,
        size: meta.size,
        etag: meta.e_tag,
    }
}

/// Our own failure where there is one among the error's sources, or what `object_store` says.
fn failure(error: object_store::Error) -> Failure {
    let mut source = Some(&error as &(dyn std::error::Error + 'static));
    while let Some(inner) = source {
        if let Some(failure) = inner.downcast_ref::<Failure>() {
            return failure.clone();
        }
        source = inner.source();
    }
    let cause = error.to_string();
    match error {
        object_store::Error::NotFound { .. } => Failure::Missing { cause },
        object_store::Error::Precondition { .. } => Failure::Changed {
            cause: "its ETag is another one".to_owned(),
        },
        // S3 reports troubles of its own after it has begun with 200 OK
        _ if ["InternalError", "SlowDown"]
            .iter()
            .any(|code| cause.contains(code)) =>
        {
            Failure::passing(cause)
        }
        _ => Failure::lasting(cause, "check the location"),
    }
}

/// What to check where a store refuses.
fn credentials(location: &str) -> &'static str {
    match location.split("://").next() {
        Some("s3") => {
            "check the bucket, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT; AWS_SKIP_SIGNATURE=true \
             reads public buckets"
        }
        Some("gs") => {
            "check the bucket and GOOGLE_APPLICATION_CREDENTIALS; GOOGLE_SKIP_SIGNATURE=true reads public buckets"
        }
        _ => {
            "check the container, AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY; AZURE_SKIP_SIGNATURE=true reads \
             public containers"
        }
    }
}

fn take(file: &mut File, count: u64) -> io::Result<Bytes> {
    let mut data = vec![0; count as usize];
    file.read_exact(&mut data)?;
    Ok(data.into())
}

/// The body of an answer, as something to read.
struct Stream {
    pieces: BoxStream<'static, object_store::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match RUNTIME.block_on(self.pieces.next()) {
                None => return Ok(0),
                Some(piece) => self.piece = piece.map_err(|e| io::Error::other(failure(e)))?,
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
