//! NCCL: the collective operations of NVIDIA GPUs, on a stream of their own.
//!
//! CubeCL shows neither its streams nor its events. So the thread that makes the calls first waits until the tensors' own
//! stream is past what makes them, while the trainer goes on giving it work; and a result is handed out when NCCL's stream is
//! past it.

use std::future::Future;
use std::pin::pin;
use std::ptr::null_mut;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use burn::backend::Cuda;
use burn::tensor::{Tensor, TensorPrimitive};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream};
use cudarc::nccl::{result, sys};

use super::{Collective, Pending, World};
use crate::error::{Error, Result};

type Flat = Tensor<Cuda, 1>;

/// The GPUs of a world's processes.
pub(crate) struct Nccl {
    world: World,
    ring: Arc<Ring>,
}

/// What NCCL calls a communicator, and the stream that it works on.
struct Ring {
    comm: sys::ncclComm_t,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
}

// SAFETY: one thread makes all calls.
unsafe impl Send for Ring {}
// SAFETY: see above.
unsafe impl Sync for Ring {}

/// An operation of NCCL on numbers of f32.
#[derive(Clone, Copy)]
enum Operation {
    AllReduce,
    ReduceScatter,
    AllGather,
    Broadcast,
}

impl Nccl {
    /// Brings the processes' GPUs together, each the first that its process sees.
    ///
    /// # Errors
    /// [`Error::World`] if there is no NCCL, or it fails.
    pub fn new(world: &World) -> Result<Self> {
        // SAFETY: this loads a library by its name, and drops it again.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::World(
                "there is no libnccl.so, which GPUs of several processes need; install NCCL, or PyPI's nvidia-nccl-cu12 with its \
                 lib folder in LD_LIBRARY_PATH"
                    .into(),
            ));
        }
        let failed = |error| Error::World(format!("NCCL does not start: {error:?}"));
        let driver = |error| Error::World(format!("the GPU does not start: {error}"));
        let context = CudaContext::new(0).map_err(driver)?;
        let stream = context.new_stream().map_err(driver)?;
        let mine = match world.is_first() {
            true => result::get_uniqueid().map_err(failed)?.internal,
            false => [0; 128],
        };
        let bytes = world.from_first(|| mine.iter().map(|&byte| byte as u8).collect());
        let mut internal = [0; 128];
        for (to, from) in internal.iter_mut().zip(bytes) {
            *to = from as std::ffi::c_char;
        }
        let id = sys::ncclUniqueId { internal };
        context.bind_to_thread().map_err(driver)?;
        let mut comm = null_mut();
        let [rank, size] = [world.rank(), world.size()].map(|number| number as i32);
        // SAFETY: NCCL writes the communicator; all ranks call this with the same identity.
        unsafe { result::comm_init_rank(&mut comm, size, id, rank) }.map_err(failed)?;
        let ring = Ring {
            comm,
            stream,
            context,
        };
        Ok(Self {
            world: world.clone(),
            ring: Arc::new(ring),
        })
    }

    /// `length` is that of the result.
    fn post(&self, operation: Operation, x: Flat, length: usize) -> Pending<Flat> {
        let out = Flat::empty([length], &x.device());
        let (from, to) = (primitive(x), primitive(out.clone()));
        assert!(from.is_contiguous(), "flat tensors lie in order");
        let ranks = self.world.size() as u64;
        let whole = 4 * from.meta.num_elements().max(length) as u64;
        self.world.count_sent(match operation {
            Operation::AllReduce => 2 * whole * (ranks - 1) / ranks,
            Operation::ReduceScatter | Operation::AllGather => whole * (ranks - 1) / ranks,
            Operation::Broadcast => 0,
        });
        let (answer, pending) = Pending::channel();
        let ring = self.ring.clone();
        let mut done: Option<CudaEvent> = None;
        let mut out = Some(out);
        let work = move || match &done {
            None => {
                done = Some(ring.launch(operation, &from, &to));
                false
            }
            Some(event) if event.is_complete() => {
                if let Some(out) = out.take() {
                    let _ = answer.send(out);
                }
                true
            }
            Some(_) => false,
        };
        let hosts = self.world.hosts();
        hosts.when_all_are_here(operation.name(), Box::new(work));
        pending
    }
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::AllReduce => "an all-reduce",
            Self::ReduceScatter => "a reduce-scatter",
            Self::AllGather => "an all-gather",
            Self::Broadcast => "a broadcast",
        }
    }
}

/// A tensor as CubeCL has it.
type Primitive = <Cuda as burn::tensor::backend::BackendTypes>::FloatTensorPrimitive;

fn primitive(x: Flat) -> Primitive {
    let TensorPrimitive::Float(x) = x.into_primitive() else {
        unreachable!("not quantized");
    };
    x
}

impl Ring {
    /// Begins an operation; the event is that of its end.
    ///
    /// # Panics
    /// With NCCL's or the driver's words.
    fn launch(&self, operation: Operation, from: &Primitive, to: &Primitive) -> CudaEvent {
        self.context
            .bind_to_thread()
            .expect("a GPU that worked before");
        let [send, receive] = [from, to].map(|tensor| {
            let found = tensor.client.get_resource(tensor.handle.clone());
            found.unwrap_or_else(|error| panic!("a tensor has no memory: {error:?}"))
        });
        // This thread's stream waits for the tensors' own, and the thread for it.
        block_on(from.client.sync()).unwrap_or_else(|error| panic!("the GPU failed: {error:?}"));
        let (send, receive) = (
            send.resource().ptr as *const _,
            receive.resource().ptr as *mut _,
        );
        let count = from.meta.num_elements();
        let (float, sum) = (sys::ncclDataType_t::ncclFloat32, sys::ncclRedOp_t::ncclSum);
        let (comm, stream) = (self.comm, self.stream.cu_stream().cast());
        // SAFETY: both tensors have the elements that the operation touches, and live until its end.
        let launched = unsafe {
            match operation {
                Operation::AllReduce => {
                    result::all_reduce(send, receive, count, float, sum, comm, stream)
                }
                Operation::ReduceScatter => {
                    let part = to.meta.num_elements();
                    result::reduce_scatter(send, receive, part, float, sum, comm, stream)
                }
                Operation::AllGather => {
                    result::all_gather(send, receive, count, float, comm, stream)
                }
                Operation::Broadcast => {
                    result::broadcast(send, receive, count, float, 0, comm, stream)
                }
            }
        };
        launched.unwrap_or_else(|error| panic!("NCCL failed: {error:?}"));
        self.stream
            .record_event(None)
            .expect("a GPU that worked before")
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: nothing uses it any more.
        let _ = unsafe { result::comm_destroy(self.comm) };
    }
}

/// The result of a future that its own thread brings about.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}

impl Collective<Cuda> for Nccl {
    fn all_reduce(&self, x: Flat) -> Pending<Flat> {
        let [length] = x.dims();
        self.post(Operation::AllReduce, x, length)
    }

    fn reduce_scatter(&self, x: Flat) -> Pending<Flat> {
        let length = x.dims()[0] / self.world.size();
        self.post(Operation::ReduceScatter, x, length)
    }

    fn all_gather(&self, part: Flat) -> Pending<Flat> {
        let length = part.dims()[0] * self.world.size();
        self.post(Operation::AllGather, part, length)
    }

    fn broadcast(&self, x: Flat) -> Pending<Flat> {
        let [length] = x.dims();
        self.post(Operation::Broadcast, x, length)
    }
}
