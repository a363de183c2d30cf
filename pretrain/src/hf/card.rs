//! The model card: what a model is, what it was trained on, how well it does, and how to use it.

use std::fmt::{self, Display, Formatter};

use experiments::{ModelConfig, Plan};
use shards::VocabLayout;

use super::rope_in_words;
use crate::checkpoint::State;
use crate::metrics::{RunRecord, ValidationRecord};
use crate::report::format::count;

/// What a run says of a checkpoint.
pub(super) struct RunFacts {
    /// Where the run stood.
    pub state: State,
    /// Data and baseline; none if the checkpoint was taken out of its run's folder.
    pub run: Option<RunRecord>,
    /// The last validation up to the checkpoint.
    pub validation: Option<ValidationRecord>,
}

/// Everything a card tells; its `Display` is the Markdown.
pub(super) struct Card<'a> {
    /// Title, where there is no run with a name.
    pub name: String,
    pub model: &'a ModelConfig,
    /// Rows of the embedding matrix.
    pub rows: usize,
    /// None for a model of text alone.
    pub layout: Option<&'a VocabLayout>,
    /// Whether the weights are the moving average.
    pub averaged: bool,
    /// None for a model that was not trained here.
    pub run: Option<&'a RunFacts>,
}

impl Display for Card<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let name = self.run.map_or(&self.name, |run| &run.state.plan.name);
        writeln!(
            f,
            "---\nlibrary_name: transformers\npipeline_tag: text-generation"
        )?;
        writeln!(f, "tags:\n- qwen3\n- timbre")?;
        if self.layout.is_some() {
            writeln!(f, "- speech\n- audio-tokens")?;
        }
        writeln!(f, "---\n\n# {name}\n")?;
        self.summary(f)?;
        self.shape(f)?;
        if let Some(layout) = self.layout {
            self.vocabulary(f, layout)?;
        }
        if let Some(facts) = self.run {
            training(f, facts)?;
        }
        self.usage(f)
    }
}

impl Card<'_> {
    fn summary(&self, f: &mut Formatter) -> fmt::Result {
        let tokens = match self.layout {
            Some(_) => "text and discrete audio tokens",
            None => "text",
        };
        write!(
            f,
            "A language model over {tokens} with the Qwen3 architecture"
        )?;
        let Some(RunFacts { state, .. }) = self.run else {
            return writeln!(f, ".\n");
        };
        write!(
            f,
            ", trained with Timbre: step {} of {}, {} tokens.",
            count(state.step),
            count(state.plan.last_step()),
            count(state.tokens)
        )?;
        if self.averaged {
            write!(
                f,
                " The weights are an exponential moving average over the steps."
            )?;
        }
        writeln!(f, "\n")
    }

    fn shape(&self, f: &mut Formatter) -> fmt::Result {
        let model = self.model;
        let head = match model.tie_word_embeddings {
            true => "the embedding matrix",
            false => "a matrix of its own",
        };
        writeln!(f, "## Model\n\n| | |\n|---|---|")?;
        for (what, value) in [
            ("parameters", count(model.parameters(self.rows))),
            ("layers", model.num_hidden_layers.to_string()),
            ("hidden size", model.hidden_size.to_string()),
            ("MLP size", model.intermediate_size.to_string()),
            (
                "heads",
                format!(
                    "{} of {} channels, {} for keys and values",
                    model.num_attention_heads, model.head_dim, model.num_key_value_heads
                ),
            ),
            ("output head", head.to_owned()),
            ("rows of the vocabulary", count(self.rows as u64)),
            (
                "longest sequence",
                count(model.max_position_embeddings as u64),
            ),
            ("RoPE", rope_in_words(&model.rope)),
            ("RMSNorm epsilon", format!("{:e}", model.rms_norm_eps)),
        ] {
            writeln!(f, "| {what} | {value} |")?;
        }
        writeln!(f)
    }

    fn vocabulary(&self, f: &mut Formatter, layout: &VocabLayout) -> fmt::Result {
        let base = layout.audio_base;
        writeln!(f, "## Tokens\n")?;
        writeln!(
            f,
            "Ids below {base} are text and markers. Code `c` of codebook `k` (of {}, with {} codes each) has the id \
             `{base} + k * {} + c`; a frame's codes follow each other, codebook 0 first. In text form it is the character \
             U+E000 + `k * {}` + `c`. `audio_vocab.json` has these numbers.\n",
            layout.codebooks, layout.codebook_size, layout.codebook_size, layout.codebook_size
        )?;
        writeln!(f, "| marker | id |\n|---|---|")?;
        for id in layout.markers() {
            // a bar would end the cell
            let spelling = layout.spelling(id).unwrap_or_default().replace('|', "\\|");
            writeln!(f, "| `{spelling}` | {id} |")?;
        }
        writeln!(f)?;
        let Some(state) = self.run.map(|run| &run.state) else {
            return Ok(());
        };
        match &state.codec {
            None => writeln!(f, "The model was trained on text alone.\n"),
            Some(codec) => {
                write!(
                    f,
                    "The codes are those of the codec `{}` ({} Hz, {} frames a second, {} codebooks used",
                    codec.name, codec.sample_rate_hz, codec.frame_rate_hz, state.codebooks
                )?;
                match codec.sha256.is_empty() {
                    true => writeln!(f, ").\n"),
                    false => writeln!(f, "; SHA-256 of its weights {}).\n", codec.sha256),
                }
            }
        }
    }

    fn usage(&self, f: &mut Formatter) -> fmt::Result {
        let prompt = match self.layout {
            Some(layout) => {
                let spelling = |id| layout.spelling(id).unwrap_or_default();
                let [bos, _, text_start, text_end, audio_start, _] = layout.markers().map(spelling);
                format!("{bos}{text_start}Good morning.{text_end}{audio_start}")
            }
            None => "Good morning.".to_owned(),
        };
        writeln!(
            f,
            "## Use\n\n\
             ```python\n\
             from transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
             folder = \"PATH or OWNER/NAME\"\n\
             tokenizer = AutoTokenizer.from_pretrained(folder)\n\
             model = AutoModelForCausalLM.from_pretrained(folder)\n\
             prompt = \"{prompt}\"\n\
             ids = tokenizer(prompt, return_tensors=\"pt\", add_special_tokens=False)\n\
             out = model.generate(**ids, max_new_tokens=200)\n\
             ```"
        )
    }
}

/// Data, plan and losses.
fn training(f: &mut Formatter, facts: &RunFacts) -> fmt::Result {
    let RunFacts {
        state,
        run,
        validation,
    } = facts;
    if let Some(run) = run {
        writeln!(
            f,
            "## Data\n\nMixture `{}`, of these components:\n",
            state.plan.mix
        )?;
        writeln!(
            f,
            "| component | view | documents | tokens an epoch | held out |\n|---|---|--:|--:|--:|"
        )?;
        for part in &run.components {
            writeln!(
                f,
                "| {} | {} | {} | {} | {} |",
                part.source,
                part.view,
                count(part.documents),
                count(part.tokens),
                count(part.validation_tokens)
            )?;
        }
        writeln!(f)?;
    }
    if let Some(validation) = validation {
        losses(f, run.as_ref(), validation)?;
    }
    plan(f, &state.plan)
}

/// Losses by kind of token beside the baseline's.
fn losses(
    f: &mut Formatter,
    run: Option<&RunRecord>,
    validation: &ValidationRecord,
) -> fmt::Result {
    writeln!(
        f,
        "## Validation\n\nCross-entropy on documents held out, in nats a token, after step {}; beside it that of \
         predicting each token by its frequency in the training data.\n",
        count(validation.step)
    )?;
    writeln!(f, "| tokens | model | frequency |\n|---|--:|--:|")?;
    let baseline = run.map(|run| &run.unigram);
    let number = |loss: Option<f64>| loss.map_or("–".to_owned(), |loss| format!("{loss:.4}"));
    let all = baseline.map(|unigram| unigram.loss);
    writeln!(f, "| all | {:.4} | {} |", validation.loss, number(all))?;
    for (kind, loss) in validation.by_kind.iter() {
        let unigram = baseline.and_then(|unigram| unigram.by_kind.get(kind));
        writeln!(f, "| {kind} | {loss:.4} | {} |", number(unigram))?;
    }
    writeln!(f)
}

fn plan(f: &mut Formatter, plan: &Plan) -> fmt::Result {
    writeln!(
        f,
        "## Training\n\n{} steps of {} sequences of {} tokens. The whole plan:\n",
        count(plan.steps),
        plan.batch_size,
        count(plan.seq_len as u64)
    )?;
    let toml = toml::to_string(plan).map_err(|_| fmt::Error)?;
    writeln!(f, "```toml\n{toml}```\n")
}
