//! MPI: one thread makes all calls, so that the trainer goes on meanwhile and every wait has an end.
//!
//! Before each operation the thread waits, asleep, until all ranks are there: an MPI library waits by spinning, which would
//! take a core from the trainer, and without an end, which would keep a job with a dead rank for ever.

mod exchange;
mod lost;
mod votes;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::mpi::Threading;
use ::mpi::request::{Request, Scope};
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, CommunicatorCollectives};
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
/// Time that an MPI library has to end this process.
const ABORTS: Duration = Duration::from_secs(10);
/// Time in which what is under way is looked at again at once, before the first sleep.
const AWAKE: Duration = Duration::from_micros(100);
/// Longest sleep while other ranks are waited for, and shortest.
const NAPS: [Duration; 2] = [Duration::from_millis(1), Duration::from_micros(20)];

/// The processes that MPI was started with.
pub(super) fn join(launched: &Launched) -> Result<World> {
    let (jobs, queue) = channel();
    let (tell, found) = sync_channel(1);
    let standing = Arc::new(Standing {
        step: AtomicU64::new(0),
        patience: AtomicU64::new(LONG_PATIENCE.as_millis() as u64),
    });
    let sent = Arc::new(AtomicU64::new(0));
    let (shared, counted) = (standing.clone(), sent.clone());
    let thread = thread::Builder::new().name("mpi".into());
    let thread = thread
        .spawn(move || run(&queue, shared, counted, &tell))
        .map_err(|e| Error::World(format!("no thread for MPI: {e}")))?;
    let Ok([rank, size, local_size]) = found.recv() else {
        return Err(Error::World(
            "MPI does not start; its own message says why".into(),
        ));
    };
    if size != launched.size {
        return Err(launched.apart(size));
    }
    let link = Link {
        jobs: Some(jobs),
        thread: Mutex::new(Some(thread)),
        standing,
    };
    Ok(World {
        rank,
        size,
        local_size,
        hosts: Arc::new(link),
        waited: Arc::default(),
        sent,
    })
}

/// Where a rank stands, as the trainer tells the thread.
struct Standing {
    /// Steps finished.
    step: AtomicU64,
    /// Milliseconds that ranks may be apart.
    patience: AtomicU64,
}

/// What the thread is asked for.
enum Job {
    Collective {
        what: &'static str,
        run: Box<dyn FnOnce(&mut Thread) + Send>,
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
        operation: impl FnOnce(&mut Thread) -> T + Send + 'static,
    ) -> Pending<T> {
        let (answer, pending) = Pending::channel();
        let run = Box::new(move |thread: &mut Thread| {
            // A caller that does not wait for it does not need it.
            let _ = answer.send(operation(thread));
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
        self.post("an exchange of numbers", move |thread| thread.gather(bytes))
    }

    fn all_reduce(&self, values: Floats) -> Pending<Floats> {
        self.post("an all-reduce", move |thread| {
            let mut values = floats(&values).to_vec();
            let length = values.len();
            values.resize(length.next_multiple_of(thread.world.size() as usize), 0.0);
            let part = thread.reduce_scatter(&values);
            let mut sums = thread.all_gather(&part);
            sums.truncate(length);
            flat(sums)
        })
    }

    fn reduce_scatter(&self, values: Floats) -> Pending<Floats> {
        let operation = move |thread: &mut Thread| flat(thread.reduce_scatter(floats(&values)));
        self.post("a reduce-scatter", operation)
    }

    fn all_gather(&self, part: Floats) -> Pending<Floats> {
        let operation = move |thread: &mut Thread| flat(thread.all_gather(floats(&part)));
        self.post("an all-gather", operation)
    }

    fn broadcast(&self, values: Floats) -> Pending<Floats> {
        let operation = move |thread: &mut Thread| flat(thread.broadcast(floats(&values)));
        self.post("a broadcast", operation)
    }

    #[cfg(feature = "nccl")]
    fn when_all_are_here(&self, what: &'static str, work: Box<dyn FnMut() -> bool + Send>) {
        let run = Box::new(move |thread: &mut Thread| thread.wait_for(work));
        self.send(Job::Collective { what, run });
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
        thread::sleep(ABORTS);
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

/// The thread, from MPI's start to its end.
fn run(
    queue: &Receiver<Job>,
    standing: Arc<Standing>,
    sent: Arc<AtomicU64>,
    tell: &SyncSender<[usize; 3]>,
) {
    let Some((universe, _)) = ::mpi::initialize_with_threading(Threading::Funneled) else {
        return;
    };
    let world = universe.world();
    let node = world.split_shared(world.rank());
    let place = [world.rank(), world.size(), node.size()];
    let mut thread = Thread {
        pulse: Pulse::new(world.duplicate()),
        votes: Votes::new(world.duplicate()),
        world,
        standing,
        sent,
        what: "",
    };
    let _ = tell.send(place.map(|number| number as usize));
    thread.work(queue);
    thread.meet("the end");
    // Before MPI: it must not be finalized while they hold communicators.
    drop(thread);
    drop(node);
}

struct Thread {
    world: SimpleCommunicator,
    pulse: Pulse,
    votes: Votes,
    standing: Arc<Standing>,
    /// Bytes of tensors sent to others.
    sent: Arc<AtomicU64>,
    /// The operation that is under way.
    what: &'static str,
}

impl Thread {
    fn work(&mut self, queue: &Receiver<Job>) {
        loop {
            let wait = if self.votes.is_empty() { BEAT } else { VOTE };
            match queue.recv_timeout(wait) {
                Ok(Job::Collective { what, run }) => {
                    self.meet(what);
                    run(self);
                }
                Ok(Job::Vote { so, answer }) => self.votes.begin(so, answer),
                Ok(Job::Abort(status)) => {
                    self.pulse.farewell();
                    self.world.abort(status.into())
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.tend();
        }
    }

    /// Returns when all ranks are at this operation.
    fn meet(&mut self, what: &'static str) {
        self.what = what;
        self.pulse.arrived();
        let mut all_here = Some(self.world.immediate_barrier());
        self.wait_for(|| is_complete(&mut all_here));
        self.pulse.all_live();
    }

    /// Waits for what is under way: soon asleep, and not for ever.
    fn wait_for(&mut self, mut is_complete: impl FnMut() -> bool) {
        let since = Instant::now();
        while !is_complete() {
            let waited = since.elapsed();
            if waited < AWAKE {
                thread::yield_now();
                continue;
            }
            thread::sleep((waited / 8).clamp(NAPS[1], NAPS[0]));
            self.tend();
            let patience = Duration::from_millis(self.standing.patience.load(Ordering::Relaxed));
            if let Some(message) = self.pulse.missing(self.what, waited, patience) {
                lost::end(&mut self.pulse, &message);
            }
        }
    }

    /// What is to be done now and then.
    fn tend(&mut self) {
        self.votes.look();
        if let Some(message) = self.pulse.beat(self.standing.step.load(Ordering::Relaxed)) {
            lost::end(&mut self.pulse, &message);
        }
    }
}

/// Whether a request is complete; it is gone then.
fn is_complete<'a, D: ?Sized, S: Scope<'a>>(request: &mut Option<Request<'a, D, S>>) -> bool {
    *request = request.take().and_then(|request| request.test().err());
    request.is_none()
}
