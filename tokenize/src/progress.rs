//! What a long job says while it runs: a bar on a terminal, a line every ten seconds otherwise; always on stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress through a number of input bytes.
pub struct Progress {
    bar: ProgressBar,
    total: u64,
    done: u64,
    audio_secs: f64,
    started: Instant,
    /// When the last line was printed; `None` where the bar is shown instead.
    last_line: Option<Instant>,
}

impl Progress {
    /// Starts at zero of `total` bytes.
    pub fn new(total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = match terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template = "{bar:30} {percent:>3} %  {msg}  {elapsed} elapsed, {eta} left";
        bar.set_style(ProgressStyle::with_template(template).expect("a valid template"));
        let started = Instant::now();
        Progress {
            bar,
            total,
            done: 0,
            audio_secs: 0.0,
            started,
            last_line: (!terminal).then_some(started),
        }
    }

    /// Counts `bytes` of input, which held `audio_secs` of audio.
    pub fn add(&mut self, bytes: u64, audio_secs: f64) {
        self.done += bytes;
        self.audio_secs += audio_secs;
        self.bar.set_position(self.done);
        self.bar.set_message(self.message());
        if self
            .last_line
            .is_some_and(|last| last.elapsed() >= LINE_EVERY)
        {
            self.last_line = Some(Instant::now());
            let percent = 100.0 * self.done as f64 / self.total.max(1) as f64;
            let left = self.elapsed_secs() * (100.0 / percent.max(1e-9) - 1.0);
            eprintln!("{percent:5.1} %  {}  {left:.0} s left", self.message());
        }
    }

    /// Removes the bar and returns the seconds since the start.
    pub fn finish(self) -> f64 {
        self.bar.finish_and_clear();
        self.elapsed_secs()
    }

    /// Seconds since the start.
    pub fn elapsed_secs(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn message(&self) -> String {
        let rate = self.audio_secs / self.elapsed_secs().max(1e-9);
        format!(
            "{:.2} h of audio, {rate:.0} x real time",
            self.audio_secs / 3600.0
        )
    }
}
