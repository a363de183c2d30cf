//! The update in one pass over value, gradient and moments, 28 bytes an element.
//!
//! A cautious one first counts the elements that agree with their gradient, from 12 bytes each. It computes their steps
//! again afterwards: to keep them would cost the 8 bytes of a write and a read, and a buffer.
//! Sums of squares take no traffic of their own; what is measured stays on the device.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::layout::{UNITS, array, empty, owned, parts, vector, zeros};
use super::sums::{sum_lanes, sum_parts, total};
use crate::adamw::{Moments, Parameter, Rule, Squares, Updated};

/// A rule's numbers in the precision they are used in.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Factors {
    grad_scale: f32,
    /// 1 − β of the mean.
    mean_rate: f32,
    /// 1 − β of the mean square.
    square_rate: f32,
    /// With the bias correction.
    epsilon: f32,
    /// With the bias correction.
    lr: f32,
    decay: f32,
}

/// Elements of a vector with the gradient in their moments, and what they ask for.
#[derive(CubeType, Clone, Copy)]
struct Step<N: Size> {
    mean: Vector<f32, N>,
    square: Vector<f32, N>,
    /// To be subtracted, with the learning rate.
    change: Vector<f32, N>,
    /// 1 where it points along the gradient, else 0.
    agrees: Vector<f32, N>,
}

#[cube]
fn step<N: Size>(
    grad: Vector<f32, N>,
    mean: Vector<f32, N>,
    square: Vector<f32, N>,
    factors: &Factors,
) -> Step<N> {
    let grad = grad * Vector::new(factors.grad_scale);
    let mean = mean + (grad - mean) * Vector::new(factors.mean_rate);
    let square = square + (grad * grad - square) * Vector::new(factors.square_rate);
    let change = mean / (square.sqrt() + Vector::new(factors.epsilon)) * Vector::new(factors.lr);
    let along = (grad * change).greater_than(Vector::new(0.0));
    Step::<N> {
        mean,
        square,
        change,
        agrees: select_many(along, Vector::new(1.0), Vector::new(0.0)),
    }
}

/// The sum of a cube's vectors, as its part. All units call it together.
#[cube]
fn put_part<N: Size>(value: Vector<f32, N>, parts: &mut Array<f32>) {
    let sum = sum_lanes::<Const<1>>(Vector::new(total::<N>(value)), UNITS);
    if UNIT_POS == 0 {
        parts[CUBE_POS] = sum[0];
    }
}

#[cube(launch_unchecked)]
fn adamw_agreeing_kernel<N: Size>(
    grad: &Array<Vector<f32, N>>,
    mean: &Array<Vector<f32, N>>,
    square: &Array<Vector<f32, N>>,
    agreeing: &mut Array<f32>,
    factors: Factors,
) {
    let mut count = Vector::<f32, N>::new(0.0);
    for at in range_stepped(ABSOLUTE_POS, grad.len(), CUBE_COUNT * UNITS) {
        count += step::<N>(grad[at], mean[at], square[at], &factors).agrees;
    }
    put_part::<N>(count, agreeing);
}

#[cube(launch_unchecked)]
fn adamw_kernel<N: Size>(
    grad: &Array<Vector<f32, N>>,
    agreeing: &ComptimeOption<Array<f32>>,
    value: &mut Array<Vector<f32, N>>,
    mean: &mut Array<Vector<f32, N>>,
    square: &mut Array<Vector<f32, N>>,
    changed: &mut Array<f32>,
    values: &mut Array<f32>,
    caution_epsilon: f32,
    factors: Factors,
) {
    #[comptime]
    let scale = match agreeing {
        ComptimeOption::Some(agreeing) => {
            let elements = f32::cast_from(value.len() * N::value());
            1.0 / (agreeing[0] / elements + caution_epsilon)
        }
        ComptimeOption::None => f32::new(1.0),
    };
    let mut of_changes = Vector::<f32, N>::new(0.0);
    let mut of_values = Vector::<f32, N>::new(0.0);
    for at in range_stepped(ABSOLUTE_POS, value.len(), CUBE_COUNT * UNITS) {
        let step = step::<N>(grad[at], mean[at], square[at], &factors);
        mean[at] = step.mean;
        square[at] = step.square;
        #[comptime]
        let change = match agreeing {
            // Multiplied, so that NaN stays.
            ComptimeOption::Some(_) => step.change * step.agrees * Vector::new(scale),
            ComptimeOption::None => step.change,
        };
        // Not as `value · (1 − decay)`: that factor's rounding error is not small beside `decay`.
        let change = change + value[at] * Vector::new(factors.decay);
        let new = value[at] - change;
        value[at] = new;
        of_changes += change * change;
        of_values += new * new;
    }
    put_part::<N>(of_changes, changed);
    put_part::<N>(of_values, values);
}

/// See [`crate::adamw::adamw`].
pub(crate) fn adamw<R: CubeRuntime>(
    parameter: Parameter<CubeTensor<R>>,
    rule: &Rule,
    measure: bool,
) -> Updated<CubeTensor<R>> {
    let Parameter {
        value,
        grad,
        moments,
    } = parameter;
    let elements = value.meta.num_elements();
    let moments = moments.unwrap_or_else(|| Moments {
        mean: zeros(&value, Shape::new([elements])),
        square: zeros(&value, Shape::new([elements])),
    });
    let (value, grad) = (owned(value), into_contiguous(grad));
    let moments = Moments {
        mean: owned(moments.mean),
        square: owned(moments.square),
    };
    let (epsilon, lr) = rule.corrected();
    let factors = || {
        FactorsLaunch::new(
            rule.grad_scale as f32,
            (1.0 - rule.beta1) as f32,
            (1.0 - rule.beta2) as f32,
            epsilon as f32,
            lr as f32,
            rule.decay as f32,
        )
    };
    let vector = vector(&value, elements);
    let count = parts(elements / vector);
    let (cubes, dim) = (
        CubeCount::new_1d(count as u32),
        CubeDim::new_1d(UNITS as u32),
    );
    let part = || empty(&value, Shape::new([count]), DType::F32);
    let agreeing = rule.cautious.then(|| {
        let agreeing = part();
        // SAFETY: only elements that exist are read, and each cube has its part.
        unsafe {
            adamw_agreeing_kernel::launch_unchecked::<R>(
                &value.client,
                cubes.clone(),
                dim,
                vector,
                array(&grad),
                array(&moments.mean),
                array(&moments.square),
                array(&agreeing),
                factors(),
            );
        }
        sum_parts(agreeing, 1)
    });
    let (changed, values) = (part(), part());
    // SAFETY: only elements that exist are touched, each by one unit; each cube has its part.
    unsafe {
        adamw_kernel::launch_unchecked::<R>(
            &value.client,
            cubes,
            dim,
            vector,
            array(&grad),
            agreeing.as_ref().map(array).into(),
            array(&value),
            array(&moments.mean),
            array(&moments.square),
            array(&changed),
            array(&values),
            rule.epsilon as f32,
            factors(),
        );
    }
    Updated {
        value,
        moments,
        squares: measure.then(|| Squares {
            change: sum_parts(changed, 1),
            value: sum_parts(values, 1),
        }),
    }
}
