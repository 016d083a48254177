// SPDX-License-Identifier: GPL-2.0

//! `memhog ANON [FILE=SIZE]...`: holds memory, for the demo and the tests.
//!
//! Fills ANON bytes of its own memory and SIZE bytes of each FILE (K, M and G
//! stand for KiB, MiB and GiB), writes a line to stdout and sleeps until it is
//! killed. The file system decides whether a FILE counts as file or as shared memory.

use std::env;
use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io;
use std::io::Read;
use std::process::ExitCode;
use std::thread;

fn parse_size(text: &str) -> Result<usize, String> {
    let shift = match text.chars().last() {
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        _ => 0,
    };
    let digits = text.strip_suffix(['K', 'M', 'G']).unwrap_or(text);
    digits
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("{text:?} is not a size"))
}

fn hold(args: &[String]) -> Result<(), Box<dyn Error>> {
    let [anon, files @ ..] = args else {
        return Err("usage: memhog ANON [FILE=SIZE]...".into());
    };
    // Zeros would take up no memory until they are written.
    let anon = vec![1u8; parse_size(anon)?];
    for file in files {
        let (path, size) = file.rsplit_once('=').ok_or("FILE=SIZE is missing its =")?;
        let size = parse_size(size)?;
        io::copy(
            &mut io::repeat(1).take(size as u64),
            &mut File::create(path).map_err(|error| format!("{path}: {error}"))?,
        )
        .map_err(|error| format!("{path}: {error}"))?;
    }
    println!("ready");
    loop {
        thread::park();
        black_box(&anon);
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if let Err(error) = hold(&args) {
        eprintln!("memhog: {error}");
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_or_none() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("16K"), Ok(16 << 10));
        assert_eq!(parse_size("20M"), Ok(20 << 20));
        for bad in ["", "M", "1KM", "1X", "-1", "99999999999999999999"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
