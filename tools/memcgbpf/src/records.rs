// SPDX-License-Identifier: GPL-2.0

//! The structs and constants of the headers in include/, as bindgen reads them.

#![allow(non_camel_case_types, non_upper_case_globals, unsafe_code, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/records.rs"));
