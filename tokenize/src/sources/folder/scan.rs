//! Finds the audio files of a folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Extensions of audio files, in any case.
pub const EXTENSIONS: &[&str] = &[
    "wav", "flac", "mp3", "opus", "ogg", "oga", "m4a", "aac", "mp4", "webm", "mka",
];

/// An audio file below the folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AudioFile {
    /// Path below the folder, with `/` between its parts.
    pub relative: String,
    /// Size of the file.
    pub bytes: u64,
}

impl AudioFile {
    /// The relative path without its extension.
    pub fn id(&self) -> &str {
        self.relative
            .rsplit_once('.')
            .map_or(&self.relative, |(stem, _)| stem)
    }
}

/// All audio files below `dir`, sorted by relative path; hidden files and folders and the folder `exclude` are left out.
/// Symbolic links are followed, except in circles.
pub fn audio_files(dir: &Path, exclude: Option<&Path>) -> Result<Vec<AudioFile>> {
    let mut scan = Scan {
        exclude: exclude.and_then(|path| path.canonicalize().ok()),
        files: Vec::new(),
    };
    scan.folder(dir, "", &mut Vec::new())?;
    scan.files.sort();
    Ok(scan.files)
}

/// Whether the name of `path` has an audio file's extension.
pub fn is_audio(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

struct Scan {
    exclude: Option<PathBuf>,
    files: Vec<AudioFile>,
}

impl Scan {
    fn folder(&mut self, dir: &Path, prefix: &str, above: &mut Vec<PathBuf>) -> Result<()> {
        let canonical = dir
            .canonicalize()
            .map_err(Error::io("open the folder", dir))?;
        if Some(&canonical) == self.exclude.as_ref() || above.contains(&canonical) {
            return Ok(());
        }
        above.push(canonical);
        for entry in fs::read_dir(dir).map_err(Error::io("read the folder", dir))? {
            let path = entry.map_err(Error::io("read the folder", dir))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                return Err(Error::FileName { path });
            };
            if name.starts_with('.') {
                continue;
            }
            let relative = format!("{prefix}{name}");
            if path.is_dir() {
                self.folder(&path, &format!("{relative}/"), above)?;
            } else if is_audio(&path) {
                let metadata = fs::metadata(&path).map_err(Error::io("look at", &path))?;
                self.files.push(AudioFile {
                    relative,
                    bytes: metadata.len(),
                });
            }
        }
        above.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(dir: &Path, name: &str) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"1234").unwrap();
    }

    #[test]
    fn finds_audio_in_order_and_leaves_out_the_rest() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        for name in [
            "b.wav",
            "a/z.MP3",
            "a.flac",
            "a/b/c.ogg",
            "notes.txt",
            ".x.wav",
            ".git/y.wav",
            "out/o.wav",
        ] {
            touch(dir, name);
        }
        let files = audio_files(dir, Some(&dir.join("out"))).unwrap();
        let names: Vec<_> = files.iter().map(|f| f.relative.as_str()).collect();
        assert_eq!(names, ["a.flac", "a/b/c.ogg", "a/z.MP3", "b.wav"]);
        assert_eq!((files[2].id(), files[2].bytes), ("a/z", 4));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_but_not_in_circles() {
        let temp = tempfile::tempdir().unwrap();
        touch(temp.path(), "elsewhere/x.wav");
        let dir = temp.path().join("dir");
        fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink(temp.path().join("elsewhere"), dir.join("linked")).unwrap();
        std::os::unix::fs::symlink(&dir, dir.join("circle")).unwrap();
        let files = audio_files(&dir, None).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].relative, "linked/x.wav");
    }
}
