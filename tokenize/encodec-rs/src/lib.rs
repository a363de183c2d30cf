//! Neural and embedded audio codecs: samples to codes and back.
