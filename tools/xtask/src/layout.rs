// SPDX-License-Identifier: GPL-2.0

//! Where things are. This program runs in the build root, where `vm/enter` mounts them.

use std::env;
use std::path::Path;
use std::path::PathBuf;

/// The checkout.
pub const TOP: &str = "/src";
/// Output of builds and runs, in the checkout.
pub const BUILD: &str = "/src/build";
/// Logs of steps and guests, in the checkout.
pub const LOGS: &str = "/src/build/log";
/// Kernels, and everything else that outlives a checkout.
pub const CACHE: &str = "/cache";
/// A kernel tree of the user's own, where `KERNEL_TREE` names one.
pub const USER_TREE: &str = "/mnt";

pub fn top(path: impl AsRef<Path>) -> PathBuf {
    Path::new(TOP).join(path)
}

pub fn build(path: impl AsRef<Path>) -> PathBuf {
    Path::new(BUILD).join(path)
}

pub fn log(path: impl AsRef<Path>) -> PathBuf {
    Path::new(LOGS).join(path)
}

pub fn cache(path: impl AsRef<Path>) -> PathBuf {
    Path::new(CACHE).join(path)
}

/// How the user outside of the build root names a path in it.
pub fn on_host(path: &Path) -> PathBuf {
    let outside = |name: &str| PathBuf::from(env::var_os(name).unwrap_or_default());
    let (dir, rest) = if let Ok(rest) = path.strip_prefix(TOP) {
        ("HOST_TOP", rest)
    } else if let Ok(rest) = path.strip_prefix(CACHE) {
        ("HOST_CACHE", rest)
    } else {
        ("HOST_ROOT", path.strip_prefix("/").unwrap_or(path))
    };
    // Components leave no slash at the end.
    outside(dir).join(rest).components().collect()
}

/// The kernel series whose patches are used; `vm/lib.sh` names it.
pub fn series() -> String {
    env::var("SERIES").unwrap_or_default()
}

/// The path of the user's kernel tree, outside of the build root.
pub fn user_tree() -> Option<String> {
    env::var("KERNEL_TREE").ok().filter(|tree| !tree.is_empty())
}

pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
