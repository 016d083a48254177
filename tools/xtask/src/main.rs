// SPDX-License-Identifier: GPL-2.0
#![allow(dead_code)]

mod coverage;
mod differential;
mod reader;
mod results;

fn main() {}
