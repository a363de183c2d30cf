//! `tokenize`: speech and text corpora to token shards.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tokenize::commands::main()
}
