// SPDX-License-Identifier: GPL-2.0

//! The server: a guest that is a Debian of its own, with one of Debian's own kernels, systemd and
//! services. Its disk is in the cache; a guest's changes to it last until the guest ends.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::cache;
use crate::cache::Key;
use crate::debian;
use crate::kernel::Kernel;
use crate::layout;
use crate::step::step;

/// Makes the disk; its directory has all that the disk is made from.
const MAKE: &str = "vm/server/make";

/// Where the server's disk, kernel and initramfs are.
#[derive(Clone, Debug)]
pub struct Server(PathBuf);

impl Server {
    /// Returns the server that runs a kernel of Debian's.
    pub fn get(kernel: &Kernel) -> Result<Self> {
        let release = kernel.release()?;
        let key = Key::new()
            .add(debian::version(kernel)?)
            .add_tree(&layout::top("vm/server"))?
            .finish();
        let dir = cache::entry(&format!("server-{release}-{key}"), |new| {
            cache::need_space(4)?;
            step("making a server (some 2 minutes)", |log| {
                log.run(Command::new(layout::top(MAKE)).arg(new).arg(&release))
            })
        })?;
        Ok(Self(dir))
    }

    /// QEMU's arguments for it. The guest's init finds its command by the kernel's arguments.
    pub fn arguments(&self, arguments: &str, command: &Path) -> Vec<String> {
        let file = |name| self.0.join(name).display().to_string();
        let append = format!(
            "{arguments} root=/dev/vda rw systemd.getty_auto=0 systemd.show_status=0 guest.command={}",
            command.display()
        );
        let disk = format!("file={},format=raw,if=virtio,snapshot=on", file("disk"));
        let checkout = format!(
            "local,path={},mount_tag=src,security_model=none,readonly=on,multidevs=remap",
            layout::TOP
        );
        [
            ["-kernel", &file("vmlinuz")],
            ["-initrd", &file("initrd")],
            ["-append", &append],
            ["-drive", &disk],
            ["-virtfs", &checkout],
        ]
        .concat()
        .into_iter()
        .map(str::to_string)
        .collect()
    }
}
