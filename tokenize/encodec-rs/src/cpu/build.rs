//! A network's layers to the steps of a program, with their weights packed.

use kernels::gemm::{Activation, Element, Snake};

use super::lstm::LstmStep;
use super::norm::NormStep;
use super::product::Product;
use super::program::{Kind, Program, QueueShape, Step};
use super::transformer::TransformerStep;
use crate::Precision;
use crate::network::{self, Layer, Network};

impl Program {
    /// Packs a network's weights; layer by layer, so that they are not in memory twice.
    pub fn new(network: Network, precision: Precision) -> Self {
        let mut build = Builder {
            program: Self {
                steps: Vec::new(),
                queues: Vec::new(),
                input: 0,
                output: 0,
                stages: Vec::new(),
            },
            precision,
        };
        let input = Value {
            producer: None,
            activation: None,
            channels: network.channels,
            rate: 1.0,
        };
        let output = build.layers(network.layers, input);
        build.program.output = build.queue(&output, Element::F32, 0);
        let mut program = build.program;
        program.stages = program.stages();
        program
    }
}

/// A signal while a program is built: what a step makes, and a function that its readers want applied.
#[derive(Clone)]
struct Value {
    /// `None`: the program's input.
    producer: Option<usize>,
    activation: Option<network::Activation>,
    channels: usize,
    /// Rows for a row of the program's input.
    rate: f64,
}

struct Builder {
    program: Program,
    precision: Precision,
}

impl Builder {
    fn layers(&mut self, layers: Vec<Layer>, mut value: Value) -> Value {
        for layer in layers {
            value = match layer {
                Layer::Activation(activation) => {
                    assert_eq!(value.activation, None);
                    value.activation = Some(activation);
                    value
                }
                Layer::Conv(conv) => self.conv(conv, value),
                Layer::ConvTranspose(conv) => self.conv_transpose(conv, value),
                Layer::Residual(residual) => {
                    let skip = match residual.shortcut {
                        None => value.clone(),
                        Some(conv) => self.conv(conv, value.clone()),
                    };
                    let skip = self.queue(&skip, Element::F32, 0);
                    let body = self.layers(residual.body, value);
                    let producer = body.producer.expect("a residual body has layers");
                    self.program.steps[producer].add = Some(skip);
                    body
                }
                Layer::Lstm(layers) => {
                    let channels = value.channels;
                    self.step(Kind::Lstm(LstmStep::new(layers)), value, channels)
                }
                Layer::Transformer(transformer) => {
                    let channels = value.channels;
                    let step = TransformerStep::new(transformer, channels, self.precision);
                    self.step(Kind::Transformer(step), value, channels)
                }
            };
        }
        value
    }

    /// A queue from `value` to a reader that starts with rows of zeros.
    fn queue(&mut self, value: &Value, element: Element, placeholders: usize) -> usize {
        let program = &mut self.program;
        let id = program.queues.len();
        program.queues.push(QueueShape {
            element,
            channels: value.channels,
            placeholders,
        });
        match value.producer {
            None => program.input = id,
            Some(producer) => {
                let step = &mut program.steps[producer];
                let activation = convert(value.activation.as_ref(), step.kind.expansion());
                step.outputs.push((id, activation));
                assert!(step.outputs.len() <= 2, "a signal has at most two readers");
            }
        }
        id
    }

    /// A step that reads f32 and keeps the rate.
    fn step(&mut self, kind: Kind, value: Value, channels: usize) -> Value {
        let input = self.queue(&value, Element::F32, 0);
        self.push(kind, input, channels, value.rate)
    }

    fn push(&mut self, kind: Kind, input: usize, channels: usize, rate: f64) -> Value {
        self.program.steps.push(Step {
            kind,
            input,
            add: None,
            outputs: Vec::new(),
            channels,
            rate,
        });
        Value {
            producer: Some(self.program.steps.len() - 1),
            activation: None,
            channels,
            rate,
        }
    }

    /// The program's input is f32, and so are channels that do not come in pairs.
    fn element(&self, value: &Value) -> Element {
        match self.precision {
            Precision::Bf16 if value.producer.is_some() && value.channels.is_multiple_of(2) => {
                Element::Bf16
            }
            _ => Element::F32,
        }
    }

    fn conv(&mut self, conv: network::Conv1d, value: Value) -> Value {
        let element = self.element(&value);
        let product = Product::conv(&conv, element);
        let (channels, rate) = (conv.weight.shape[0], value.rate / conv.stride as f64);
        let input = self.queue(&value, element, product.placeholders());
        let value = self.push(Kind::Product(Box::new(product)), input, channels, rate);
        match conv.norm {
            None => value,
            Some(norm) => {
                let step = NormStep::new(norm, 0, 0);
                self.step(Kind::Norm(step), value, channels)
            }
        }
    }

    fn conv_transpose(&mut self, conv: network::ConvTranspose1d, value: Value) -> Value {
        let element = self.element(&value);
        let product = Product::transposed(&conv, element, conv.norm.is_none());
        let (channels, rate) = (conv.weight.shape[1], value.rate * conv.stride as f64);
        let input = self.queue(&value, element, product.placeholders());
        let value = self.push(Kind::Product(Box::new(product)), input, channels, rate);
        match conv.norm {
            None => value,
            Some(norm) => {
                let step = NormStep::new(norm, conv.trim_left, conv.trim_right);
                self.step(Kind::Norm(step), value, channels)
            }
        }
    }
}

/// Of rows that hold `expansion` times all channels.
fn convert(activation: Option<&network::Activation>, expansion: usize) -> Activation {
    match activation {
        None => Activation::Identity,
        Some(network::Activation::Elu) => Activation::Elu,
        Some(network::Activation::Tanh) => Activation::Tanh,
        Some(network::Activation::Snake(alpha)) => {
            Activation::Snake(Snake::new(&alpha.repeat(expansion)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::Scratch;
    use super::*;
    use crate::network::{Conv1d, PadMode, Padding, Residual, Tensor};

    fn conv(channels: usize, kernel: usize) -> Conv1d {
        let count = channels * channels * kernel;
        let value = |i: usize| ((i * 7919) % 1000) as f32 / 1000.0 - 0.5;
        Conv1d {
            weight: Tensor {
                shape: vec![channels, channels, kernel],
                data: (0..count)
                    .map(|i| value(i) / (channels * kernel) as f32)
                    .collect(),
            },
            bias: None,
            stride: 1,
            dilation: 1,
            padding: Padding::same(kernel, 1, 1, true, PadMode::Reflect),
            norm: None,
        }
    }

    /// Layers with large weights first, then a residual whose shortcut is the first step that is run in tiles, as in a
    /// decoder; and the reverse.
    fn network(large_first: bool) -> Network {
        let residual = Layer::Residual(Residual {
            body: vec![
                Layer::Activation(network::Activation::Elu),
                Layer::Conv(conv(64, 3)),
                Layer::Activation(network::Activation::Elu),
                Layer::Conv(conv(64, 1)),
            ],
            shortcut: Some(conv(64, 1)),
        });
        let mut layers = vec![Layer::Conv(conv(64, 150)), residual];
        if !large_first {
            layers.insert(0, Layer::Conv(conv(64, 1)));
            layers.swap(1, 2);
        }
        Network {
            channels: 64,
            layers,
        }
    }

    #[test]
    fn tiles_and_pushes_do_not_change_a_bit() {
        let rows: Vec<f32> = (0..3000 * 64)
            .map(|i| ((i * 31) % 97) as f32 / 97.0)
            .collect();
        for large_first in [true, false] {
            let program = Program::new(network(large_first), Precision::F32);
            assert_eq!(program.stages.len(), 2);
            let output = |pushes: usize| {
                let (mut state, mut scratch) = (program.state(), Scratch::default());
                let mut output = Vec::new();
                let size = rows.len() / pushes;
                for (index, rows) in rows.chunks(size).enumerate() {
                    program.push(&mut state, rows, index + 1 == pushes);
                    program.run(&mut [&mut state], &mut scratch);
                    output.extend_from_slice(program.output(&state));
                    program.take(&mut state);
                }
                output
            };
            let whole = output(1);
            assert_eq!(whole.len(), rows.len());
            assert!(whole == output(50), "large first: {large_first}");
        }
    }
}
