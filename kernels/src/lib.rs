//! The hot tensor operations of training, with their backward passes.
