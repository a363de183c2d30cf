//! Codecs of the Hugging Face hub: found in its cache, or downloaded into it.
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
    let part = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !text.is_empty() && !text.starts_with(['.', '-']) && text.chars().all(plain)
    };
    match name.split_once('/') {
        None => KNOWN.into_iter().find(short),
        Some((owner, rest)) => (part(owner) && part(rest)).then_some(name),
    }
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
        let snapshot = fs::read_to_string(place.join("refs/main"))
            .ok()
            .map(|commit| place.join("snapshots").join(commit.trim()));
        let missing = |file: &&str| {
            snapshot
                .as_ref()
                .is_none_or(|snapshot| !snapshot.join(file).is_file())
        };
        let missing = [CONFIG_FILE, WEIGHTS_FILE].into_iter().find(missing);
        match (missing, snapshot) {
            (None, Some(snapshot)) => Ok(snapshot),
            (Some(file), _) if self.offline => {
                Err(self.failed(repo, file, "HF_HUB_OFFLINE is set".to_owned()))
            }
            _ => self.download(repo, &place),
        }
    }

    /// Both files at one commit, then the reference to it.
    fn download(&self, repo: &str, place: &Path) -> Result<PathBuf> {
        let client = Client::new(self, repo, place);
        let commit = client
            .get(CONFIG_FILE, "main")
            .map_err(|reason| self.failed(repo, CONFIG_FILE, reason))?;
        let snapshot = place.join("snapshots").join(&commit);
        models::check_architecture(&snapshot.join(CONFIG_FILE))?;
        client
            .get(WEIGHTS_FILE, &commit)
            .and_then(|_| cache::write_reference(place, &commit))
            .map_err(|reason| self.failed(repo, WEIGHTS_FILE, reason))?;
        Ok(snapshot)
    }

    fn failed(&self, repo: &str, file: &'static str, reason: String) -> Error {
        Error::Download {
            repo: repo.to_owned(),
            file,
            cache: self.cache.clone(),
            reason,
        }
    }
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
