//! A folder that appears under its name when it is complete.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A folder that is being filled, beside the place where it will be. It is removed if it is not published.
pub(super) struct NewFolder {
    partial: PathBuf,
    out: PathBuf,
}

impl NewFolder {
    /// Begins a folder for `out`, which must not exist, or be empty.
    ///
    /// # Errors
    /// A folder with files, and I/O errors.
    pub fn create(out: &Path) -> Result<Self> {
        let refused = |message: &str| Error::HuggingFace {
            path: out.into(),
            message: message.into(),
        };
        let name = out
            .file_name()
            .ok_or_else(|| refused("this is no name for a new folder; choose another --out"))?;
        match fs::read_dir(out) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(refused(
                        "there are files already; choose another --out, or remove it",
                    ));
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("read", out)(e)),
        }
        let partial = out.with_file_name(format!(".{}.partial", name.to_string_lossy()));
        // of a process that was killed
        remove(&partial)?;
        fs::create_dir_all(&partial).map_err(Error::io("create", &partial))?;
        Ok(Self {
            partial,
            out: out.into(),
        })
    }

    /// Where its files are to be written.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Sees that everything is on the disk, and gives the folder its name.
    ///
    /// # Errors
    /// I/O errors.
    pub fn publish(self) -> Result<()> {
        for entry in fs::read_dir(&self.partial).map_err(Error::io("read", &self.partial))? {
            sync(&entry.map_err(Error::io("read", &self.partial))?.path())?;
        }
        sync(&self.partial)?;
        fs::rename(&self.partial, &self.out).map_err(Error::io("write", &self.out))?;
        match self.out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
            _ => sync(Path::new(".")),
        }
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // nothing is there once it is published; what can not be removed is removed by the next attempt
        let _ = remove(&self.partial);
    }
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", dir)(e)),
        _ => Ok(()),
    }
}

fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_appears_when_published_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("model");
        let names = || -> Vec<_> {
            let entries = fs::read_dir(dir.path()).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect()
        };
        let folder = NewFolder::create(&out).unwrap();
        fs::write(folder.path().join("a"), "new").unwrap();
        assert!(!out.exists());
        drop(folder);
        assert!(names().is_empty());

        // what a killed process left is not taken over
        fs::create_dir(dir.path().join(".model.partial")).unwrap();
        fs::write(dir.path().join(".model.partial/old"), "").unwrap();
        let folder = NewFolder::create(&out).unwrap();
        fs::write(folder.path().join("a"), "new").unwrap();
        folder.publish().unwrap();
        assert_eq!(names(), ["model"]);
        assert_eq!(fs::read_to_string(out.join("a")).unwrap(), "new");
        assert!(!out.join("old").exists());

        let refused = NewFolder::create(&out).err().unwrap().to_string();
        assert!(refused.contains("files already"), "{refused}");
        fs::remove_file(out.join("a")).unwrap();
        NewFolder::create(&out).unwrap().publish().unwrap();
        let refused = NewFolder::create(Path::new("..")).err().unwrap();
        assert!(refused.to_string().contains("no name"), "{refused}");
    }
}
