//! Speech and text corpora to token shards.
