//! Muon: momentum, orthogonalised (Jordan et al. 2024, github.com/KellerJordan/Muon).

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use experiments::MuonConfig;

use super::Flat;

/// Coefficients of the odd polynomial `a·x + b·x³ + c·x⁵`, which brings singular values from (0, 1] to about 1 when it is
/// applied five times.
const COEFFICIENTS: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);

/// The momentum with one more gradient, and the step `lr · O`, to be subtracted from a matrix of `rows` rows.
///
/// `O` has about the singular vectors of the momentum and singular values near √max(1, rows/columns), so that the change
/// of a layer's output does not depend on the shape of its matrix `[out, in]`.
pub(super) fn step<B: Backend>(
    previous: Option<Flat<B>>,
    grad: Flat<B>,
    rows: usize,
    lr: f64,
    config: &MuonConfig,
) -> (Flat<B>, Flat<B>) {
    let momentum = match previous {
        Some(momentum) => momentum * config.momentum + grad.clone(),
        None => grad.clone(),
    };
    let direction = match config.nesterov {
        true => momentum.clone() * config.momentum + grad,
        false => momentum.clone(),
    };
    let [elements] = direction.dims();
    let columns = elements / rows;
    let scale = (rows as f64 / columns as f64).max(1.0).sqrt();
    let orthogonal = orthogonalize(direction.reshape([rows, columns]), config);
    (momentum, orthogonal.reshape([elements]) * (lr * scale))
}

/// Newton and Schulz's iteration: `[rows, columns]` to the same shape, with singular values near 1.
fn orthogonalize<B: Backend>(matrix: Tensor<B, 2>, config: &MuonConfig) -> Tensor<B, 2> {
    let (a, b, c) = COEFFICIENTS;
    let [rows, columns] = matrix.dims();
    let norm = matrix.clone().square().sum().sqrt() + config.epsilon; // [1]
    let x = matrix / norm.reshape([1, 1]);
    // The Gram matrix is that of the shorter side.
    let tall = rows > columns;
    let mut x = if tall { x.transpose() } else { x };
    for _ in 0..config.iterations {
        let gram = x.clone().matmul(x.clone().transpose());
        let polynomial = gram.clone().matmul(gram.clone()) * c + gram * b;
        x = polynomial.matmul(x.clone()) + x * a;
    }
    if tall { x.transpose() } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;
    use burn_flex::Flex;

    #[test]
    fn singular_values_come_near_one() {
        let config: MuonConfig = toml::from_str("lr = 0.02").unwrap();
        // Two orthogonal rows of lengths 5 and 0.5: the matrix' singular values.
        let matrix = TensorData::from([[3.0f32, 4.0, 0.0], [0.4, -0.3, 0.0]]);
        let matrix = Tensor::<Flex, 2>::from_data(matrix, &Default::default());
        for matrix in [matrix.clone(), matrix.transpose()] {
            let dims = matrix.dims();
            let x = orthogonalize(matrix, &config);
            assert_eq!(x.dims(), dims);
            let x = if dims[0] > dims[1] { x.transpose() } else { x };
            let gram = x.clone().matmul(x.transpose());
            let [[first, cross], [_, second]] = values(gram);
            for singular in [first.sqrt(), second.sqrt()] {
                assert!((0.6..1.3).contains(&singular), "{singular}");
            }
            assert!(cross.abs() < 1e-5, "{cross}");
        }
    }

    fn values(gram: Tensor<Flex, 2>) -> [[f32; 2]; 2] {
        let flat = gram.into_data().to_vec::<f32>().unwrap();
        [[flat[0], flat[1]], [flat[2], flat[3]]]
    }
}
