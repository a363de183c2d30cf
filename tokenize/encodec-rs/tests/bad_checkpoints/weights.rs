//! `model.safetensors`: cut off, lying, or of another shape.

use super::*;

#[test]
fn files_that_are_not_whole_are_found_out() {
    let whole = weights_of("mimi");
    for (file, part) in [
        (&b""[..], "0 bytes are no safetensors file"),
        (b"1234567", "7 bytes are no safetensors file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "git lfs pull",
        ),
        (b"<!doctype html><html>", "not a whole safetensors file"),
        (&[255; 100], "not a whole safetensors file"),
        (
            b"\x02\0\0\0\0\0\0\0[]",
            "header of a safetensors file was expected",
        ),
        (&whole[..50], "not a whole safetensors file"),
        (&whole[..whole.len() - 1], "follow its header"),
        (&[&whole[..], b"x"].concat(), "follow its header"),
    ] {
        assert_bad_weights("mimi", file, &[part]);
    }
}

/// A file of the header alone, followed by `bytes` zeros.
fn with_header(header: Value, bytes: usize) -> Vec<u8> {
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; bytes]].concat()
}

#[test]
fn headers_that_lie_are_found_out() {
    let tensor = |shape: Value, from: u64, to: u64| json!({"dtype": "F32", "shape": shape, "data_offsets": [from, to]});
    for header in [
        // more than there is, less than its shape, backwards, a gap, an overlap
        json!({"a": tensor(json!([4]), 0, 16)}),
        json!({"a": tensor(json!([4]), 0, 8)}),
        json!({"a": tensor(json!([0]), 8, 0)}),
        json!({"a": tensor(json!([1]), 4, 8)}),
        json!({"a": tensor(json!([2]), 0, 8), "b": tensor(json!([1]), 4, 8)}),
        // sizes whose product overflows
        json!({"a": tensor(json!([1u64 << 40, 1u64 << 40]), 0, 8)}),
        json!({"a": tensor(json!([u64::MAX]), 0, u64::MAX)}),
        json!({"a": {"dtype": "F33", "shape": [2], "data_offsets": [0, 8]}}),
        json!({"a": 5}),
    ] {
        let file = with_header(header.clone(), 8);
        let parts: &[&str] = &["safetensors file", "is the download complete?"];
        assert_bad_weights("dac", &file, parts);
    }
    // offsets whose sum overflows together with the length of the header
    let piece = 1u64 << 60;
    let tensors = (0..16u64).map(|i| {
        let length = if i == 15 { piece - 1 } else { piece };
        let info = json!({"dtype": "U8", "shape": [length], "data_offsets": [i * piece, i * piece + length]});
        (format!("t{i}"), info)
    });
    let file = with_header(Value::Object(tensors.collect()), 8);
    assert_bad_weights("dac", &file, &["not a whole safetensors file"]);
}

#[test]
fn a_missing_tensor_is_named_with_its_likeness() {
    let name = "decoder.layers.0.conv.bias";
    let file = edited("mimi", |tensors| {
        let bias = tensors.remove(name).unwrap();
        tensors.insert(format!("mimi.{name}"), bias);
    });
    let parts = [name, "is missing", "`mimi.decoder.layers.0.conv.bias`"];
    assert_bad_weights("mimi", &file, &parts);

    let file = edited("dac", |tensors| tensors.clear());
    assert_bad_weights("dac", &file, &["is missing", "the file has no tensors"]);

    // a weight may be stored in three forms
    let prefix = "encoder.layers.0.conv";
    let file = edited("encodec-24khz", |tensors| {
        tensors.retain(|name, _| !name.starts_with(&format!("{prefix}.parametrizations")));
    });
    let parts = [
        "`encoder.layers.0.conv.weight` is missing",
        "`weight_g` with `weight_v`",
        "`parametrizations.weight.original0` with",
    ];
    assert_bad_weights("encodec-24khz", &file, &parts);
    // and half of a form is none
    let lost = format!("{prefix}.parametrizations.weight.original0");
    let file = edited("encodec-24khz", |tensors| drop(tensors.remove(&lost)));
    assert_bad_weights("encodec-24khz", &file, &[&lost, "is missing"]);
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    let name = "encoder_transformer.layers.0.mlp.fc1.weight";
    let mut shapes = (String::new(), String::new());
    let file = edited("mimi", |tensors| {
        let shape = &mut tensors.get_mut(name).unwrap().shape;
        shapes.0 = format!("expected {shape:?}");
        shape.reverse();
        shapes.1 = format!("has shape {shape:?}");
    });
    assert_bad_weights("mimi", &file, &[name, &shapes.0, &shapes.1]);
    let file = edited("mimi", |tensors| {
        tensors.get_mut(name).unwrap().dtype = Dtype::I32;
    });
    assert_bad_weights("mimi", &file, &[name, "I32", "F32, F16 and BF16"]);
}

#[test]
fn weights_that_are_no_numbers_are_located() {
    let name = "decoder.conv1.weight";
    let file = edited("dac", |tensors| {
        let bytes = &mut tensors.get_mut(name).unwrap().bytes;
        bytes[4 * 11..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert_bad_weights("dac", &file, &[name, "value 11 is NaN"]);
}

#[test]
fn a_direction_of_length_zero_cannot_be_normalised() {
    let name = "encoder.layers.0.conv.parametrizations.weight.original1";
    let file = edited("encodec-24khz", |tensors| {
        let tensor = tensors.get_mut(name).unwrap();
        let row = tensor.bytes.len() / tensor.shape[0];
        tensor.bytes[2 * row..3 * row].fill(0);
    });
    assert_bad_weights("encodec-24khz", &file, &[name, "row 2 has length 0"]);
}

#[test]
fn codewords_that_overflow_are_located() {
    let codebook = "quantizer.semantic_residual_vector_quantizer.layers.0.codebook";
    let file = edited("mimi", |tensors| {
        let usage = &mut tensors
            .get_mut(&format!("{codebook}.cluster_usage"))
            .unwrap()
            .bytes;
        usage[..4].fill(0);
        let sums = &mut tensors
            .get_mut(&format!("{codebook}.embed_sum"))
            .unwrap()
            .bytes;
        sums[4..8].copy_from_slice(&f32::MAX.to_le_bytes());
    });
    assert_bad_weights(
        "mimi",
        &file,
        &["embed_sum / cluster_usage", "value 1 is inf"],
    );
}
