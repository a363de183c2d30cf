use super::lanes::{Isa, Lanes, Op, dispatch};
use super::*;

/// Values in about ±1 that repeat late.
fn noise(seed: usize, count: usize) -> Vec<f32> {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn from_bf16(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// Compares `multiply` with sums in f64.
fn check(isa: Isa, element: Element, row: Segments, [rows, n, stride]: [usize; 3]) {
    let k = row.count * row.len;
    let b: Vec<f32> = noise(1, k * n);
    let mut a = noise(2, (rows - 1) * stride + row.span());
    let bias = noise(3, n);
    let scale = noise(4, n);
    let add = noise(5, rows * n);
    let round = |x: f32| match element {
        Element::F32 => x,
        Element::Bf16 => from_bf16(to_bf16(x)),
    };
    a.iter_mut().for_each(|x| *x = round(*x));
    let packed = Packed::for_isa(isa, element, row, n, |k, j| b[k * n + j]);
    let (mut plain, mut elu, mut half) =
        (vec![0.0; rows * n], vec![0.0; rows * n], vec![0; rows * n]);
    let bits: Vec<u16> = a.iter().map(|&x| to_bf16(x)).collect();
    let mut jobs = [Job {
        a: match element {
            Element::F32 => Values::F32(&a),
            Element::Bf16 => Values::Bf16(&bits),
        },
        stride,
        rows,
        add: Some(&add),
        outputs: vec![
            Output {
                to: ValuesMut::F32(&mut plain),
                activation: &Activation::Identity,
            },
            Output {
                to: ValuesMut::F32(&mut elu),
                activation: &Activation::Elu,
            },
            Output {
                to: ValuesMut::Bf16(&mut half),
                activation: &Activation::Identity,
            },
        ],
    }];
    packed.multiply(
        &Finish::new(n, Some(&bias), Some(&scale)),
        &mut jobs,
        &mut Vec::new(),
    );
    for r in 0..rows {
        for j in 0..n {
            let sum: f64 = (0..k)
                .map(|i| {
                    let at = r * stride + i / row.len * row.stride + i % row.len;
                    f64::from(a[at]) * f64::from(round(b[i * n + j]))
                })
                .sum();
            let want = (sum + f64::from(bias[j])) * f64::from(scale[j]) + f64::from(add[r * n + j]);
            let got = f64::from(plain[r * n + j]);
            let case = format!("{isa:?} {element:?} {row:?} {rows}x{n}: [{r}, {j}]");
            assert!(
                (got - want).abs() < 3e-6 * (k as f64).sqrt() + 1e-6,
                "{case}: {got}, not {want}"
            );
            let want = if got > 0.0 { got } else { got.exp_m1() };
            assert!(
                (f64::from(elu[r * n + j]) - want).abs() < 3e-7 * (1.0 + got.abs()),
                "{case}: elu"
            );
            assert_eq!(half[r * n + j], to_bf16(plain[r * n + j]), "{case}: bf16");
        }
    }
}

#[test]
fn products_of_every_shape_are_right_with_every_instruction_set() {
    for isa in Isa::available() {
        for element in [Element::F32, Element::Bf16] {
            for (rows, n) in [
                (1, 1),
                (2, 3),
                (5, 16),
                (7, 17),
                (13, 32),
                (25, 48),
                (11, 64),
                (9, 130),
            ] {
                check(isa, element, Segments::whole(6), [rows, n, 2]);
            }
            // blocks of one long segment, dilated taps, taps in several blocks, taps longer than a block
            check(isa, element, Segments::whole(1300), [8, 40, 1300]);
            check(
                isa,
                element,
                Segments {
                    count: 3,
                    len: 4,
                    stride: 12,
                },
                [9, 20, 4],
            );
            check(
                isa,
                element,
                Segments {
                    count: 7,
                    len: 180,
                    stride: 540,
                },
                [7, 33, 180],
            );
            check(
                isa,
                element,
                Segments {
                    count: 2,
                    len: 1200,
                    stride: 1500,
                },
                [3, 18, 1200],
            );
        }
    }
}

#[test]
fn a_row_does_not_depend_on_its_neighbours() {
    let (k, n, rows) = (700, 70, 23);
    let (a, b) = (noise(1, rows * k), noise(2, k * n));
    let packed = Packed::new(Element::F32, Segments::whole(k), n, |k, j| b[k * n + j]);
    let product = |first: usize, count: usize| {
        let mut c = vec![0.0; count * n];
        let job = Job {
            a: Values::F32(&a[first * k..]),
            stride: k,
            rows: count,
            add: None,
            outputs: vec![Output {
                to: ValuesMut::F32(&mut c),
                activation: &Activation::Identity,
            }],
        };
        packed.multiply(&Finish::new(n, None, None), &mut [job], &mut Vec::new());
        c
    };
    let all = product(0, rows);
    for row in 0..rows {
        assert_eq!(product(row, 1), all[row * n..(row + 1) * n]);
    }
}

/// Applies an activation to `x`, all columns alike.
fn apply(activation: &Activation, x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    let mut job = Job {
        a: Values::F32(x),
        stride: 1,
        rows: x.len(),
        add: None,
        outputs: vec![Output {
            to: ValuesMut::F32(&mut y),
            activation,
        }],
    };
    Finish::new(1, None, None).apply(1, &mut job);
    y
}

#[test]
fn activations_agree_with_their_definitions() {
    let x: Vec<f32> = (-60_000..=60_000)
        .map(|i| i as f32 / 2000.0 + 1e-5)
        .collect();
    // values of Φ from tables: Φ(1) and Φ(2)
    let gelu = apply(&Activation::Gelu, &[1.0, -2.0, 0.5]);
    for (got, want) in gelu.iter().zip([0.841_344_8, -0.045_500_26, 0.345_731_23]) {
        assert!((got - want).abs() < 5e-7, "gelu {got}, not {want}");
    }
    for alpha in [0.3f32, 1.0, 7.5] {
        let snake = Activation::Snake(Snake::new(&[alpha]));
        for (&x, got) in x.iter().zip(apply(&snake, &x)) {
            let (x, alpha) = (f64::from(x), f64::from(alpha));
            // the product αx is f32 in every implementation
            let sin = f64::from((alpha as f32) * (x as f32)).sin();
            let want = x + sin * sin / (alpha + 1e-9);
            assert!(
                (f64::from(got) - want).abs() < 4e-6 * (1.0 + x.abs()),
                "snake({x}) = {got}, not {want}"
            );
        }
    }
    for (&x, got) in x.iter().zip(apply(&Activation::Tanh, &x)) {
        let want = f64::from(x).tanh();
        assert!((f64::from(got) - want).abs() < 4e-7, "tanh({x}) = {got}");
    }
    for (&x, got) in x.iter().zip(apply(&Activation::Elu, &x)) {
        let want = if x > 0.0 {
            f64::from(x)
        } else {
            f64::from(x).exp_m1()
        };
        assert!(
            (f64::from(got) - want).abs() < 2e-7 * want.abs().max(1e-3),
            "elu({x}) = {got}, not {want}"
        );
    }
    assert!(apply(&Activation::Elu, &[f32::NAN])[0].is_nan());
}

#[test]
fn values_set_one_by_one_make_the_same_matrix() {
    for isa in Isa::available() {
        let (k, n) = (5, 87);
        let b = noise(1, k * n);
        let whole = Packed::for_isa(isa, Element::F32, Segments::whole(k), n, |k, j| {
            b[k * n + j]
        });
        let mut parts = Packed::for_isa(isa, Element::F32, Segments::whole(k), n, |_, _| 0.0);
        for (at, &value) in b.iter().enumerate() {
            parts.set(at / n, at % n, value);
        }
        assert_eq!(parts.words, whole.words, "{isa:?}");
    }
}

#[test]
fn bf16_rounds_to_nearest_even() {
    for (x, want) in [
        (1.0, 0x3f80),
        (1.003_906_3, 0x3f80), // half way, down to even
        (1.011_718_8, 0x3f82), // half way, up to even
        (-0.0, 0x8000),
        (f32::INFINITY, 0x7f80),
    ] {
        assert_eq!(to_bf16(x), want, "{x}");
    }
    assert!(from_bf16(to_bf16(f32::NAN)).is_nan());
}

/// Reads bf16 as a vector; gives its lanes and their sum.
struct Read<'a>(&'a [u16; 16]);

impl Op for Read<'_> {
    type Out = (Vec<f32>, f32);

    unsafe fn run<L: Lanes>(self) -> Self::Out {
        let mut lanes = [0.0; 16];
        unsafe {
            let x = L::load_bf16(self.0.as_ptr());
            L::store(lanes.as_mut_ptr(), x);
            (lanes[..L::N].to_vec(), L::sum(x))
        }
    }
}

#[test]
fn bf16_are_read_and_summed_with_every_instruction_set() {
    // Powers of two with either sign: their sums are exact, and each is another.
    let values: [f32; 16] = std::array::from_fn(|i| (-1f32).powi(i as i32) * 2f32.powi(i as i32));
    for isa in Isa::available() {
        // SAFETY: the instruction set is available, and no vector is longer than 16.
        let (lanes, sum) = unsafe { dispatch(isa, Read(&values.map(to_bf16))) };
        assert_eq!(lanes, values[..isa.lanes()], "{isa:?}");
        assert_eq!(sum, lanes.iter().sum::<f32>(), "{isa:?}");
    }
}

/// Transposes the first square of a matrix with rows of 20.
struct Transpose<'a>(&'a [f32]);

impl Op for Transpose<'_> {
    type Out = Vec<f32>;

    unsafe fn run<L: Lanes>(self) -> Vec<f32> {
        let mut out = vec![-1.0; 16 * 18];
        unsafe { L::transpose(self.0.as_ptr(), 20, out.as_mut_ptr(), 18) };
        out
    }
}

#[test]
fn squares_are_transposed_with_every_instruction_set() {
    let matrix: Vec<f32> = (0..16 * 20).map(|i| i as f32).collect();
    for isa in Isa::available() {
        let n = isa.lanes();
        // SAFETY: the instruction set is available, and no vector is longer than 16.
        let out = unsafe { dispatch(isa, Transpose(&matrix)) };
        for (at, &x) in out.iter().enumerate() {
            let (row, column) = (at / 18, at % 18);
            let inside = row < n && column < n;
            let want = if inside {
                matrix[column * 20 + row]
            } else {
                -1.0
            };
            assert_eq!(x, want, "{isa:?} [{row}, {column}]");
        }
    }
}

/// `2^x` of 16 numbers.
struct Exp2([f32; 16]);

impl Op for Exp2 {
    type Out = [f32; 16];

    unsafe fn run<L: Lanes>(mut self) -> [f32; 16] {
        for x in self.0.chunks_exact_mut(L::N) {
            unsafe { L::store(x.as_mut_ptr(), math::exp2::<L>(L::load(x.as_ptr()))) };
        }
        self.0
    }
}

#[test]
fn powers_of_two_are_within_their_error_with_every_instruction_set() {
    for isa in Isa::available() {
        // SAFETY: the instruction set is available.
        let exp2 = |x| unsafe { dispatch(isa, Exp2(x)) };
        for from in -1260..1260 {
            let x: [f32; 16] = std::array::from_fn(|i| from as f32 / 10.0 + i as f32 * 0.00617);
            for (x, got) in x.into_iter().zip(exp2(x)) {
                let want = f64::from(x).exp2();
                let error = (f64::from(got) - want).abs() / want;
                assert!(error < 2e-7, "{isa:?} {x}: {got}, not {want}");
            }
        }
        assert_eq!(exp2([-126.6; 16])[0], 0.0);
        assert_eq!(exp2([f32::NEG_INFINITY; 16]), [0.0; 16]);
        assert!(exp2([f32::NAN; 16])[0].is_nan());
    }
}
