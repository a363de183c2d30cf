//! Codecs and other models of the Hugging Face hub: found in its cache, or downloaded into it.
//!
//! The cache is the one of Python's `huggingface_hub`, so that each finds what the other has downloaded:
//! ```text
//! CACHE/models--OWNER--NAME/refs/main                 the commit
//!                          /snapshots/COMMIT/FILE     link to ../../blobs/ETAG
//!                          /blobs/ETAG                the file, under its hash
//!                          /blobs/ETAG.incomplete     a download that can be resumed
//! CACHE/.locks/models--OWNER--NAME/ETAG.lock          held by the process that downloads
//! ```

mod cache;
mod download;
mod failure;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::download::Client;
use crate::models::{self, CONFIG_FILE, WEIGHTS_FILE};
use crate::{Error, Result};

/// The branch that is meant if none is named.
const MAIN: &str = "main";
/// Why nothing is downloaded.
const OFFLINE: &str = "HF_HUB_OFFLINE is set";
/// What else can be done if a codec can not be had.
const WITHOUT_CODEC: &str = "two ways on: `--codec PATH` with a folder of `config.json` and `model.safetensors`, or \
                             `--codec mel-rvq`, which is embedded";
/// The same for any other model.
const WITHOUT_MODEL: &str = "its folder, copied from another machine, can be given instead";

/// Repositories whose codecs are known to work. The part after the slash will do as a name.
pub const KNOWN: [&str; 6] = [
    "kyutai/mimi",
    "facebook/encodec_24khz",
    "facebook/encodec_48khz",
    "descript/dac_16khz",
    "descript/dac_24khz",
    "descript/dac_44khz",
];

/// The repository that `name` means: one of [`KNOWN`], in full or without its owner, or any other `OWNER/NAME`.
pub fn repository(name: &str) -> Option<&str> {
    let short = |repo: &&str| repo.split('/').nth(1) == Some(name);
    match name.split_once('/') {
        None => KNOWN.into_iter().find(short),
        Some((owner, rest)) => (is_plain(owner) && is_plain(rest)).then_some(name),
    }
}

/// Whether a text can be a part of an address, and the name of a file or folder that is not hidden.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !text.is_empty() && !text.starts_with(['.', '-']) && text.chars().all(plain)
}

/// Access to the hub and to its cache.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Start of all addresses, without a slash at its end.
    pub endpoint: String,
    /// Sent to the endpoint, and to no other host.
    pub token: Option<String>,
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Whether only the cache is looked into.
    pub offline: bool,
    /// How long the network may be silent before a request is given up and tried again.
    pub patience: Duration,
    /// Time before the first new attempt; it doubles from one to the next.
    pub pause: Duration,
}

impl Hub {
    /// As the environment says, in the variables that Python's `huggingface_hub` reads.
    ///
    /// | variable | default |
    /// |---|---|
    /// | `HF_ENDPOINT` | `https://huggingface.co` |
    /// | `HF_TOKEN` | the file `HF_HOME/token`, which `hf auth login` writes |
    /// | `HF_HOME` | `XDG_CACHE_HOME/huggingface`, or `~/.cache/huggingface` |
    /// | `HF_HUB_CACHE` | `HF_HOME/hub` |
    /// | `HF_HUB_OFFLINE` | off; `1`, `on`, `yes` and `true` turn it on |
    pub fn from_env() -> Self {
        Self::from_variables(|name| env::var(name).ok())
    }

    fn from_variables(get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| {
            let value = get(name)?.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let home = get("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            let user = || env::home_dir().unwrap_or_default().join(".cache");
            let caches = get("XDG_CACHE_HOME").map_or_else(user, PathBuf::from);
            caches.join("huggingface")
        });
        let token_file = || {
            let token = fs::read_to_string(home.join("token")).ok()?;
            let token = token.trim();
            (!token.is_empty()).then(|| token.to_owned())
        };
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: get("HF_TOKEN").or_else(token_file),
            cache: get("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            offline: get("HF_HUB_OFFLINE").is_some_and(|value| {
                ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
            }),
            patience: Duration::from_secs(10),
            pause: Duration::from_millis(500),
        }
    }

    /// The folder of the `config.json` and `model.safetensors` of `repo`, `OWNER/NAME`, at its branch `main`.
    ///
    /// What is in the cache is used as it is, without a look at the network. What is not is downloaded; several processes
    /// may do so at once.
    ///
    /// # Errors
    /// [`Error::Download`], and [`Error::BadFile`] if the repository is not of a codec known here, which is found out
    /// before its weights are downloaded.
    pub fn folder(&self, repo: &str) -> Result<PathBuf> {
        let place = self.cache.join(folder_name(repo));
        let snapshot = cache::snapshot(&place, MAIN);
        match (
            missing(snapshot.as_deref(), &[CONFIG_FILE, WEIGHTS_FILE]),
            snapshot,
        ) {
            (None, Some(snapshot)) => Ok(snapshot),
            (Some(file), _) if self.offline => {
                Err(self.failed(repo, file, WITHOUT_CODEC, OFFLINE.to_owned()))
            }
            _ => self.download(repo, &place),
        }
    }

    /// The folder of files of `repo`, `OWNER/NAME`, at `revision`: a branch, a tag or a commit. Names of files are without
    /// folders. All are of one commit.
    ///
    /// If all that are `needed` are in the cache, the network is not looked at. Else those that are missing are downloaded,
    /// and so are those `optional` ones that the repository has.
    ///
    /// # Errors
    /// [`Error::Download`]
    pub fn files(
        &self,
        repo: &str,
        revision: &str,
        needed: &[&str],
        optional: &[&str],
    ) -> Result<PathBuf> {
        let failed = |file: &str, reason: String| self.failed(repo, file, WITHOUT_MODEL, reason);
        let names = needed.iter().chain(optional);
        if let Some(name) = [revision].iter().chain(names).find(|name| !is_plain(name)) {
            return Err(failed(name, "it is no plain name".to_owned()));
        }
        let place = self.cache.join(folder_name(repo));
        let snapshot = cache::snapshot(&place, revision);
        match (missing(snapshot.as_deref(), needed), snapshot) {
            (None, Some(snapshot)) => return Ok(snapshot),
            (Some(file), _) if self.offline => return Err(failed(file, OFFLINE.to_owned())),
            _ => {}
        }
        let client = Client::new(self, repo, &place);
        let known = |revision| {
            let commit = cache::snapshot(&place, revision)?;
            Some(commit.file_name()?.to_str()?.to_owned())
        };
        let commit = match known(revision) {
            Some(commit) => commit,
            None => {
                let first = needed[0];
                let commit = client.commit(first, revision);
                commit.map_err(|reason| failed(first, reason))?
            }
        };
        // those that are needed come last: when they are there, nothing is missing
        for file in optional {
            let found = client.find(file, &commit);
            found.map_err(|reason| failed(file, reason))?;
        }
        for file in needed {
            let got = client.get(file, &commit);
            got.map_err(|reason| failed(file, reason))?;
        }
        if revision != commit {
            let written = cache::write_reference(&place, revision, &commit);
            written.map_err(|reason| failed(needed[0], reason))?;
        }
        Ok(place.join("snapshots").join(commit))
    }

    /// Both files at one commit, then the reference to it.
    fn download(&self, repo: &str, place: &Path) -> Result<PathBuf> {
        let failed = |file, reason| self.failed(repo, file, WITHOUT_CODEC, reason);
        let client = Client::new(self, repo, place);
        let commit = client
            .get(CONFIG_FILE, MAIN)
            .map_err(|reason| failed(CONFIG_FILE, reason))?;
        let snapshot = place.join("snapshots").join(&commit);
        models::check_architecture(&snapshot.join(CONFIG_FILE))?;
        client
            .get(WEIGHTS_FILE, &commit)
            .and_then(|_| cache::write_reference(place, MAIN, &commit))
            .map_err(|reason| failed(WEIGHTS_FILE, reason))?;
        Ok(snapshot)
    }

    fn failed(&self, repo: &str, file: &str, advice: &'static str, reason: String) -> Error {
        Error::Download {
            repo: repo.to_owned(),
            file: file.to_owned(),
            cache: self.cache.clone(),
            advice,
            reason,
        }
    }
}

/// The first of `files` that is not in the folder of a commit.
fn missing<'a>(snapshot: Option<&Path>, files: &[&'a str]) -> Option<&'a str> {
    let is_missing = |file: &&str| snapshot.is_none_or(|snapshot| !snapshot.join(file).is_file());
    files.iter().copied().find(is_missing)
}

fn folder_name(repo: &str) -> String {
    format!("models--{}", repo.replace('/', "--"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Hub {
        Hub::from_variables(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn names_of_repositories() {
        assert_eq!(repository("mimi"), Some("kyutai/mimi"));
        assert_eq!(repository("dac_24khz"), Some("descript/dac_24khz"));
        assert_eq!(
            repository("some.body/their-codec_2"),
            Some("some.body/their-codec_2")
        );
        for name in [
            "", "/", "mimi9", "encodec", "a/b/c", "/a", "a/", "../a", "a/..", "./a", "a b/c",
            "a/b?c", "é/b",
        ] {
            assert_eq!(repository(name), None, "{name}");
        }
    }

    #[test]
    fn variables_are_honoured() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let plain = hub(&[("XDG_CACHE_HOME", home), ("HF_TOKEN", "  ")]);
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert_eq!(plain.cache, folder.path().join("huggingface/hub"));
        assert_eq!((plain.token, plain.offline), (None, false));

        fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        let set = hub(&[
            ("HF_HOME", home),
            ("HF_ENDPOINT", "http://mirror:8080/hub/"),
            ("HF_HUB_OFFLINE", "Yes"),
        ]);
        assert_eq!(set.endpoint, "http://mirror:8080/hub");
        assert_eq!(set.cache, folder.path().join("hub"));
        assert_eq!((set.token.as_deref(), set.offline), (Some("hf_file"), true));

        let set = hub(&[
            ("HF_HOME", home),
            ("HF_HUB_CACHE", "/elsewhere"),
            ("HF_TOKEN", "hf_variable\n"),
            ("HF_HUB_OFFLINE", "0"),
        ]);
        assert_eq!(set.cache, Path::new("/elsewhere"));
        assert_eq!(
            (set.token.as_deref(), set.offline),
            (Some("hf_variable"), false)
        );
    }
}
