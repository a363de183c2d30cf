//! What a long job says while it runs: a bar on a terminal, a line every ten seconds otherwise; always on stderr.

use std::io::IsTerminal;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::source::Counter;

const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress through a number of input bytes.
pub struct Progress {
    bar: ProgressBar,
    total: u64,
    /// Bytes of input read.
    read: Counter,
    audio_secs: f64,
    started: Instant,
    /// When the last line was printed; `None` where the bar is shown instead.
    last_line: Option<Instant>,
}

impl Progress {
    /// Starts at zero of `total` bytes, those read being counted in `read`.
    pub fn new(total: u64, read: Counter) -> Self {
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
            read,
            audio_secs: 0.0,
            started,
            last_line: (!terminal).then_some(started),
        }
    }

    /// Shows how far it is, after `audio_secs` of audio.
    pub fn show(&mut self, audio_secs: f64) {
        self.audio_secs = audio_secs;
        // less than is read, where several units share an input
        self.bar.set_position(self.bytes().min(self.total));
        self.bar.set_message(self.message());
        if self
            .last_line
            .is_some_and(|last| last.elapsed() >= LINE_EVERY)
        {
            self.last_line = Some(Instant::now());
            let percent = 100.0 * self.bytes() as f64 / self.total.max(1) as f64;
            let left = self.elapsed_secs() * (100.0 / percent.max(1e-9) - 1.0).max(0.0);
            eprintln!("{percent:5.1} %  {}  {left:.0} s left", self.message());
        }
    }

    /// Bytes of input read.
    pub fn bytes(&self) -> u64 {
        self.read.load(Relaxed)
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
        let elapsed = self.elapsed_secs().max(1e-9);
        let read = format!("{:.1} MB/s", self.bytes() as f64 / elapsed / 1e6);
        if self.audio_secs == 0.0 {
            return read;
        }
        format!(
            "{:.2} h of audio, {:.0} x real time, {read}",
            self.audio_secs / 3600.0,
            self.audio_secs / elapsed
        )
    }
}
