//! From a checkpoint and a prompt to text and audio.
//!
//! Every token is drawn from those the [`Grammar`] allows, so the output parses and decodes.

mod grammar;
mod sample;

pub use grammar::{Allowed, Grammar};
pub use sample::{Sampling, sample};

use std::path::Path;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use encodec_rs::{Codec, Codes};
use experiments::Precision;
use kernels::Kernels;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use shards::{TokenKind, Vocab};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::model::{Cache, Context, Qwen3, RopeTable};

/// What a generation starts from.
#[derive(Clone, Debug)]
pub enum Prompt {
    /// Samples at the codec's rate, `[n, channels]`; the model goes on with the audio.
    Audio(Vec<f32>),
    /// A transcript; the model speaks it.
    Text(String),
}

/// How far and how to generate.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Frames of new audio before the model may close the block.
    pub min_frames: usize,
    /// Frames of new audio at most; the block is closed then.
    pub max_frames: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Seed of the draws.
    pub seed: u64,
}

/// A generated document, the prompt included.
#[derive(Clone, Debug)]
pub struct Generated {
    /// All token ids, from BOS to the end of the audio block.
    pub tokens: Vec<u32>,
    /// Codes of the audio, frame-major.
    pub codes: Codes,
    /// Frames of the prompt among them.
    pub prompt_frames: usize,
    /// Whether the model closed the block itself.
    pub ended: bool,
}

/// A model with what is needed to speak to it.
pub struct Generator<B: Backend> {
    model: Qwen3<B>,
    checkpoint: Checkpoint,
    vocab: Vocab,
    codec: Box<dyn Codec>,
    device: B::Device,
}

impl<B: Kernels> Generator<B> {
    /// Loads a checkpoint, its tokenizer and its codec.
    ///
    /// # Errors
    /// Missing or damaged files; a model without audio; a codec other than the one trained with.
    pub fn open(dir: &Path, codec: Option<&str>) -> Result<Self> {
        let checkpoint = Checkpoint::open(dir)?;
        let vocab = Vocab::load(dir)?;
        let device = B::device();
        let trained = checkpoint.state.codec.as_ref().ok_or_else(|| {
            Error::Generate(format!(
                "{} was trained on text alone, so there is no codec to speak with",
                dir.display()
            ))
        })?;
        let options = encodec_rs::Options {
            codebooks: Some(trained.codebooks),
            ..encodec_rs::Options::default()
        };
        let name = codec.unwrap_or(&trained.name);
        let codec = encodec_rs::open(name, &options).map_err(|error| {
            Error::Generate(format!(
                "{} was trained with codec {}, and {name} cannot be opened from here: {error}. If it lies elsewhere, say \
                 where with --codec",
                dir.display(),
                trained.name
            ))
        })?;
        // of codes that others published, the weights are not known
        if !trained.sha256.is_empty() && codec.spec().sha256 != trained.sha256 {
            return Err(Error::Generate(format!(
                "{} was trained with codec {} of SHA-256 {}, but this one's is {}; give the right one with --codec PATH",
                dir.display(),
                trained.name,
                trained.sha256,
                codec.spec().sha256
            )));
        }
        let model = checkpoint.load_model(&device)?;
        Ok(Self {
            model,
            checkpoint,
            vocab,
            codec,
            device,
        })
    }

    /// The codec of the model's audio tokens.
    pub fn codec(&self) -> &dyn Codec {
        self.codec.as_ref()
    }

    /// Goes on from a prompt until the audio block ends.
    ///
    /// # Errors
    /// A prompt that is empty or cannot be encoded.
    pub fn generate(&self, prompt: &Prompt, options: &Options) -> Result<Generated> {
        let vocab = self.vocab.layout();
        let (mut tokens, prompt_frames) = self.prompt_tokens(prompt)?;
        let mut grammar = Grammar::new(vocab, self.checkpoint.state.codebooks);
        assert!(
            tokens.iter().all(|&id| grammar.accept(id)),
            "prompts are well-formed"
        );
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        let mut cache = self.model.new_cache();
        let mut fed = 0;
        let limit = prompt_frames + options.max_frames;
        let ended = loop {
            let frames = grammar.whole_frames();
            if frames.is_some_and(|frames| frames >= limit) {
                break false;
            }
            let logits = self.next_logits(&tokens[fed..], fed, &mut cache);
            fed = tokens.len();
            let mut ids = grammar.allowed().ids(vocab);
            if frames.is_some_and(|frames| frames < prompt_frames + options.min_frames) {
                ids.retain(|&id| id != vocab.audio_end);
            }
            let id = sample(&logits, &ids, options.sampling, &mut rng);
            grammar.accept(id);
            tokens.push(id);
            if id == vocab.audio_end {
                break true;
            }
        };
        if !ended {
            tokens.push(vocab.audio_end);
        }
        Ok(Generated {
            codes: self.codes(&tokens),
            tokens,
            prompt_frames,
            ended,
        })
    }

    /// Tokens up to where the model goes on, and the frames among them.
    fn prompt_tokens(&self, prompt: &Prompt) -> Result<(Vec<u32>, usize)> {
        let vocab = self.vocab.layout();
        let mut tokens = vec![vocab.bos];
        match prompt {
            Prompt::Audio(samples) => {
                let codes = self.codec.encode(samples)?;
                tokens.push(vocab.audio_start);
                for frame in 0..codes.frames() {
                    let ids = codes.frame(frame).iter().enumerate();
                    tokens.extend(
                        ids.take(self.checkpoint.state.codebooks)
                            .map(|(codebook, &code)| vocab.audio_id(codebook, code)),
                    );
                }
                Ok((tokens, codes.frames()))
            }
            Prompt::Text(text) => {
                let ids = self.vocab.encode_text(text.trim())?;
                if ids.is_empty() {
                    return Err(Error::Generate(
                        "the prompt is empty; give a text or an audio file".into(),
                    ));
                }
                tokens.push(vocab.text_start);
                tokens.extend(ids);
                tokens.extend([vocab.text_end, vocab.audio_start]);
                Ok((tokens, 0))
            }
        }
    }

    /// Logits after `tokens`, which stand at `start ..`, given the cache of those before.
    fn next_logits(&self, tokens: &[u32], start: usize, cache: &mut [Cache<B>]) -> Vec<f32> {
        let time = tokens.len();
        let config = &self.checkpoint.state.plan.model;
        let rope = RopeTable::new(&config.rope, config.head_dim, start, time, &self.device);
        let ids: Vec<i32> = tokens.iter().map(|&id| id as i32).collect();
        let ids = Tensor::<B, 2, Int>::from_data(TensorData::new(ids, [1, time]), &self.device);
        let logits = self.model.next_logits(
            ids,
            &Context {
                rope,
                // one document
                starts: Tensor::zeros([1, time], &self.device),
                precision: Precision::F32,
            },
            cache,
        );
        logits
            .into_data()
            .convert::<f32>()
            .to_vec()
            .expect("converted to f32")
    }

    fn codes(&self, tokens: &[u32]) -> Codes {
        let vocab = self.vocab.layout();
        let code = |&id: &u32| match vocab.kind(id) {
            TokenKind::Audio(_) => {
                Some(((id - vocab.audio_base) as usize % vocab.codebook_size) as u16)
            }
            TokenKind::Text | TokenKind::Marker => None,
        };
        Codes::new(
            self.checkpoint.state.codebooks,
            tokens.iter().filter_map(code).collect(),
        )
    }
}
