//! Logits of a model in a folder, for comparison with other programs:
//!
//! ```text
//! cargo run --release -p pretrain --example logits -- FOLDER 1,2,3 OUT
//! ```
//! writes `OUT/logits.safetensors` with `logits` `[tokens, vocab]`.

use std::borrow::Cow;
use std::error::Error;
use std::fs;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use experiments::Precision;
use pretrain::hf::{folder_config, initial_weights};
use pretrain::model::{Context, RopeTable, document_starts};
use pretrain::weights::{FloatType, LazyTensor, MAX_SHARD_BYTES, write_weights};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, ids, out] = arguments.as_slice() else {
        return Err(
            "give a folder, token ids with commas between them, and a folder for the logits".into(),
        );
    };
    let ids: Vec<i32> = ids.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let (folder, out) = (Path::new(folder), Path::new(out));
    let (config, rows) = folder_config(folder)?;
    if let Some(id) = ids.iter().find(|id| !(0..rows as i32).contains(*id)) {
        return Err(format!("there is no id {id}: the model has {rows} rows").into());
    }
    let device = Default::default();
    let model = initial_weights::<Flex>(folder, &config, rows, &device)?.model;

    let time = ids.len();
    let rope = RopeTable::new(&config.rope, config.head_dim, 0, time, &device);
    let document = vec![0; time];
    let context = Context {
        rope,
        starts: document_starts(&[&document], &device),
        precision: Precision::F32,
    };
    let tokens = Tensor::from_data(TensorData::new(ids, [1, time]), &device);
    let hidden = model.hidden(tokens, &context).squeeze_dim::<2>(0); // [time, hidden]
    let logits = hidden.matmul(model.head().transpose()).into_data();

    fs::create_dir_all(out)?;
    let tensor = LazyTensor::new("logits", vec![time, rows], || {
        Ok(Cow::Borrowed(logits.as_bytes()))
    });
    write_weights(out, "logits", [tensor], FloatType::F32, MAX_SHARD_BYTES)?;
    Ok(())
}
