//! Speed of the resampler on one thread: `cargo run --release -p audio --example resample_speed`.

use std::time::Instant;

/// Seconds of noise in a call, and calls a rate.
const SECS: u32 = 20;
const CALLS: u32 = 10;

fn main() -> audio::Result<()> {
    for from_hz in [16_000, 22_050, 44_100, 48_000, 96_000, 384_000] {
        let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0;
        let samples: Vec<f32> = (0..from_hz * SECS).map(noise).collect();
        let start = Instant::now();
        for _ in 0..CALLS {
            audio::resample(&samples, from_hz, 24_000)?;
        }
        let rate = f64::from(SECS * CALLS) / start.elapsed().as_secs_f64();
        println!("{from_hz} Hz to 24000 Hz: {rate:.0} times real time");
    }
    Ok(())
}
