//! Files of the cache: checked, linked, and written whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};

use crate::weights::hex;

/// Bytes of the file, 0 if there is none.
pub fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// SHA-256 of a file, hexadecimal.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&digest.finalize())),
            count => digest.update(&buffer[..count]),
        }
    }
}

/// `POINTER` → `../../blobs/ETAG`. Where there are no links, the file itself is moved, as Python does on Windows.
pub fn link(blob: &Path, pointer: &Path) -> Result<(), String> {
    if pointer.is_file() {
        return Ok(());
    }
    create_parent(pointer)?;
    #[cfg(unix)]
    {
        let name = blob.file_name().expect("named by its hash");
        let target = Path::new("../../blobs").join(name);
        if std::os::unix::fs::symlink(target, pointer).is_ok() || pointer.is_file() {
            return Ok(());
        }
    }
    fs::rename(blob, pointer).map_err(|e| on_disk(pointer, &e))
}

/// The folder of a revision, if it is known: a branch or tag by its reference, a commit by its folder.
pub fn snapshot(place: &Path, revision: &str) -> Option<PathBuf> {
    let snapshots = place.join("snapshots");
    match fs::read_to_string(place.join("refs").join(revision)) {
        Ok(commit) => Some(snapshots.join(commit.trim())),
        Err(_) => Some(snapshots.join(revision)).filter(|folder| folder.is_dir()),
    }
}

/// Makes `commit` the one of the branch or tag `name`.
pub fn write_reference(place: &Path, name: &str, commit: &str) -> Result<(), String> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let path = place.join("refs").join(name);
    let unique = COUNT.fetch_add(1, Ordering::Relaxed);
    let beside = place.join(format!("refs/{name}.{}-{unique}", std::process::id()));
    create_parent(&path)?;
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(commit.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    };
    write().map_err(|e| on_disk(&path, &e))
}

/// Makes the folder that `path` is to lie in.
pub fn create_parent(path: &Path) -> Result<(), String> {
    let parent = path.parent().expect("a file in a folder");
    fs::create_dir_all(parent).map_err(|e| on_disk(parent, &e))
}

/// An error of the cache's disk, as text.
pub fn on_disk(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room, or set HF_HOME to a folder on another disk"
        }
        _ => "set HF_HOME to a folder that can be written",
    };
    format!("cannot write {}: {error}; {advice}", path.display())
}
