//! Servers of tests, on this machine, that misbehave as they are told to: of HTTP, and on it of S3.

mod s3;
mod server;

pub use s3::S3;
pub use server::{Reply, Request, Server, UNREAD};

/// Bytes that differ at different places.
pub fn content(size: usize) -> Vec<u8> {
    (0..size)
        .map(|i| (i * 31 % 251 + i / 65_537) as u8)
        .collect()
}
