//! MPI: one thread makes all calls, so that the trainer goes on meanwhile and every wait has an end.
//!
//! Before each operation the thread waits, asleep, until all ranks are there: an MPI library waits by spinning, which would
//! take a core from the trainer, and without an end, which would keep a job with a dead rank for ever.

mod lost;
mod pairwise;
mod votes;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::mpi::Threading;
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, CommunicatorCollectives, Root};
use burn::tensor::TensorData;

use super::launcher::Launched;
use super::{Floats, Hosts, LONG_PATIENCE, Pending, World};
use crate::error::{Error, Result};
use lost::Pulse;
use votes::Votes;

/// Between two looks at what ranks say of themselves.
const BEAT: Duration = Duration::from_millis(200);
/// Between two looks at a vote.
const VOTE: Duration = Duration::from_millis(2);
/// Longest sleep while other ranks are waited for, and shortest.
const NAPS: [Duration; 2] = [Duration::from_millis(1), Duration::from_micros(20)];

/// The processes that MPI was started with.
pub(super) fn join(launched: &Launched) -> Result<World> {
    let (jobs, queue) = channel();
    let (tell, found) = sync_channel(1);
    let standing = Arc::new(Standing::new());
    let shared = standing.clone();
    let thread = thread::Builder::new().name("mpi".into());
    let thread = thread
        .spawn(move || run(&queue, &shared, &tell))
        .map_err(|e| Error::World(format!("no thread for MPI: {e}")))?;
    let Ok([rank, size, local_rank]) = found.recv() else {
        return Err(Error::World(
            "MPI does not start; its own message says why".into(),
        ));
    };
    if size != launched.size {
        return Err(launched.apart(size));
    }
    let sent = Arc::new(AtomicU64::new(0));
    let link = Link {
        sent: sent.clone(),
        jobs: Some(jobs),
        thread: Mutex::new(Some(thread)),
        standing: standing.clone(),
    };
    lost::watch(standing, rank);
    Ok(World {
        rank,
        size,
        local_rank,
        hosts: Arc::new(link),
        waited: Arc::default(),
        sent,
    })
}

/// Where a rank stands, for its threads.
struct Standing {
    /// Steps finished.
    step: AtomicU64,
    /// Milliseconds that ranks may be apart.
    patience: AtomicU64,
    /// The operation that MPI is in, and since when.
    inside: Mutex<Option<(&'static str, Instant)>>,
}

impl Standing {
    fn new() -> Self {
        Self {
            step: AtomicU64::new(0),
            patience: AtomicU64::new(LONG_PATIENCE.as_millis() as u64),
            inside: Mutex::new(None),
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.patience.load(Ordering::Relaxed))
    }
}

/// What the thread is asked for.
enum Job {
    Collective {
        what: &'static str,
        run: Box<dyn FnOnce(&SimpleCommunicator) + Send>,
    },
    Vote {
        so: bool,
        answer: SyncSender<bool>,
    },
    Abort(u8),
}

/// The way to the thread. When it is dropped, MPI is finalized.
struct Link {
    jobs: Option<Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    standing: Arc<Standing>,
    /// Bytes of tensors.
    sent: Arc<AtomicU64>,
}

impl Link {
    fn send(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("dropped last");
        // The thread ends before its queue only with the whole program.
        let _ = jobs.send(job);
    }

    fn post<T: Send + 'static>(
        &self,
        what: &'static str,
        operation: impl FnOnce(&SimpleCommunicator) -> T + Send + 'static,
    ) -> Pending<T> {
        let (answer, pending) = Pending::channel();
        let run = Box::new(move |world: &SimpleCommunicator| {
            // A caller that does not wait for it does not need it.
            let _ = answer.send(operation(world));
        });
        self.send(Job::Collective { what, run });
        pending
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let thread = self.thread.lock().expect("no panic holds it").take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Hosts for Link {
    fn gather(&self, bytes: Vec<u8>) -> Pending<Vec<Vec<u8>>> {
        self.post("an exchange of numbers", move |world| gather(world, bytes))
    }

    fn all_reduce(&self, values: Floats) -> Pending<Floats> {
        let sent = self.sent.clone();
        self.post("an all-reduce", move |world| {
            let mut values = floats(&values).to_vec();
            let length = values.len();
            values.resize(length.next_multiple_of(world.size() as usize), 0.0);
            let part = pairwise::reduce_scatter(world, &values, &sent);
            let mut sums = all_gather(world, &part, &sent);
            sums.truncate(length);
            flat(sums)
        })
    }

    fn reduce_scatter(&self, values: Floats) -> Pending<Floats> {
        let sent = self.sent.clone();
        self.post("a reduce-scatter", move |world| {
            flat(pairwise::reduce_scatter(world, floats(&values), &sent))
        })
    }

    fn all_gather(&self, part: Floats) -> Pending<Floats> {
        let sent = self.sent.clone();
        self.post("an all-gather", move |world| {
            flat(all_gather(world, floats(&part), &sent))
        })
    }

    fn broadcast(&self, values: Floats) -> Pending<Floats> {
        self.post("a broadcast", move |world| {
            let mut values = floats(&values).to_vec();
            world.process_at_rank(0).broadcast_into(&mut values[..]);
            flat(values)
        })
    }

    fn agree(&self, so: bool) -> bool {
        let (answer, pending) = Pending::channel();
        self.send(Job::Vote { so, answer });
        pending.wait()
    }

    fn stands_at(&self, step: u64, patience: Duration) {
        let Standing {
            step: at,
            patience: limit,
            ..
        } = &*self.standing;
        at.store(step, Ordering::Relaxed);
        limit.store(patience.as_millis() as u64, Ordering::Relaxed);
    }

    fn abort(&self, status: u8) {
        self.send(Job::Abort(status));
        // The library ends this process, too.
        thread::sleep(lost::WATCHED);
        std::process::exit(status.into());
    }
}

fn floats(values: &Floats) -> &[f32] {
    values.as_slice().expect("f32 values")
}

fn flat(values: Vec<f32>) -> Floats {
    let count = values.len();
    TensorData::new(values, [count])
}

fn all_gather(world: &SimpleCommunicator, part: &[f32], sent: &AtomicU64) -> Vec<f32> {
    let ranks = world.size() as usize;
    let length = part.len() * ranks;
    let mut all = Vec::with_capacity(length);
    // SAFETY: MPI writes all of it, and reads none.
    #[allow(clippy::uninit_vec)]
    unsafe {
        all.set_len(length)
    };
    world.all_gather_into(part, &mut all[..]);
    sent.fetch_add((4 * part.len() * (ranks - 1)) as u64, Ordering::Relaxed);
    all
}

/// Bytes of all ranks, which need not be equally many.
fn gather(world: &SimpleCommunicator, bytes: Vec<u8>) -> Vec<Vec<u8>> {
    let ranks = world.size() as usize;
    let mut lengths = vec![0u64; ranks];
    world.all_gather_into(&(bytes.len() as u64), &mut lengths[..]);
    let longest = lengths.iter().max().copied().unwrap_or_default() as usize;
    if longest == 0 {
        return vec![Vec::new(); ranks];
    }
    let mut padded = bytes;
    padded.resize(longest, 0);
    let mut all = vec![0u8; longest * ranks];
    world.all_gather_into(&padded[..], &mut all[..]);
    let parts = all.chunks_exact(longest).zip(lengths);
    parts
        .map(|(part, length)| part[..length as usize].to_vec())
        .collect()
}

/// The thread, from MPI's start to its end.
fn run(queue: &Receiver<Job>, standing: &Standing, tell: &SyncSender<[usize; 3]>) {
    let Some((universe, _)) = ::mpi::initialize_with_threading(Threading::Funneled) else {
        return;
    };
    let world = universe.world();
    let node = world.split_shared(world.rank());
    let place = [world.rank(), world.size(), node.rank()];
    let mut thread = Thread {
        pulse: Pulse::new(world.duplicate()),
        votes: Votes::new(world.duplicate()),
        world,
        standing,
    };
    let _ = tell.send(place.map(|number| number as usize));
    thread.work(queue);
    thread.meet("the end");
    // Before MPI: it must not be finalized while they hold communicators.
    drop(thread);
    drop(node);
}

struct Thread<'a> {
    world: SimpleCommunicator,
    pulse: Pulse,
    votes: Votes,
    standing: &'a Standing,
}

impl Thread<'_> {
    fn work(&mut self, queue: &Receiver<Job>) {
        loop {
            let wait = if self.votes.is_empty() { BEAT } else { VOTE };
            match queue.recv_timeout(wait) {
                Ok(Job::Collective { what, run }) => {
                    self.meet(what);
                    *self.inside() = Some((what, Instant::now()));
                    run(&self.world);
                    *self.inside() = None;
                    self.pulse.all_live();
                }
                Ok(Job::Vote { so, answer }) => self.votes.begin(so, answer),
                Ok(Job::Abort(status)) => self.world.abort(status.into()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.tend();
        }
    }

    fn inside(&self) -> std::sync::MutexGuard<'_, Option<(&'static str, Instant)>> {
        self.standing.inside.lock().expect("no panic holds it")
    }

    /// Returns when all ranks are at this operation.
    fn meet(&mut self, what: &str) {
        self.pulse.arrived();
        let mut all_here = self.world.immediate_barrier();
        let since = Instant::now();
        while let Err(request) = all_here.test() {
            all_here = request;
            let waited = since.elapsed();
            thread::sleep((waited / 8).clamp(NAPS[1], NAPS[0]));
            self.tend();
            if let Some(message) = self.pulse.missing(what, waited, self.standing.patience()) {
                lost::end(&self.world, &message);
            }
        }
        self.pulse.all_live();
    }

    /// What is to be done now and then.
    fn tend(&mut self) {
        self.votes.look();
        if let Some(message) = self.pulse.beat(self.standing.step.load(Ordering::Relaxed)) {
            lost::end(&self.world, &message);
        }
    }
}
