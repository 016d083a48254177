// SPDX-License-Identifier: GPL-2.0

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    memcgbuild::skeletons()?;
    memcgbuild::records(&["src/bpf/counts.h"], &["counts"])
}
