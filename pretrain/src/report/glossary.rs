//! The terms of the page.

/// Terms of the page and one line on each.
pub const GLOSSARY: [(&str, &str); 19] = [
    (
        "loss",
        "Mean cross-entropy of predicting the next token, in nats a token; lower is better.",
    ),
    (
        "validation",
        "The same loss on documents that were held out of training.",
    ),
    (
        "unigram",
        "The loss of predicting every token by its frequency in the training data, without any context.",
    ),
    (
        "difference",
        "Model minus unigram: what context taught the model, negative when it helps.",
    ),
    (
        "perplexity",
        "e to the power of the loss: among how many equally likely tokens the model hesitates.",
    ),
    (
        "token kinds",
        "Text; markers (beginnings and ends); semantic, the codec's first codebook; acoustic-k, its further codebooks.",
    ),
    (
        "component",
        "One source of the mixture in one view, such as yodas2/en, text first.",
    ),
    (
        "objective",
        "What training minimises: the cross-entropy with its weights for kinds of token, and the z-loss.",
    ),
    (
        "z-loss",
        "A small penalty on the squared logarithm of the softmax's denominator, which keeps logits from drifting.",
    ),
    (
        "learning rate",
        "The optimizer's step size after warm-up and decay.",
    ),
    (
        "gradient norm",
        "Euclidean norm of all gradients together, before clipping; single spikes may end at the figure's upper edge.",
    ),
    (
        "update norm",
        "Euclidean norm of what one step adds to all parameters together.",
    ),
    (
        "parameter norm",
        "Euclidean norm of all parameters together, after the step.",
    ),
    (
        "logits",
        "Root mean square of the outputs before the softmax; growth without end warns of instability.",
    ),
    (
        "skipped steps",
        "Steps whose loss or gradient norm was a spike, and which were left out.",
    ),
    (
        "time of a step",
        "Data: waiting for sequences. Forward and backward passes. Optimizer: clipping and update. Checkpoint: copying the state, and waiting for one still being written. Other: what is left.",
    ),
    (
        "utilisation",
        "Model FLOPs a second as a share of the machine's peak (MFU), without what is computed twice.",
    ),
    ("memory", "Largest resident memory of the process so far."),
    (
        "tokens / second",
        "Tokens trained on a second, without validation and checkpoints; the headline is the median.",
    ),
];
