//! Collective operations on tensors.

use std::sync::Arc;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::{Floats, Hosts, Pending};

/// Operations that all ranks do together on flat tensors of f32, in the same order on each.
///
/// They go on while the caller does, one after the other. Bytes that each of `r` ranks sends for tensors that are `[n]` as a
/// whole: `4 n (r − 1) / r` for [`reduce_scatter`](Self::reduce_scatter) and [`all_gather`](Self::all_gather), which is the
/// least there can be, and twice as many for [`all_reduce`](Self::all_reduce) (Patarasu & Yuan 2009).
pub trait Collective<B: Backend>: Send + Sync {
    /// Sum over ranks: `[n]` to `[n]`.
    fn all_reduce(&self, x: Tensor<B, 1>) -> Pending<Tensor<B, 1>>;

    /// This rank's part of the sum over ranks: `[r · n]` to `[n]`.
    fn reduce_scatter(&self, x: Tensor<B, 1>) -> Pending<Tensor<B, 1>>;

    /// The parts of all ranks, one after the other: `[n]` to `[r · n]`.
    fn all_gather(&self, part: Tensor<B, 1>) -> Pending<Tensor<B, 1>>;

    /// The tensor of the first rank, `[n]`.
    fn broadcast(&self, x: Tensor<B, 1>) -> Pending<Tensor<B, 1>>;
}

/// Through the memory of the hosts, where a processor's tensors are anyway: they are not copied.
pub struct ThroughHosts<B: Backend> {
    hosts: Arc<dyn Hosts>,
    device: B::Device,
}

impl<B: Backend> ThroughHosts<B> {
    /// For tensors of a device.
    pub fn new(hosts: Arc<dyn Hosts>, device: &B::Device) -> Self {
        Self {
            hosts,
            device: device.clone(),
        }
    }

    fn upload(&self, values: Pending<Floats>) -> Pending<Tensor<B, 1>> {
        let device = self.device.clone();
        values.map(move |values| Tensor::from_data(values, &device))
    }
}

fn download<B: Backend>(x: Tensor<B, 1>) -> Floats {
    x.into_data().convert_dtype(DType::F32)
}

impl<B: Backend> Collective<B> for ThroughHosts<B> {
    fn all_reduce(&self, x: Tensor<B, 1>) -> Pending<Tensor<B, 1>> {
        self.upload(self.hosts.all_reduce(download(x)))
    }

    fn reduce_scatter(&self, x: Tensor<B, 1>) -> Pending<Tensor<B, 1>> {
        self.upload(self.hosts.reduce_scatter(download(x)))
    }

    fn all_gather(&self, part: Tensor<B, 1>) -> Pending<Tensor<B, 1>> {
        self.upload(self.hosts.all_gather(download(part)))
    }

    fn broadcast(&self, x: Tensor<B, 1>) -> Pending<Tensor<B, 1>> {
        self.upload(self.hosts.broadcast(download(x)))
    }
}
