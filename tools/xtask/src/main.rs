// SPDX-License-Identifier: GPL-2.0

//! The parts of what is behind `make` that are in Rust so far.

#![allow(dead_code)]

mod bench;
mod coverage;
mod differential;
mod docs;
mod prose;
mod reader;
mod results;

fn main() {}
