//! Questions that all ranks answer beside the operations of the trainer.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;

use ::mpi::ffi;
use ::mpi::raw::AsRaw;
use ::mpi::topology::SimpleCommunicator;

/// Votes that are under way, in their order. They have their own communicator, and never block, so that they and other
/// operations may meet in any order.
pub(super) struct Votes {
    world: SimpleCommunicator,
    under_way: VecDeque<Vote>,
}

struct Vote {
    /// This rank's, and that of all; MPI holds their addresses.
    values: Box<[i32; 2]>,
    request: ffi::MPI_Request,
    answer: SyncSender<bool>,
}

impl Votes {
    pub fn new(world: SimpleCommunicator) -> Self {
        Self {
            world,
            under_way: VecDeque::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Begins a vote; `answer` gets whether all ranks say so.
    pub fn begin(&mut self, so: bool, answer: SyncSender<bool>) {
        let mut values = Box::new([i32::from(so), 0]);
        // SAFETY: the values stay where they are until MPI has told that the operation is complete.
        let request = unsafe {
            let mut request = ffi::RSMPI_REQUEST_NULL;
            let [mine, all] = values.each_mut().map(std::ptr::from_mut);
            ffi::MPI_Iallreduce(
                mine.cast(),
                all.cast(),
                1,
                ffi::RSMPI_INT32_T,
                ffi::RSMPI_MIN,
                self.world.as_raw(),
                &mut request,
            );
            request
        };
        self.under_way.push_back(Vote {
            values,
            request,
            answer,
        });
    }

    /// Tells the answers that are there.
    pub fn look(&mut self) {
        while let Some(vote) = self.under_way.front_mut() {
            let mut is_complete = 0;
            // SAFETY: the request was made by `begin` and is not used after its completion.
            unsafe {
                ffi::MPI_Test(
                    &mut vote.request,
                    &mut is_complete,
                    ffi::RSMPI_STATUS_IGNORE,
                )
            };
            if is_complete == 0 {
                return;
            }
            if let Some(vote) = self.under_way.pop_front() {
                let _ = vote.answer.send(vote.values[1] == 1);
            }
        }
    }
}
