//! Ranks that are dead, hang or lag: found within a minute, named, and the job ended everywhere.
//!
//! Each rank tells the first, five times a second, how many operations it has come to and the last step it finished; the
//! first tells the second that it lives. Whoever waits too long, or hears nothing for too long, ends the job.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::mpi::ffi;
use ::mpi::raw::AsRaw;
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, Source};

use super::BEAT;
use crate::cli::STOPPED;

/// A rank of which nothing was heard for so long is lost: its process is stopped, or its machine is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// A rank that says nothing for so long after a signal to end is named: its death is what the signal is for.
const SIGNALLED: Duration = Duration::from_millis(450);
/// What others wait longer than the first rank, which knows more.
const LONGER: Duration = Duration::from_secs(8);

/// Said instead of a number of operations by a rank that ends the job.
const GONE: u64 = u64::MAX;

/// What a rank last said of itself.
#[derive(Clone, Copy)]
struct Said {
    operation: u64,
    step: u64,
    at: Instant,
}

/// What is known of the other ranks.
pub(super) struct Pulse {
    world: SimpleCommunicator,
    /// Operations that this rank has come to.
    operation: u64,
    step: u64,
    beaten: Instant,
    telling: Telling,
    /// Of every rank; the first knows all, the second the first, others nothing.
    said: Vec<Said>,
    signalled: Signalled,
}

impl Pulse {
    pub fn new(world: SimpleCommunicator) -> Self {
        let nothing = Said {
            operation: 0,
            step: 0,
            at: Instant::now(),
        };
        Self {
            operation: 0,
            step: 0,
            beaten: Instant::now(),
            telling: Telling::default(),
            said: vec![nothing; world.size() as usize],
            signalled: Signalled::listen(),
            world,
        }
    }

    /// This rank has come to the next operation.
    pub fn arrived(&mut self) {
        self.operation += 1;
    }

    /// All ranks have taken part in something just now.
    pub fn all_live(&mut self) {
        let now = Instant::now();
        self.said.iter_mut().for_each(|said| said.at = now);
    }

    /// Says that this rank ends by itself, so that nobody takes it for dead.
    pub fn farewell(&mut self) {
        self.operation = GONE;
        self.tell();
    }

    /// Tells and hears, if it is time to. Says which ranks are silent, if that ends the job.
    pub fn beat(&mut self, step: u64) -> Option<String> {
        self.step = step;
        if self.beaten.elapsed() >= BEAT {
            self.beaten = Instant::now();
            self.tell();
            self.hear();
        }
        if let Some(limit) = self.signalled.told() {
            self.name_the_dead(limit);
        }
        let silent = self.silent(SILENCE);
        (!silent.is_empty()).then(|| format!("{}. {GO_ON}", silent.join(", ")))
    }

    /// Who keeps this rank waiting at an operation, if it was longer than it may be.
    pub fn missing(&self, what: &str, waited: Duration, patience: Duration) -> Option<String> {
        let first = self.world.rank() == 0;
        let limit = if first { patience } else { patience + LONGER };
        if waited < limit {
            return None;
        }
        let secs = waited.as_secs();
        let step = self.step;
        let mut message = format!("waited {secs} s for {what} after step {step}: ");
        let behind: Vec<String> = (1..self.said.len())
            .filter(|&rank| first && self.said[rank].operation < self.operation)
            .map(|rank| {
                format!(
                    "rank {rank} lives but is behind, at step {}",
                    self.said[rank].step
                )
            })
            .collect();
        match behind.is_empty() {
            true => write!(message, "rank 0 does not say who is missing, or is itself"),
            false => write!(message, "{}", behind.join(", ")),
        }
        .expect("a string grows");
        Some(format!("{message}. {GO_ON}"))
    }

    /// Not by a send that blocks: it does as soon as a rank that hangs has left too much unread.
    fn tell(&mut self) {
        let to = match self.world.rank() {
            0 => 1,
            _ => 0,
        };
        if to < self.world.size() && self.telling.is_over() {
            self.telling
                .send([self.operation, self.step], to, &self.world);
        }
    }

    fn hear(&mut self) {
        let anyone = self.world.any_process();
        while anyone.immediate_probe().is_some() {
            let mut said = [0u64; 2];
            let status = anyone.receive_into(&mut said[..]);
            let [operation, step] = said;
            self.said[status.source_rank() as usize] = Said {
                operation,
                step,
                at: Instant::now(),
            };
        }
    }

    /// Ranks that this one should have heard of.
    fn silent(&self, limit: Duration) -> Vec<String> {
        let heard = match self.world.rank() {
            0 => 1..self.said.len(),
            1 => 0..1,
            _ => 0..0,
        };
        let silent = heard.filter(|&rank| {
            let said = self.said[rank];
            said.at.elapsed() > limit && said.operation != GONE
        });
        let name = |rank: usize| {
            let Said { step, at, .. } = self.said[rank];
            let secs = at.elapsed().as_secs_f64();
            format!("rank {rank} is silent since {secs:.1} s; the last step it finished is {step}")
        };
        silent.map(name).collect()
    }

    /// The launcher ends a job whose rank has died by a signal, and leaves little time to say which it was.
    fn name_the_dead(&mut self, limit: Duration) {
        let silent = self.silent(limit);
        if !silent.is_empty() && !self.signalled.named {
            self.signalled.named = true;
            eprintln!(
                "pretrain: rank {}: {}. {GO_ON}",
                self.world.rank(),
                silent.join(", ")
            );
        }
    }
}

/// A message that is on its way.
struct Telling {
    /// MPI holds its address.
    said: Box<[u64; 2]>,
    request: ffi::MPI_Request,
}

impl Default for Telling {
    fn default() -> Self {
        Self {
            said: Box::default(),
            // SAFETY: a constant of the library.
            request: unsafe { ffi::RSMPI_REQUEST_NULL },
        }
    }
}

impl Telling {
    fn is_over(&mut self) -> bool {
        let mut is_complete = 0;
        // SAFETY: the request is that of the last message, or none.
        unsafe {
            ffi::MPI_Test(
                &mut self.request,
                &mut is_complete,
                ffi::RSMPI_STATUS_IGNORE,
            )
        };
        is_complete != 0
    }

    fn send(&mut self, said: [u64; 2], to: i32, world: &SimpleCommunicator) {
        *self.said = said;
        // SAFETY: the message stays where it is, and as it is, until `is_over`.
        unsafe {
            ffi::MPI_Isend(
                self.said.as_ptr().cast(),
                2,
                ffi::RSMPI_UINT64_T,
                to,
                0,
                world.as_raw(),
                &mut self.request,
            )
        };
    }
}

const GO_ON: &str = "The job ends; go on with --resume";

/// Whether a signal to end has come.
struct Signalled {
    flag: Arc<AtomicBool>,
    since: Option<Instant>,
    named: bool,
}

impl Signalled {
    fn listen() -> Self {
        let flag = Arc::new(AtomicBool::new(false));
        // Without it a dead rank is named by the launcher only.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGTERM, flag.clone());
        Self {
            flag,
            since: None,
            named: false,
        }
    }

    /// After a signal: for how long a rank must have been silent to be dead.
    fn told(&mut self) -> Option<Duration> {
        if self.since.is_none() && self.flag.load(Ordering::Relaxed) {
            self.since = Some(Instant::now());
        }
        // A rank that died just before has to miss two beats.
        self.since
            .filter(|since| since.elapsed() > SIGNALLED)
            .map(|_| SIGNALLED)
    }
}

/// Ends the job on all ranks, with the status of a run that goes on with `--resume`.
pub(super) fn end(pulse: &mut Pulse, message: &str) -> ! {
    eprintln!("pretrain: rank {}: {message}", pulse.world.rank());
    pulse.farewell();
    pulse.world.abort(STOPPED.into())
}
