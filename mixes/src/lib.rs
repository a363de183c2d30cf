//! Views, packing, mixtures and the loader that feeds training.
