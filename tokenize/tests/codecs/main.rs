//! Codecs as the user of the program meets them.

mod check;
mod golden;
mod run;
