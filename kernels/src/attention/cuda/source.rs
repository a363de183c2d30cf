//! The sources of the kernels, and the sizes of their tiles.

#[cfg(any(test, feature = "cuda"))]
use crate::attention::Sizes;

/// Head dimensions that there are kernels for.
pub const HEAD_DIMS: [usize; 3] = [64, 96, 128];

/// Threads of a block.
pub const THREADS: u32 = 128;

const PTX: &str = include_str!("ptx.cuh");
const TILE: &str = include_str!("tile.cuh");
const QUERIES: &str = include_str!("queries.cuh");
const FORWARD: &str = include_str!("forward.cu");
const BACKWARD_QUERY: &str = include_str!("backward_query.cu");
const BACKWARD_KEY: &str = include_str!("backward_key.cu");

/// Changes when any of the files does: compiled kernels are kept on disk.
pub const HASH: u64 = hash(&[PTX, TILE, QUERIES, FORWARD, BACKWARD_QUERY, BACKWARD_KEY]);

/// What a kernel makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Results and logsumexp.
    Forward,
    /// Gradients of queries, and the mean that the gradients of keys need.
    BackwardQuery,
    /// Gradients of keys and values.
    BackwardKey,
}

/// A kernel for one head dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// What it makes.
    pub pass: Pass,
    /// One of [`HEAD_DIMS`].
    pub head_dim: usize,
}

impl Variant {
    /// All kernels.
    pub fn all() -> impl Iterator<Item = Self> {
        let passes = [Pass::Forward, Pass::BackwardQuery, Pass::BackwardKey];
        passes.into_iter().flat_map(|pass| {
            HEAD_DIMS
                .into_iter()
                .map(move |head_dim| Self { pass, head_dim })
        })
    }

    /// The kernel's name in its source.
    pub fn entry(self) -> &'static str {
        match self.pass {
            Pass::Forward => "attention_forward",
            Pass::BackwardQuery => "attention_backward_query",
            Pass::BackwardKey => "attention_backward_key",
        }
    }

    /// Queries, or keys, whose results a block makes, 16 or 32 of them in each of its four warps.
    pub fn rows(self) -> usize {
        match (self.pass, self.head_dim) {
            (Pass::BackwardKey, 96 | 128) => 64,
            _ => 128,
        }
    }

    /// Keys, or queries, that a block reads at a time: as many as leave a thread its sums in registers.
    pub fn columns(self) -> usize {
        match (self.pass, self.head_dim) {
            (Pass::Forward, _) | (Pass::BackwardQuery, 64) | (Pass::BackwardKey, 96 | 128) => 64,
            _ => 32,
        }
    }

    /// Bytes of shared memory of a block: less than the 99 KiB that the smallest GPU of compute capability 8 has, and so that
    /// two blocks have room in the 227 KiB of an H100.
    pub fn shared_bytes(self) -> usize {
        let row = 2 * self.head_dim;
        let (rows, columns) = (self.rows() * row, self.columns() * row);
        // two stages of a tile of keys and one of values; of queries, of their results' gradients, and of three numbers each
        match self.pass {
            Pass::Forward => rows + 4 * columns,
            Pass::BackwardQuery => 2 * rows + 4 * columns,
            Pass::BackwardKey => 2 * rows + 4 * columns + 2 * 3 * 4 * self.columns(),
        }
    }

    /// Blocks: heads, tiles of rows, batch. Heads are the fastest, so that those that share keys run together.
    #[cfg(any(test, feature = "cuda"))]
    pub(in crate::attention) fn grid(self, sizes: Sizes) -> [u32; 3] {
        let heads = match self.pass {
            Pass::Forward | Pass::BackwardQuery => sizes.heads,
            Pass::BackwardKey => sizes.kv_heads,
        };
        [heads, sizes.time.div_ceil(self.rows()), sizes.batch].map(|blocks| blocks as u32)
    }

    /// The source for a GPU.
    pub fn source(self) -> String {
        self.source_with(PTX)
    }

    /// The source with other definitions of the functions of `ptx.cuh`.
    pub fn source_with(self, instructions: &str) -> String {
        let kernel = match self.pass {
            Pass::Forward => FORWARD,
            Pass::BackwardQuery => BACKWARD_QUERY,
            Pass::BackwardKey => BACKWARD_KEY,
        };
        format!(
            "constexpr int HEAD_DIM = {}, ROWS = {}, COLUMNS = {};\n{instructions}\n{TILE}\n{QUERIES}\n{kernel}",
            self.head_dim,
            self.rows(),
            self.columns(),
        )
    }
}

/// FNV-1a.
const fn hash(files: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut file = 0;
    while file < files.len() {
        let bytes = files[file].as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
            i += 1;
        }
        file += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_suffices_on_every_gpu_that_is_served() {
        for variant in Variant::all() {
            let bytes = variant.shared_bytes();
            assert!(bytes <= 99 * 1024, "{variant:?}: {bytes}");
            // 1 KiB of each block belongs to the system
            assert!(2 * (bytes + 1024) <= 228 * 1024, "{variant:?}: {bytes}");
        }
    }

    #[test]
    fn the_hash_is_that_of_all_files() {
        assert_eq!(hash(&["a"]), 0xaf63_dc4c_8601_ec8c); // of the algorithm's published tests
        assert_ne!(hash(&["a", "b"]), hash(&["a"]));
    }
}
