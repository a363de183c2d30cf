//! Signals that ask a run to save its state and stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// Status of a program that ends at a second signal.
const SECOND: i32 = 130;

/// Whether the run was asked to stop: by SIGTERM (Slurm, Kubernetes), SIGINT (Ctrl-C) or SIGUSR1 (Slurm's
/// `--signal=USR1@120`). A second signal ends the program at once.
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// Names of the signals.
    pub const SIGNALS: [&str; 3] = ["SIGTERM", "SIGINT", "SIGUSR1"];

    /// Listens from now on.
    ///
    /// # Errors
    /// Those of the system.
    pub fn listen() -> std::io::Result<Self> {
        let (first, asked) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        for signal in [SIGTERM, SIGINT, SIGUSR1] {
            // In this order: the flag is still down when the first signal arrives.
            flag::register_conditional_shutdown(signal, SECOND, asked.clone())?;
            flag::register(signal, asked.clone())?;
            flag::register_usize(signal, first.clone(), signal as usize)?;
        }
        Ok(Self(first))
    }

    /// Name of the signal that came, if one did.
    pub fn asked(&self) -> Option<&'static str> {
        match self.0.load(Ordering::Relaxed) as i32 {
            SIGTERM => Some(Self::SIGNALS[0]),
            SIGINT => Some(Self::SIGNALS[1]),
            SIGUSR1 => Some(Self::SIGNALS[2]),
            _ => None,
        }
    }
}
