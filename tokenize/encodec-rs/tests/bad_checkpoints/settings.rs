//! `config.json`: of something else, or with settings that make no sense.

use super::*;

#[test]
fn files_that_are_no_configuration_of_a_codec_are_found_out() {
    let weights = weights_of("dac");
    for (config, parts) in [
        (&b""[..], &[CONFIG_FILE, "EOF"][..]),
        (b"\xff\xfe", &[CONFIG_FILE, "UTF-8"]),
        (b"model_type: mimi", &[CONFIG_FILE, "line 1"]),
        (b"[]", &[CONFIG_FILE]),
        (b"{}", &[CONFIG_FILE, "model_type"]),
        (
            b"{\"model_type\": \"llama\"}",
            &[CONFIG_FILE, "llama", "mimi, encodec, dac"],
        ),
        (b"{\"model_type\": 7}", &[CONFIG_FILE, "line 1"]),
    ] {
        assert_says(load(config, &weights), parts);
    }
    let deep = format!("{{\"a\": {}", "[".repeat(100_000));
    assert_says(load(deep.as_bytes(), &weights), &[CONFIG_FILE, "EOF"]);
    // of another codec: its tensors are not there
    let other = serde_json::to_vec(&config_of("mimi")).unwrap();
    assert_says(load(&other, &weights), &[WEIGHTS_FILE, "is missing"]);
}

#[test]
fn settings_without_sense_are_named() {
    let huge = json!(1u64 << 40);
    for (name, key, value, part) in [
        ("mimi", "hidden_size", json!(-512), "-512"),
        ("mimi", "hidden_size", json!(0), "`hidden_size` is 0"),
        (
            "mimi",
            "hidden_size",
            huge.clone(),
            "`hidden_size` is 1099511627776",
        ),
        ("mimi", "hidden_size", json!(1e20), "expected usize"),
        ("mimi", "hidden_size", json!(null), "null"),
        ("mimi", "num_filters", json!(1), "`compress` is 2"),
        (
            "mimi",
            "upsampling_ratios",
            json!([]),
            "`upsampling_ratios` is []",
        ),
        (
            "mimi",
            "upsampling_ratios",
            json!([8, 0]),
            "`upsampling_ratios` is [8, 0]",
        ),
        (
            "mimi",
            "upsampling_ratios",
            json!(vec![1; 70]),
            "1 to 16 numbers",
        ),
        (
            "mimi",
            "upsampling_ratios",
            json!([1 << 19, 1 << 19]),
            "product",
        ),
        // 8 again, where it wraps around
        (
            "mimi",
            "upsampling_ratios",
            json!([8, (1u64 << 61) + 1]),
            "product",
        ),
        (
            "mimi",
            "num_residual_layers",
            huge.clone(),
            "`num_residual_layers` is",
        ),
        (
            "mimi",
            "dilation_growth_rate",
            json!(0),
            "`dilation_growth_rate` is 0",
        ),
        (
            "mimi",
            "trim_right_ratio",
            json!(1.5),
            "`trim_right_ratio` is 1.5",
        ),
        (
            "mimi",
            "trim_right_ratio",
            json!(-0.5),
            "`trim_right_ratio` is -0.5",
        ),
        ("mimi", "use_causal_conv", json!("yes"), "yes"),
        ("mimi", "pad_mode", json!("circular"), "circular"),
        ("mimi", "audio_channels", json!(3), "`audio_channels` is 3"),
        ("mimi", "sampling_rate", json!(0), "`sampling_rate` is 0"),
        ("mimi", "frame_rate", json!(0.0), "`frame_rate` is 0"),
        ("mimi", "frame_rate", json!(-12.5), "`frame_rate` is -12.5"),
        ("mimi", "frame_rate", json!(1e-300), "`frame_rate`"),
        (
            "mimi",
            "num_attention_heads",
            json!(12),
            "`num_attention_heads` is 12",
        ),
        (
            "mimi",
            "num_key_value_heads",
            json!(3),
            "`num_key_value_heads` is 3",
        ),
        ("mimi", "head_dim", json!(3), "`head_dim`"),
        ("mimi", "sliding_window", json!(0), "`sliding_window` is 0"),
        (
            "mimi",
            "hidden_act",
            json!("relu"),
            "`hidden_act` is \"relu\"; supported: \"gelu\"",
        ),
        ("mimi", "norm_eps", json!(0.0), "`norm_eps` is 0"),
        ("mimi", "norm_eps", json!(1e300), "`norm_eps` is inf"),
        (
            "mimi",
            "num_quantizers",
            json!(1),
            "`num_semantic_quantizers` is 1",
        ),
        ("mimi", "codebook_size", json!(100), "power of two"),
        ("mimi", "codebook_size", json!(1 << 17), "2 to 65536"),
        ("mimi", "codebook_dim", json!(1), "`codebook_dim` is 1"),
        (
            "mimi",
            "upsample_groups",
            json!(5),
            "`upsample_groups` is 5",
        ),
        (
            "encodec-24khz",
            "num_lstm_layers",
            json!(0),
            "`num_lstm_layers` is 0",
        ),
        (
            "encodec-24khz",
            "norm_type",
            json!("batch_norm"),
            "batch_norm",
        ),
        (
            "encodec-24khz",
            "target_bandwidths",
            json!([]),
            "at least 1 is needed",
        ),
        (
            "encodec-24khz",
            "target_bandwidths",
            json!([-6.0]),
            "at least 1 is needed",
        ),
        (
            "encodec-24khz",
            "target_bandwidths",
            json!([1e308]),
            "at least 1 is needed",
        ),
        (
            "encodec-24khz",
            "codebook_size",
            json!(1),
            "`codebook_size` is 1",
        ),
        (
            "encodec-24khz",
            "codebook_dim",
            json!(1),
            "`codebook_dim` is 1",
        ),
        ("encodec-24khz", "trim_right_ratio", json!("all"), "all"),
        (
            "encodec-48khz",
            "trim_right_ratio",
            json!(0.5),
            "`trim_right_ratio` is 0.5",
        ),
        (
            "encodec-48khz",
            "chunk_length_s",
            json!(0.0),
            "`chunk_length_s` is 0",
        ),
        (
            "encodec-48khz",
            "chunk_length_s",
            json!(-1.0),
            "`chunk_length_s` is -1",
        ),
        (
            "encodec-48khz",
            "chunk_length_s",
            json!(1e18),
            "`chunk_length_s` is 1000000000000000000",
        ),
        ("encodec-48khz", "overlap", json!(1.0), "`overlap` 1"),
        ("encodec-48khz", "overlap", json!(-0.1), "`overlap` -0.1"),
        (
            "dac",
            "downsampling_ratios",
            json!([]),
            "`downsampling_ratios` is []",
        ),
        ("dac", "decoder_hidden_size", json!(2), "cannot be halved"),
        ("dac", "n_codebooks", json!(0), "`n_codebooks` is 0"),
        ("dac", "codebook_dim", json!(0), "`codebook_dim` is 0"),
        ("dac", "sampling_rate", huge, "u32"),
    ] {
        assert_bad_config(name, key, value, &[part]);
    }
}

#[test]
fn sizes_are_compared_with_the_file_before_memory_is_asked_for() {
    for (name, key) in [
        ("mimi", "intermediate_size"),
        ("encodec-24khz", "kernel_size"),
        ("dac", "encoder_hidden_size"),
    ] {
        let mut config = config_of(name);
        config.insert(key.to_owned(), json!(1 << 20));
        let result = load(&serde_json::to_vec(&config).unwrap(), &weights_of(name));
        assert_says(result, &[WEIGHTS_FILE, "has shape", "1048576"]);
    }
}

#[test]
fn more_codebooks_than_there_are() {
    for asked in [0, 13, usize::MAX] {
        let result = models::load(&fixture("dac"), "some-dac", Some(asked));
        let message = result.err().unwrap().to_string();
        let parts = ["`some-dac` has 12 codebooks", "choose from 1 to 12"];
        assert_says(Err(message), &parts);
    }
}
