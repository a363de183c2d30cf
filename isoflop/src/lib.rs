//! IsoFLOP scaling studies: candidate grids.
