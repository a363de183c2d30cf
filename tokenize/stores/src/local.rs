//! Folders of this machine.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::Object;
use crate::error::{Error, Result};
use crate::retry::random_bits;

/// A folder, which need not exist yet.
pub(crate) struct Local {
    pub root: PathBuf,
}

impl Local {
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Files below the folder `prefix`, without hidden ones. Links are followed, but not in circles.
    pub fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let folder = self.path(prefix);
        let mut objects = Vec::new();
        if folder.is_dir() {
            walk(&folder, prefix, &mut Vec::new(), &mut objects)?;
        }
        Ok(objects)
    }

    pub fn head(&self, path: &str) -> Result<Option<Object>> {
        let file = self.path(path);
        match fs::metadata(&file) {
            Ok(found) if found.is_file() => Ok(Some(Object {
                path: path.to_owned(),
                size: found.len(),
                etag: None,
            })),
            Ok(_) => Ok(None),
            Err(e) if absent(&e) => Ok(None),
            Err(e) => Err(disk("read", &file)(e)),
        }
    }

    pub fn read_range(
        &self,
        location: &str,
        object: &Object,
        range: Range<u64>,
    ) -> Result<Vec<u8>> {
        let mut file = self.open(location, object)?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.seek(SeekFrom::Start(range.start))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(disk("read", &self.path(&object.path)))?;
        Ok(bytes)
    }

    /// The file, which must have the size that it was listed with.
    pub fn open(&self, location: &str, object: &Object) -> Result<File> {
        let path = self.path(&object.path);
        let file = File::open(&path).map_err(disk("read", &path))?;
        let size = file.metadata().map_err(disk("read", &path))?.len();
        if size != object.size {
            return Err(Error::Changed {
                location: location.to_owned(),
                path: object.path.clone(),
                offset: 0,
                size: object.size,
                cause: format!("it now has {size} bytes"),
            });
        }
        Ok(file)
    }

    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        publish(&self.path(path), |file| file.write_all(bytes))
    }

    pub fn upload(&self, path: &str, from: &Path) -> Result<()> {
        let mut source = File::open(from).map_err(disk("read", from))?;
        publish(&self.path(path), |file| {
            io::copy(&mut source, file).map(|_| ())
        })
    }

    pub fn delete(&self, path: &str) -> Result<()> {
        let file = self.path(path);
        match fs::remove_file(&file) {
            Err(e) if !absent(&e) => Err(disk("delete", &file)(e)),
            _ => Ok(()),
        }
    }
}

/// For `map_err`: names the file and what was tried.
pub(crate) fn disk<'p>(
    action: &'static str,
    path: &'p Path,
) -> impl Fn(io::Error) -> Error + use<'p> {
    move |source| Error::Disk {
        action,
        path: path.to_owned(),
        source,
    }
}

fn absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    [NotFound, NotADirectory].contains(&error.kind())
}

/// `above` holds the folders that this one lies in, without links in their paths.
fn walk(
    folder: &Path,
    prefix: &str,
    above: &mut Vec<PathBuf>,
    objects: &mut Vec<Object>,
) -> Result<()> {
    let list = disk("list", folder);
    let real = fs::canonicalize(folder).map_err(&list)?;
    if above.contains(&real) {
        return Ok(());
    }
    above.push(real);
    for entry in fs::read_dir(folder).map_err(&list)? {
        let path = entry.map_err(&list)?.path();
        let name = path.file_name().unwrap_or_default();
        let Some(name) = name.to_str() else {
            return Err(Error::Name { path });
        };
        if name.starts_with('.') {
            continue;
        }
        let relative = match prefix {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        };
        let found = match fs::metadata(&path) {
            // removed since the folder was read; a link to nowhere is an error
            Err(e) if absent(&e) && fs::symlink_metadata(&path).is_err() => continue,
            found => found.map_err(disk("read", &path))?,
        };
        if found.is_dir() {
            walk(&path, &relative, above, objects)?;
        } else if found.is_file() {
            objects.push(Object {
                path: relative,
                size: found.len(),
                etag: None,
            });
        }
    }
    above.pop();
    Ok(())
}

/// Writes a file beside `path`, syncs it, renames it to `path` and syncs the folder, so that `path` is whole or absent, after
/// a power cut too.
fn publish(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(disk("create", folder))?;
    let partial = partial_path(path);
    let finish = || {
        let mut file = File::create_new(&partial)?;
        write(&mut file)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        File::open(folder)?.sync_all()
    };
    finish().map_err(|e| {
        let _ = fs::remove_file(&partial);
        disk("write", path)(e)
    })
}

/// `.NAME.PROCESS-RANDOM.partial`: hidden, so that it is never listed, and different for each process, thread and machine
/// that writes to a shared disk.
fn partial_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let process = std::process::id();
    path.with_file_name(format!(".{name}.{process}-{:016x}.partial", random_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_file_is_hidden_and_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        let partial = partial_path(&path);
        assert_ne!(partial, partial_path(&path));
        // what a process leaves that is killed while it writes
        fs::write(&partial, "half").unwrap();
        let local = Local {
            root: folder.path().to_owned(),
        };
        assert_eq!(local.list("").unwrap(), []);
        local.write("x.parquet", b"whole").unwrap();
        assert_eq!(local.list("").unwrap().len(), 1);
    }
}
