//! Convolutions, plain and transposed, as products over the rows of a queue.

use kernels::gemm::{Element, Finish, Packed, Segments};

use super::fast::FastConv;
use super::queue::Queue;
use crate::network::{Conv1d, ConvTranspose1d, PadMode, Padding};

/// A convolution. Each output row comes from `segments.span()` input values that start `stride` rows after those of the
/// row before.
pub struct Product {
    /// The weight, and how it is applied.
    pub method: Method,
    /// Bias.
    pub finish: Finish,
    /// Input rows of one output row, from first to last.
    span: usize,
    stride: usize,
    padding: Padding,
    /// Rows read that must stay because padding on the right mirrors them.
    history: usize,
    length: Length,
    /// Rows for the reader that one row of the product makes: the stride of a transposed convolution.
    pub expansion: usize,
    trim_left: usize,
}

/// How a convolution is computed.
pub enum Method {
    /// A product with each tap.
    Direct(Packed),
    /// Fewer products, of transformed inputs.
    Fast(FastConv),
}

/// How many rows there are in the end.
enum Length {
    Conv {
        kernel_span: usize,
    },
    Transposed {
        kernel: usize,
        stride: usize,
        trim: usize,
    },
}

/// Where a stream is in a convolution.
#[derive(Clone, Copy, Default)]
pub struct Progress {
    /// Row of the queue at which the next window starts.
    next: usize,
    padded_left: bool,
    padded_right: bool,
    /// Rows made for the reader.
    made: usize,
    /// Rows cut off at the start.
    trimmed: usize,
}

/// What can be computed now.
pub struct Windows {
    /// Row of the queue at which the first starts.
    pub first: usize,
    /// Rows of the product.
    pub count: usize,
}

impl Product {
    /// `weight [out, in, kernel]` becomes `[kernel * in, out]`.
    pub fn conv(conv: &Conv1d, element: Element) -> Self {
        let &[output, input, kernel] = &conv.weight.shape[..] else {
            unreachable!("convolutions have three axes");
        };
        let row = match conv.dilation {
            1 => Segments::whole(kernel * input),
            dilation => Segments {
                count: kernel,
                len: input,
                stride: dilation * input,
            },
        };
        let value = |k: usize, n: usize| {
            let (tap, channel) = (k / input, k % input);
            conv.weight.data[(n * input + channel) * kernel + tap]
        };
        let method = match FastConv::new(conv, element) {
            Some(fast) => Method::Fast(fast),
            None => Method::Direct(Packed::new(element, row, output, value)),
        };
        Self {
            method,
            finish: Finish::new(output, conv.bias.as_deref(), None),
            span: conv.span(),
            stride: conv.stride,
            padding: conv.padding,
            history: match conv.padding.mode {
                PadMode::Constant => 0,
                PadMode::Replicate => 1,
                PadMode::Reflect => conv.span() + conv.stride,
            },
            length: Length::Conv {
                kernel_span: conv.span(),
            },
            expansion: 1,
            trim_left: 0,
        }
    }

    /// Output `t * stride + p` is the sum over i of input `t - i` times tap `p + i * stride`: a product of
    /// `ceil(kernel / stride)` adjacent inputs whose row holds `stride` outputs. Nothing is trimmed if `trim` is false.
    pub fn transposed(conv: &ConvTranspose1d, element: Element, trim: bool) -> Self {
        let &[input, output, kernel] = &conv.weight.shape[..] else {
            unreachable!("convolutions have three axes");
        };
        let stride = conv.stride;
        let taps = kernel.div_ceil(stride);
        let value = |k: usize, n: usize| {
            let (age, channel) = (taps - 1 - k / input, k % input);
            let (phase, out) = (n / output, n % output);
            match phase + age * stride {
                tap if tap < kernel => conv.weight.data[(channel * output + out) * kernel + tap],
                _ => 0.0,
            }
        };
        let bias = conv.bias.as_ref().map(|bias| bias.repeat(stride));
        let (trim_left, trim_right) = match trim {
            true => (conv.trim_left, conv.trim_right),
            false => (0, 0),
        };
        Self {
            method: Method::Direct(Packed::new(
                element,
                Segments::whole(taps * input),
                stride * output,
                value,
            )),
            finish: Finish::new(stride * output, bias.as_deref(), None),
            span: taps,
            stride: 1,
            padding: Padding {
                left: taps - 1,
                right: 0,
                complete: false,
                mode: PadMode::Constant,
            },
            history: 0,
            length: Length::Transposed {
                kernel,
                stride,
                trim: trim_left + trim_right,
            },
            expansion: stride,
            trim_left,
        }
    }

    /// Rows of zeros the input starts with; they get their values when those are known.
    pub fn placeholders(&self) -> usize {
        self.padding.left
    }

    /// Rows that are made together, but at the end of a signal.
    pub fn granule(&self) -> usize {
        match &self.method {
            Method::Direct(_) => 1,
            Method::Fast(fast) => fast.granule(),
        }
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> usize {
        match &self.method {
            Method::Direct(matrix) => matrix.bytes(),
            Method::Fast(fast) => fast.bytes(),
        }
    }

    /// Input values from one row of the product to the next.
    pub fn stride(&self, channels: usize) -> usize {
        self.stride * channels
    }

    /// Rows for the reader after `n` inputs in all.
    fn outputs(&self, n: usize) -> usize {
        match self.length {
            Length::Conv { .. } => {
                let padded = self.padding.left + n + self.pad_right(n);
                (padded + self.stride).saturating_sub(self.span) / self.stride
            }
            Length::Transposed {
                kernel,
                stride,
                trim,
            } => ((n.max(1) - 1) * stride + kernel).saturating_sub(trim),
        }
    }

    /// Rows that follow the input.
    fn pad_right(&self, n: usize) -> usize {
        match self.length {
            Length::Conv { kernel_span } => self.padding.right_of(n, kernel_span, self.stride),
            Length::Transposed { stride, .. } => (self.outputs(n) + self.trim_left)
                .div_ceil(stride)
                .saturating_sub(n),
        }
    }

    /// Puts padding where it is due and says what can be computed, at most `limit` rows.
    pub fn windows(&self, queue: &mut Queue, progress: &mut Progress, limit: usize) -> Windows {
        let none = Windows { first: 0, count: 0 };
        let (n, left) = (queue.written, self.padding.left);
        if !progress.padded_left {
            let known = match self.padding.mode {
                PadMode::Constant => true,
                PadMode::Replicate => n > 0,
                PadMode::Reflect => n > left,
            };
            if !known && !queue.ended {
                return none;
            }
            let pad_right = if queue.ended { self.pad_right(n) } else { 0 };
            for row in 0..left {
                let source = self
                    .padding
                    .source(row as isize - left as isize, n, pad_right);
                queue.set_row(row, source.map(|source| left + source));
            }
            progress.padded_left = true;
        }
        if queue.ended && !progress.padded_right {
            let (pad_right, end) = (self.pad_right(n), queue.rows());
            queue.append_zeros(pad_right);
            for row in 0..pad_right {
                let source = self.padding.source((n + row) as isize, n, pad_right);
                queue.set_row(end + row, source.map(|source| end - (n - source)));
            }
            progress.padded_right = true;
        }
        let there = queue.rows().saturating_sub(progress.next);
        let count = (there + self.stride).saturating_sub(self.span) / self.stride;
        let granule = self.granule();
        let count = match progress.padded_right && count <= limit {
            true => count,
            false => count.min(limit) / granule * granule,
        };
        Windows {
            first: progress.next,
            count,
        }
    }

    /// Drops input rows that no window needs any more.
    pub fn consume(&self, queue: &mut Queue, progress: &mut Progress, windows: &Windows) {
        progress.next += windows.count * self.stride;
        let gone = progress
            .next
            .saturating_sub(self.history)
            .min(queue.rows().saturating_sub(self.history));
        queue.drop_front(gone);
        progress.next -= gone;
    }

    /// Trims what was made by `rows` new rows of the product, which lie at the end of `outputs`; whether all is made now.
    pub fn trim<'a>(
        &self,
        input: &Queue,
        progress: &mut Progress,
        rows: usize,
        outputs: impl Iterator<Item = &'a mut Queue> + 'a,
    ) -> bool {
        let new = rows * self.expansion;
        let cut = (self.trim_left - progress.trimmed).min(new);
        progress.trimmed += cut;
        progress.made += new - cut;
        let wanted = match progress.padded_right {
            true => self.outputs(input.written),
            false => usize::MAX,
        };
        let excess = progress.made.saturating_sub(wanted).min(new - cut);
        progress.made -= excess;
        for queue in outputs {
            queue.cut(cut, new - cut);
            queue.drop_back(excess);
        }
        progress.padded_right && progress.made >= wanted
    }
}
