//! Speed of decoding and resampling on one thread, as `audio::open` does both:
//! `cargo run --release -p audio --example decode_speed -- RATE_HZ FILE...`.

use std::path::Path;
use std::time::Instant;

/// Times each file is decoded; the fastest counts, since others may use the machine.
const CALLS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let rate_hz: u32 = args.next().ok_or("which rate, in Hz?")?.parse()?;
    for path in args {
        let input = audio::Input::from(Path::new(&path));
        let mut best = 0f64;
        let mut source_rate_hz = 0;
        for _ in 0..CALLS {
            let start = Instant::now();
            let blocks = audio::open(&input, rate_hz, 1)?;
            source_rate_hz = blocks.source_rate_hz();
            let mut samples = 0;
            for block in blocks {
                samples += block?.len();
            }
            let secs = samples as f64 / f64::from(rate_hz);
            best = best.max(secs / start.elapsed().as_secs_f64());
        }
        println!("{path}: {source_rate_hz} Hz to {rate_hz} Hz at {best:.0} times real time");
    }
    Ok(())
}
