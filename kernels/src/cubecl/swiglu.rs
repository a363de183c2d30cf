//! The gate: a unit takes one vector of each operand.

use burn::tensor::TensorMetadata;
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::layout::{array, empty, units, vector};

#[cube]
fn sigmoid<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0);
    // Not `-x`: CubeCL's CUDA has no negative of a vector.
    one / (one + (Vector::new(0.0) - x).exp())
}

#[cube(launch_unchecked)]
fn swiglu_kernel<F: Float, N: Size>(
    gate: &Array<Vector<F, N>>,
    up: &Array<Vector<F, N>>,
    out: &mut Array<Vector<F, N>>,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS < out.len() {
        let gate = Vector::<f32, N>::cast_from(gate[ABSOLUTE_POS]);
        let up = Vector::<f32, N>::cast_from(up[ABSOLUTE_POS]);
        out[ABSOLUTE_POS] = Vector::cast_from(gate * sigmoid::<N>(gate) * up);
    }
}

#[cube(launch_unchecked)]
fn swiglu_backward_kernel<F: Float, N: Size>(
    upstream: &Array<Vector<F, N>>,
    gate: &Array<Vector<F, N>>,
    up: &Array<Vector<F, N>>,
    gate_grad: &mut Array<Vector<F, N>>,
    up_grad: &mut Array<Vector<F, N>>,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS < gate.len() {
        let upstream = Vector::<f32, N>::cast_from(upstream[ABSOLUTE_POS]);
        let gate = Vector::<f32, N>::cast_from(gate[ABSOLUTE_POS]);
        let up = Vector::<f32, N>::cast_from(up[ABSOLUTE_POS]);
        let sigma = sigmoid::<N>(gate);
        let silu = gate * sigma;
        let slope = sigma + silu * (Vector::<f32, N>::new(1.0) - sigma);
        gate_grad[ABSOLUTE_POS] = Vector::cast_from(upstream * up * slope);
        up_grad[ABSOLUTE_POS] = Vector::cast_from(upstream * silu);
    }
}

/// See [`crate::swiglu::swiglu`].
pub(crate) fn forward<R: CubeRuntime>(gate: CubeTensor<R>, up: CubeTensor<R>) -> CubeTensor<R> {
    let [gate, up] = [gate, up].map(into_contiguous);
    let out = empty(&gate, gate.shape(), gate.dtype());
    let elements = gate.meta.num_elements();
    let vector = vector(&gate, elements);
    let (count, dim) = units(&gate, elements / vector);
    // SAFETY: a unit without a vector does nothing.
    unsafe {
        swiglu_kernel::launch_unchecked::<R>(
            &gate.client,
            count,
            dim,
            vector,
            array(&gate),
            array(&up),
            array(&out),
            gate.dtype().into(),
        );
    }
    out
}

/// Gradients of gate and up.
pub(crate) fn backward<R: CubeRuntime>(
    upstream: CubeTensor<R>,
    gate: CubeTensor<R>,
    up: CubeTensor<R>,
) -> [CubeTensor<R>; 2] {
    let [upstream, gate, up] = [upstream, gate, up].map(into_contiguous);
    let grads = [(), ()].map(|()| empty(&gate, gate.shape(), gate.dtype()));
    let elements = gate.meta.num_elements();
    let vector = vector(&gate, elements);
    let (count, dim) = units(&gate, elements / vector);
    // SAFETY: a unit without a vector does nothing.
    unsafe {
        swiglu_backward_kernel::launch_unchecked::<R>(
            &gate.client,
            count,
            dim,
            vector,
            array(&upstream),
            array(&gate),
            array(&up),
            array(&grads[0]),
            array(&grads[1]),
            gate.dtype().into(),
        );
    }
    grads
}
