//! Latents to codes and back.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use super::linear::Linear;
use super::signal::upload;
use crate::network;

/// See [`network::Quantizer`].
pub enum Quantizer<B: Backend> {
    Euclidean(Vec<Rvq<B>>),
    Factorized(Vec<FactorizedVq<B>>),
}

impl<B: Backend> Quantizer<B> {
    /// Copies the weights to `device`.
    pub fn new(quantizer: &network::Quantizer, device: &B::Device) -> Self {
        match quantizer {
            network::Quantizer::Euclidean(parts) => {
                Self::Euclidean(parts.iter().map(|rvq| Rvq::new(rvq, device)).collect())
            }
            network::Quantizer::Factorized(parts) => Self::Factorized(
                parts
                    .iter()
                    .map(|vq| FactorizedVq::new(vq, device))
                    .collect(),
            ),
        }
    }

    /// Latents `[rows, latent]` to codes `[rows, codebooks]`.
    pub fn encode(&self, latents: Tensor<B, 2>) -> Tensor<B, 2, Int> {
        let mut codes = Vec::new();
        match self {
            Self::Euclidean(parts) => {
                for part in parts {
                    part.encode(latents.clone(), &mut codes);
                }
            }
            Self::Factorized(parts) => {
                let mut residual = latents;
                for part in parts {
                    let (code, quantized) = part.encode(residual.clone());
                    residual = residual - quantized;
                    codes.push(code);
                }
            }
        }
        Tensor::cat(codes, 1)
    }

    /// Codes of the first codebooks, `[rows]` each, to latents `[rows, latent]`.
    pub fn decode(&self, codes: &[Tensor<B, 1, Int>]) -> Tensor<B, 2> {
        let latents: Vec<_> = match self {
            Self::Euclidean(parts) => {
                let mut rest = codes;
                let part = |part: &Rvq<B>| {
                    let (own, others) = rest.split_at(part.codebooks.len().min(rest.len()));
                    rest = others;
                    (!own.is_empty()).then(|| part.decode(own))
                };
                parts.iter().filter_map(part).collect()
            }
            Self::Factorized(parts) => parts
                .iter()
                .zip(codes)
                .map(|(part, code)| part.decode(code.clone()))
                .collect(),
        };
        sum(latents)
    }
}

/// See [`network::Rvq`].
pub struct Rvq<B: Backend> {
    /// `[latent, dim]`
    input_proj: Option<Tensor<B, 2>>,
    /// `[dim, latent]`
    output_proj: Option<Tensor<B, 2>>,
    codebooks: Vec<Codebook<B>>,
}

struct Codebook<B: Backend> {
    /// `[size, dim]`
    entries: Tensor<B, 2>,
    /// `[1, size]`
    squares: Tensor<B, 2>,
}

impl<B: Backend> Rvq<B> {
    fn new(rvq: &network::Rvq, device: &B::Device) -> Self {
        let project = |weight: &Option<network::Tensor>| {
            let weight = weight.as_ref()?;
            Some(upload::<B, 2>(weight, device).transpose())
        };
        let codebook = |weight| {
            let entries = upload(weight, device);
            Codebook {
                squares: squared_lengths(entries.clone()).transpose(),
                entries,
            }
        };
        Self {
            input_proj: project(&rvq.input_proj),
            output_proj: project(&rvq.output_proj),
            codebooks: rvq.codebooks.iter().map(codebook).collect(),
        }
    }

    /// Latents `[rows, latent]`; pushes codes `[rows, 1]`.
    fn encode(&self, latents: Tensor<B, 2>, codes: &mut Vec<Tensor<B, 2, Int>>) {
        let mut residual = project(latents, &self.input_proj); // [rows, dim]
        for codebook in &self.codebooks {
            let product = residual
                .clone()
                .matmul(codebook.entries.clone().transpose());
            // squared distance, but for |x|², the same for all entries: [rows, size]
            let distance = codebook.squares.clone() - product * 2.0;
            let code = distance.argmin(1); // [rows, 1]
            residual = residual
                - codebook
                    .entries
                    .clone()
                    .select(0, code.clone().squeeze_dim(1));
            codes.push(code);
        }
    }

    /// Codes of the first codebooks, at least one, `[rows]` each, to latents `[rows, latent]`.
    fn decode(&self, codes: &[Tensor<B, 1, Int>]) -> Tensor<B, 2> {
        let entry = |(codebook, code): (&Codebook<B>, &Tensor<B, 1, Int>)| {
            codebook.entries.clone().select(0, code.clone())
        };
        let entries = self.codebooks.iter().zip(codes).map(entry).collect();
        project(sum(entries), &self.output_proj)
    }
}

/// See [`network::FactorizedVq`].
pub struct FactorizedVq<B: Backend> {
    in_proj: Linear<B>,
    out_proj: Linear<B>,
    /// `[size, dim]`
    entries: Tensor<B, 2>,
    /// Entries as unit vectors, `[dim, size]`.
    directions: Tensor<B, 2>,
    /// Squared lengths of `directions`, which are 1 but for rounding, `[1, size]`.
    squares: Tensor<B, 2>,
}

impl<B: Backend> FactorizedVq<B> {
    fn new(vq: &network::FactorizedVq, device: &B::Device) -> Self {
        let entries: Tensor<B, 2> = upload(&vq.codebook, device);
        let directions = unit(entries.clone());
        Self {
            in_proj: Linear::new(&vq.in_proj, device),
            out_proj: Linear::new(&vq.out_proj, device),
            squares: squared_lengths(directions.clone()).transpose(),
            directions: directions.transpose(),
            entries,
        }
    }

    /// `[rows, latent]` to codes `[rows, 1]` and the latents that they stand for, `[rows, latent]`.
    fn encode(&self, latents: Tensor<B, 2>) -> (Tensor<B, 2, Int>, Tensor<B, 2>) {
        let projected = self.in_proj.forward(latents); // [rows, dim]
        let direction = unit(projected.clone());
        let length = squared_lengths(direction.clone()); // [rows, 1]
        let product = direction.matmul(self.directions.clone()); // [rows, size]
        // the reference adds the last term, which a distance would subtract; it decides ties of rounding
        let score = self.squares.clone() - (length - product * 2.0);
        let code = score.argmax(1);
        let entry = self.entries.clone().select(0, code.clone().squeeze_dim(1));
        // the straight-through estimator of training, which rounds
        let quantized = projected.clone() + (entry - projected);
        (code, self.out_proj.forward(quantized))
    }

    /// Codes `[rows]` to `[rows, latent]`.
    fn decode(&self, codes: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        self.out_proj.forward(self.entries.clone().select(0, codes))
    }
}

/// Rows divided by their lengths: `[rows, dim]`.
fn unit<B: Backend>(rows: Tensor<B, 2>) -> Tensor<B, 2> {
    let length = squared_lengths(rows.clone()).sqrt();
    rows / length.clamp_min(1e-12)
}

/// `[rows, dim]` to `[rows, 1]`
fn squared_lengths<B: Backend>(rows: Tensor<B, 2>) -> Tensor<B, 2> {
    rows.square().sum_dim(1)
}

/// `[rows, in]` to `[rows, out]`
fn project<B: Backend>(rows: Tensor<B, 2>, weight: &Option<Tensor<B, 2>>) -> Tensor<B, 2> {
    match weight {
        None => rows,
        Some(weight) => rows.matmul(weight.clone()),
    }
}

/// Sum of at least one tensor, from the first on.
fn sum<B: Backend>(parts: Vec<Tensor<B, 2>>) -> Tensor<B, 2> {
    parts
        .into_iter()
        .reduce(|sum, part| sum + part)
        .expect("codes were checked to have a codebook")
}
