// SPDX-License-Identifier: GPL-2.0

//! Unloads and loads the module, and checks that a module in use refuses to be unloaded.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use nix::errno::Errno;
use nix::kmod;
use nix::kmod::DeleteModuleFlags;

use crate::programs;
use crate::round::Worker;

const NAME: &str = "rust_bpf_memcontrol";
/// The longest time until grace periods end, after which a closed program releases the module.
const PATIENCE: Duration = Duration::from_secs(120);

/// The image of the module.
pub struct Module(Vec<u8>);

impl Module {
    /// Reads the module, and loads it unless it is loaded.
    pub fn open(path: &Path) -> Result<Self> {
        let image = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let module = Self(image);
        if !Self::is_loaded() {
            module
                .load()
                .with_context(|| format!("cannot load {} (dmesg says why)", path.display()))?;
        }
        Ok(module)
    }

    fn is_loaded() -> bool {
        Path::new("/sys/module").join(NAME).exists()
    }

    pub fn load(&self) -> Result<(), Errno> {
        kmod::init_module(&self.0, c"")
    }

    pub fn try_unload(&self) -> Result<(), Errno> {
        kmod::delete_module(c"rust_bpf_memcontrol", DeleteModuleFlags::O_NONBLOCK)
    }

    /// Unloads the module as soon as closed programs have released it.
    pub fn unload(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            match self.try_unload() {
                Ok(()) => return Ok(()),
                Err(Errno::EWOULDBLOCK) if start.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => {
                    let users = Self::users().unwrap_or(0);
                    return Err(error).with_context(|| {
                        format!(
                            "cannot unload the module: it has {users} users and should have none"
                        )
                    });
                }
            }
        }
    }

    /// The module's reference count.
    pub fn users() -> Result<u64> {
        let path = format!("/sys/module/{NAME}/refcnt");
        fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .with_context(|| format!("cannot read {path}"))
    }
}

/// Unloads and loads the module, at least once in a round.
pub fn reload(worker: &mut Worker<'_>) -> Result<()> {
    let round = worker.round;
    loop {
        round.sleep(worker.random.duration(500, 4000));
        let _alone = round.without_users();
        programs::with_programs(round, || match round.module.try_unload() {
            Err(Errno::EWOULDBLOCK) => {
                round.counts.busy.add(1);
                Ok(())
            }
            Err(error) => Err(error).context("unloading a module in use: not EWOULDBLOCK"),
            Ok(()) => bail!("the module was unloaded while a program used it"),
        })?;
        thread::scope(|scope| {
            // Loads programs at any stage of the unload and load, with success or not.
            scope.spawn(|| {
                for _ in 0..3 {
                    _ = programs::with_programs(round, || Ok(()));
                }
            });
            round.module.unload()?;
            round.module.load().context("cannot load the module again")
        })?;
        round.counts.unloaded.add(1);
        if !round.goes_on() {
            return Ok(());
        }
    }
}
