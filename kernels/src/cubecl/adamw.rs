//! The update in one pass over value, gradient and moments, 28 bytes an element: the second half's.
//!
//! Of a cautious one, the first half counts the elements that agree with their gradient, from 12 bytes each. The second
//! computes their steps again: to keep them would cost the 8 bytes of a write and a read, and a buffer.
//! Sums of squares take no traffic of their own; what is measured stays on the device.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::layout::{UNITS, array, empty, owned, parts, vector, zeros};
use super::sums::{sum_lanes, sum_parts, total};
use crate::adamw::{Begun, Moments, Parameter, Rule, Squares, Updated};

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
    elements: f32,
    caution_epsilon: f32,
    factors: Factors,
) {
    #[comptime]
    let scale = match agreeing {
        ComptimeOption::Some(agreeing) => 1.0 / (agreeing[0] / elements + caution_epsilon),
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

fn factors<R: CubeRuntime>(rule: &Rule) -> FactorsLaunch<R> {
    let (epsilon, lr) = rule.corrected();
    FactorsLaunch::new(
        rule.grad_scale as f32,
        (1.0 - rule.beta1) as f32,
        (1.0 - rule.beta2) as f32,
        epsilon as f32,
        lr as f32,
        rule.decay as f32,
    )
}

/// How cubes go through a tensor.
struct Grid {
    /// Values that a unit loads at once.
    vector: usize,
    /// Cubes, and parts of a sum.
    parts: usize,
}

impl Grid {
    fn over<R: CubeRuntime>(tensor: &CubeTensor<R>) -> Self {
        let elements = tensor.meta.num_elements();
        let vector = vector(tensor, elements);
        Self {
            vector,
            parts: parts(elements / vector),
        }
    }

    fn cubes(&self) -> CubeCount {
        CubeCount::new_1d(self.parts as u32)
    }

    fn dim(&self) -> CubeDim {
        CubeDim::new_1d(UNITS as u32)
    }
}

/// See [`crate::adamw::begin`]. Gradient and moments stay what they are.
pub(crate) fn begin<R: CubeRuntime>(
    parameter: Parameter<CubeTensor<R>>,
    rule: &Rule,
) -> Begun<CubeTensor<R>> {
    let Parameter {
        value,
        grad,
        moments,
    } = parameter;
    let zeros = || zeros(&value, Shape::new([value.meta.num_elements()]));
    let moments = moments.unwrap_or_else(|| Moments {
        mean: zeros(),
        square: zeros(),
    });
    let (grad, moments) = (into_contiguous(grad), moments.map(into_contiguous));
    let agreeing = rule.cautious.then(|| {
        let grid = Grid::over(&grad);
        let agreeing = empty(&grad, Shape::new([grid.parts]), DType::F32);
        // SAFETY: only elements that exist are read, and each cube has its part.
        unsafe {
            adamw_agreeing_kernel::launch_unchecked::<R>(
                &grad.client,
                grid.cubes(),
                grid.dim(),
                grid.vector,
                array(&grad),
                array(&moments.mean),
                array(&moments.square),
                array(&agreeing),
                factors(rule),
            );
        }
        sum_parts(agreeing, 1)
    });
    Begun {
        value,
        grad,
        moments,
        rule: *rule,
        agreeing,
    }
}

/// See [`Begun::finish`].
pub(crate) fn finish<R: CubeRuntime>(
    begun: Begun<CubeTensor<R>>,
    elements: usize,
    measure: bool,
) -> Updated<CubeTensor<R>> {
    let Begun {
        value,
        grad,
        moments,
        rule,
        agreeing,
    } = begun;
    let (value, grad, moments) = (owned(value), into_contiguous(grad), moments.map(owned));
    let agreeing = agreeing.map(into_contiguous);
    let grid = Grid::over(&value);
    let part = || empty(&value, Shape::new([grid.parts]), DType::F32);
    let (changed, values) = (part(), part());
    // SAFETY: only elements that exist are touched, each by one unit; each cube has its part.
    unsafe {
        adamw_kernel::launch_unchecked::<R>(
            &value.client,
            grid.cubes(),
            grid.dim(),
            grid.vector,
            array(&grad),
            agreeing.as_ref().map(array).into(),
            array(&value),
            array(&moments.mean),
            array(&moments.square),
            array(&changed),
            array(&values),
            elements as f32,
            rule.epsilon as f32,
            factors(&rule),
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
