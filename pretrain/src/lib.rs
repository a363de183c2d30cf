//! Qwen3-architecture models over audio and text tokens: training and generation.
