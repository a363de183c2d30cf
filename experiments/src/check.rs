//! Values that no run could use are refused before any step.

use crate::{AcousticWeights, Error, LoraConfig, Plan, Result, ScheduleConfig};

/// What was found wrong first, if anything.
///
/// `place` says where a dotted key is written.
pub(crate) fn check(plan: &Plan, place: &dyn Fn(&str) -> String) -> Result<()> {
    let check = Check { place };
    check.sizes(plan)?;
    check.model(plan)?;
    check.optimizer(plan)?;
    check.schedule(plan)?;
    check.loss(plan)?;
    check.lora(plan)?;
    check.options(plan)
}

struct Check<'a> {
    place: &'a dyn Fn(&str) -> String,
}

impl Check<'_> {
    fn sizes(&self, plan: &Plan) -> Result<()> {
        let long_enough = plan.seq_len >= 16;
        self.require(long_enough, "seq_len", plan.seq_len, "at least 16 tokens")?;
        self.positive("batch_size", plan.batch_size)?;
        self.positive("steps", plan.steps as usize)?;
        self.positive("validate_every", plan.validate_every as usize)?;
        self.positive("validation_sequences", plan.validation_sequences)?;
        self.positive("log_every", plan.log_every as usize)
    }

    fn model(&self, plan: &Plan) -> Result<()> {
        let model = &plan.model;
        self.positive("model.hidden_size", model.hidden_size)?;
        self.positive("model.intermediate_size", model.intermediate_size)?;
        self.positive("model.num_hidden_layers", model.num_hidden_layers)?;
        self.positive("model.num_attention_heads", model.num_attention_heads)?;
        self.positive("model.num_key_value_heads", model.num_key_value_heads)?;
        let (heads, kv_heads) = (model.num_attention_heads, model.num_key_value_heads);
        self.require(
            heads.is_multiple_of(kv_heads),
            "model.num_key_value_heads",
            kv_heads,
            "a divisor of num_attention_heads",
        )?;
        self.require(
            model.head_dim > 0 && model.head_dim.is_multiple_of(2),
            "model.head_dim",
            model.head_dim,
            "even and positive (RoPE rotates pairs)",
        )?;
        self.require(
            plan.seq_len <= model.max_position_embeddings,
            "seq_len",
            plan.seq_len,
            "at most model.max_position_embeddings",
        )?;
        self.above_zero("model.rms_norm_eps", model.rms_norm_eps)?;
        self.not_negative("model.initializer_range", model.initializer_range)?;
        self.above_zero("model.rope.theta", model.rope.theta)
    }

    fn optimizer(&self, plan: &Plan) -> Result<()> {
        let optimizer = &plan.optimizer;
        self.not_negative("optimizer.lr", optimizer.lr)?;
        self.not_negative("optimizer.weight_decay", optimizer.weight_decay)?;
        self.below_one("optimizer.beta1", optimizer.beta1)?;
        self.below_one("optimizer.beta2", optimizer.beta2)?;
        self.above_zero("optimizer.epsilon", optimizer.epsilon)?;
        self.above_zero("optimizer.max_grad_norm", optimizer.max_grad_norm)?;
        let Some(muon) = &optimizer.muon else {
            return Ok(());
        };
        self.not_negative("optimizer.muon.lr", muon.lr)?;
        self.below_one("optimizer.muon.momentum", muon.momentum)?;
        self.above_zero("optimizer.muon.epsilon", muon.epsilon)?;
        self.positive("optimizer.muon.iterations", muon.iterations)
    }

    fn schedule(&self, plan: &Plan) -> Result<()> {
        let (warmup, decay, min_lr_ratio) = match plan.schedule {
            ScheduleConfig::Wsd {
                warmup,
                decay,
                min_lr_ratio,
            } => (warmup, decay, min_lr_ratio),
            ScheduleConfig::Linear {
                warmup,
                min_lr_ratio,
            }
            | ScheduleConfig::Cosine {
                warmup,
                min_lr_ratio,
            } => (warmup, 0.0, min_lr_ratio),
            ScheduleConfig::Constant { warmup } => (warmup, 0.0, 0.0),
            ScheduleConfig::InverseSqrt {
                warmup,
                min_lr_ratio,
                timescale,
            } => {
                self.above_zero("schedule.timescale", timescale)?;
                (warmup, 0.0, min_lr_ratio)
            }
        };
        for (key, value) in [("schedule.warmup", warmup), ("schedule.decay", decay)] {
            let whole = value > 1.0 && value.fract() == 0.0;
            let ok = (0.0..=1.0).contains(&value) || whole;
            self.require(
                ok,
                key,
                value,
                "a fraction in [0, 1], or a whole number of steps",
            )?;
        }
        self.require(
            (0.0..=1.0).contains(&min_lr_ratio),
            "schedule.min_lr_ratio",
            min_lr_ratio,
            "in [0, 1]",
        )?;
        let sum = [warmup, decay].map(|value| {
            if value > 1.0 {
                value
            } else {
                value * plan.steps as f64
            }
        });
        let sum: f64 = sum.iter().sum();
        self.require(
            sum <= plan.steps as f64,
            "schedule.warmup + schedule.decay",
            format!("{sum} steps"),
            "at most the run's steps",
        )
    }

    fn loss(&self, plan: &Plan) -> Result<()> {
        self.not_negative("loss.z_loss_weight", plan.loss.z_loss_weight)?;
        let weights = &plan.loss.weights;
        self.not_negative("loss.weights.text", weights.text)?;
        self.not_negative("loss.weights.marker", weights.marker)?;
        self.not_negative("loss.weights.semantic", weights.semantic)?;
        let acoustic = match &weights.acoustic {
            AcousticWeights::Same(weight) => std::slice::from_ref(weight),
            AcousticWeights::Each(weights) => weights,
            AcousticWeights::Decay(decay) => std::slice::from_ref(&decay.decay),
        };
        for weight in acoustic {
            self.not_negative("loss.weights.acoustic", *weight)?;
        }
        Ok(())
    }

    fn lora(&self, plan: &Plan) -> Result<()> {
        let Some(lora) = &plan.lora else {
            return Ok(());
        };
        self.positive("lora.rank", lora.rank)?;
        self.above_zero("lora.alpha", lora.alpha)?;
        let unknown = |target: &&String| !LoraConfig::TARGETS.contains(&target.as_str());
        let unknown = lora.targets.iter().find(unknown);
        self.require(
            unknown.is_none() && !lora.targets.is_empty(),
            "lora.targets",
            unknown.map_or("[]", String::as_str),
            "at least one of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
        )?;
        self.require(
            plan.anneal.is_none(),
            "lora",
            "set",
            "left out of an anneal, whose optimizer state is that of the whole model",
        )
    }

    fn options(&self, plan: &Plan) -> Result<()> {
        let checkpoint = &plan.checkpoint;
        self.positive("checkpoint.every_steps", checkpoint.every_steps as usize)?;
        self.positive("checkpoint.keep_last", checkpoint.keep_last)?;
        if let Some(minutes) = checkpoint.every_minutes {
            self.above_zero("checkpoint.every_minutes", minutes)?;
        }
        if let Some(steps) = checkpoint.keep_every {
            self.positive("checkpoint.keep_every", steps as usize)?;
        }
        if let Some(decay) = plan.ema_decay {
            self.below_one("ema_decay", decay)?;
        }
        if let Some(skip) = &plan.skip_step {
            let enough = skip.window >= 2;
            self.require(enough, "skip_step.window", skip.window, "at least 2")?;
            self.above_zero("skip_step.sigma", skip.sigma)?;
        }
        Ok(())
    }

    fn require(
        &self,
        ok: bool,
        key: &'static str,
        found: impl ToString,
        wanted: &'static str,
    ) -> Result<()> {
        match ok {
            true => Ok(()),
            false => Err(Error::Value {
                place: (self.place)(key),
                key,
                found: found.to_string(),
                wanted,
            }),
        }
    }

    fn positive(&self, key: &'static str, value: usize) -> Result<()> {
        self.require(value > 0, key, value, "at least 1")
    }

    fn not_negative(&self, key: &'static str, value: f64) -> Result<()> {
        let ok = value.is_finite() && value >= 0.0;
        self.require(ok, key, value, "finite and not negative")
    }

    fn above_zero(&self, key: &'static str, value: f64) -> Result<()> {
        self.require(value.is_finite() && value > 0.0, key, value, "positive")
    }

    fn below_one(&self, key: &'static str, value: f64) -> Result<()> {
        self.require((0.0..1.0).contains(&value), key, value, "in [0, 1)")
    }
}
