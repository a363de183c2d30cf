//! Experiments as data, resolved to run plans.
