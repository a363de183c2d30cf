//! Latents to codes and back.

use kernels::gemm::{
    Activation, Element, Finish, Job, Output, Packed, Segments, Values, ValuesMut,
};

use crate::network::{self, FactorizedVq, Linear, Rvq, Tensor};

/// A [`network::Quantizer`] ready to run.
pub enum Quantizer {
    /// By distance.
    Euclidean(Vec<Part>),
    /// By angle.
    Factorized(Vec<Factorized>),
}

/// Codebooks that quantize a latent together.
pub struct Part {
    input: Option<Dense>,
    output: Option<Dense>,
    codebooks: Vec<Codebook>,
}

struct Codebook {
    /// `x · c - |c|² / 2`, largest for the nearest entry.
    search: Dense,
    /// `[size, dim]`
    entries: Tensor,
}

/// A codebook with its projections.
pub struct Factorized {
    input: Dense,
    output: Dense,
    /// Entries of length 1.
    search: Dense,
    /// As stored.
    entries: Tensor,
}

/// A linear layer in f32: codes depend on small differences.
struct Dense {
    matrix: Packed,
    finish: Finish,
    k: usize,
}

impl Dense {
    /// `weight [out, in]`
    fn new(weight: &Tensor, bias: Option<&[f32]>) -> Self {
        let [n, k] = [weight.shape[0], weight.shape[1]];
        Self {
            matrix: Packed::new(Element::F32, Segments::whole(k), n, |at, n| {
                weight.data[n * k + at]
            }),
            finish: Finish::new(n, bias, None),
            k,
        }
    }

    fn linear(linear: &Linear) -> Self {
        Self::new(&linear.weight, linear.bias.as_deref())
    }

    /// `[rows, in]` to `[rows, out]`
    fn apply(&self, x: &[f32], sums: &mut Vec<f32>) -> Vec<f32> {
        let rows = x.len() / self.k;
        let mut y = vec![0.0; rows * self.matrix.columns()];
        let job = Job {
            a: Values::F32(x),
            stride: self.k,
            rows,
            add: None,
            outputs: vec![Output {
                to: ValuesMut::F32(&mut y),
                activation: &Activation::Identity,
            }],
        };
        self.matrix.multiply(&self.finish, &mut [job], sums);
        y
    }

    /// The column of the largest result, the first of equal ones, for every row: `[rows]`.
    fn nearest(&self, x: &[f32], sums: &mut Vec<f32>) -> Vec<u16> {
        /// Rows whose scores stay in cache.
        const ROWS: usize = 32;
        let mut codes = Vec::with_capacity(x.len() / self.k);
        for x in x.chunks(ROWS * self.k) {
            let scores = self.apply(x, sums);
            codes.extend(scores.chunks_exact(self.matrix.columns()).map(largest));
        }
        codes
    }
}

/// The first largest value; 0 if all are NaN.
fn largest(scores: &[f32]) -> u16 {
    // in blocks, so that the comparison of many is one instruction
    let max = scores
        .chunks(64)
        .map(|block| {
            block
                .iter()
                .fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max })
        })
        .fold(f32::NEG_INFINITY, f32::max);
    scores.iter().position(|&x| x == max).unwrap_or(0) as u16
}

impl Quantizer {
    /// Packs the codebooks.
    pub fn new(quantizer: network::Quantizer) -> Self {
        match quantizer {
            network::Quantizer::Euclidean(parts) => {
                Self::Euclidean(parts.into_iter().map(Part::new).collect())
            }
            network::Quantizer::Factorized(codebooks) => {
                Self::Factorized(codebooks.into_iter().map(Factorized::new).collect())
            }
        }
    }

    /// Latents `[frames, latent]` to codes `[frames, codebooks]`.
    pub fn encode(&self, latents: &[f32], frames: usize, sums: &mut Vec<f32>) -> Vec<u16> {
        let columns: Vec<Vec<u16>> = match self {
            Self::Euclidean(parts) => parts
                .iter()
                .flat_map(|part| part.encode(latents, sums))
                .collect(),
            Self::Factorized(codebooks) => {
                let mut residual = latents.to_vec();
                codebooks
                    .iter()
                    .map(|codebook| codebook.encode(&mut residual, sums))
                    .collect()
            }
        };
        (0..frames)
            .flat_map(|frame| columns.iter().map(move |column| column[frame]))
            .collect()
    }

    /// Codes `[frames, codebooks]`, in range, to latents `[frames, latent]`.
    pub fn decode(&self, codes: &[u16], codebooks: usize, sums: &mut Vec<f32>) -> Vec<f32> {
        let column = |index: usize| codes.iter().skip(index).step_by(codebooks).copied();
        let mut latents = Vec::new();
        let mut first = 0;
        match self {
            Self::Euclidean(parts) => {
                for part in parts {
                    let count = part.codebooks.len().min(codebooks - first);
                    if count > 0 {
                        let columns = (first..first + count).map(column);
                        add(&mut latents, part.decode(columns, sums));
                    }
                    first += count;
                }
            }
            Self::Factorized(all) => {
                for (index, codebook) in all.iter().take(codebooks).enumerate() {
                    let entries = gather(&codebook.entries, column(index));
                    add(&mut latents, codebook.output.apply(&entries, sums));
                }
            }
        }
        latents
    }
}

impl Part {
    fn new(rvq: Rvq) -> Self {
        let codebook = |entries: Tensor| {
            let dim = entries.shape[1];
            let bias: Vec<f32> = entries
                .data
                .chunks_exact(dim)
                .map(|entry| {
                    let norm: f64 = entry.iter().map(|&x| f64::from(x).powi(2)).sum();
                    (-0.5 * norm) as f32
                })
                .collect();
            Codebook {
                search: Dense::new(&entries, Some(&bias)),
                entries,
            }
        };
        Self {
            input: rvq.input_proj.map(|weight| Dense::new(&weight, None)),
            output: rvq.output_proj.map(|weight| Dense::new(&weight, None)),
            codebooks: rvq.codebooks.into_iter().map(codebook).collect(),
        }
    }

    fn encode(&self, latents: &[f32], sums: &mut Vec<f32>) -> Vec<Vec<u16>> {
        let mut residual = match &self.input {
            Some(input) => input.apply(latents, sums),
            None => latents.to_vec(),
        };
        self.codebooks
            .iter()
            .map(|codebook| {
                let codes = codebook.search.nearest(&residual, sums);
                let entries = gather(&codebook.entries, codes.iter().copied());
                residual.iter_mut().zip(entries).for_each(|(x, c)| *x -= c);
                codes
            })
            .collect()
    }

    fn decode(
        &self,
        columns: impl Iterator<Item = impl Iterator<Item = u16>>,
        sums: &mut Vec<f32>,
    ) -> Vec<f32> {
        let mut total = Vec::new();
        for (codebook, codes) in self.codebooks.iter().zip(columns) {
            add(&mut total, gather(&codebook.entries, codes));
        }
        match &self.output {
            Some(output) => output.apply(&total, sums),
            None => total,
        }
    }
}

impl Factorized {
    fn new(vq: FactorizedVq) -> Self {
        let dim = vq.codebook.shape[1];
        let mut unit = vq.codebook.clone();
        unit.data.chunks_exact_mut(dim).for_each(normalize);
        // transformers maximises 2 x · c + |c|², where |c|² is 1 but for rounding
        let bias: Vec<f32> = unit
            .data
            .chunks_exact(dim)
            .map(|c| c.iter().map(|x| x * x).sum())
            .collect();
        unit.data.iter_mut().for_each(|x| *x *= 2.0);
        Self {
            input: Dense::linear(&vq.in_proj),
            output: Dense::linear(&vq.out_proj),
            search: Dense::new(&unit, Some(&bias)),
            entries: vq.codebook,
        }
    }

    /// Codes of the residual, `[frames, latent]`, which loses what they stand for.
    fn encode(&self, residual: &mut [f32], sums: &mut Vec<f32>) -> Vec<u16> {
        let projected = self.input.apply(residual, sums);
        let mut unit = projected.clone();
        unit.chunks_exact_mut(self.entries.shape[1])
            .for_each(normalize);
        let codes = self.search.nearest(&unit, sums);
        let mut quantized = gather(&self.entries, codes.iter().copied());
        // what the straight-through estimator leaves of x in the sum, bit by bit
        for (q, x) in quantized.iter_mut().zip(&projected) {
            *q = x + (*q - x);
        }
        let quantized = self.output.apply(&quantized, sums);
        residual
            .iter_mut()
            .zip(quantized)
            .for_each(|(x, q)| *x -= q);
        codes
    }
}

/// To length 1; shorter than 1e-12 is divided by that.
fn normalize(x: &mut [f32]) {
    let norm = x.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
    x.iter_mut().for_each(|x| *x /= norm);
}

/// The entries of `codes`, `[codes, dim]`.
fn gather(entries: &Tensor, codes: impl Iterator<Item = u16>) -> Vec<f32> {
    let dim = entries.shape[1];
    codes
        .flat_map(|code| &entries.data[usize::from(code) * dim..][..dim])
        .copied()
        .collect()
}

/// `total += more`, where an empty total is zero.
fn add(total: &mut Vec<f32>, more: Vec<f32>) {
    match total.is_empty() {
        true => *total = more,
        false => total.iter_mut().zip(more).for_each(|(a, b)| *a += b),
    }
}
