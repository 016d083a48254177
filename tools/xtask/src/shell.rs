// SPDX-License-Identifier: GPL-2.0

//! `make demo`, `make demo-stock`, `make demo-server` and `make shell`; and `make reload`, which
//! brings a changed module into the guest of the latter.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use crate::guest;
use crate::guest::Event;
use crate::guest::Guest;
use crate::kernel::Kernels;
use crate::layout;
use crate::parts;
use crate::parts::Part;
use crate::server::Server;

const KO: &str = "/src/build/module/rust_bpf_memcontrol.ko";
/// How long a guest may take to exchange the module: programs that use it go a moment after the
/// process that loaded them.
const RELOAD_LIMIT: Duration = Duration::from_secs(60);

pub fn demo(kernels: &Kernels) -> Result<bool> {
    show(
        kernels,
        "demo",
        "guest",
        "/src/demo/run && /src/demo/oom && /src/demo/guard",
    )
}

pub fn demo_stock(kernels: &Kernels) -> Result<bool> {
    show(
        kernels,
        "demo-stock",
        "debian",
        "/src/demo/oom && /src/demo/guard",
    )
}

/// Runs scripts of the demo in a guest with the module loaded, and prints what they say.
fn show(kernels: &Kernels, name: &str, kernel: &str, scripts: &str) -> Result<bool> {
    let wanted = [Part::Module, Part::Policies, Part::Tools].map(|part| (part, kernel.to_string()));
    parts::build_for(kernels, &wanted.into())?;
    let ko = format!("{}/rust_bpf_memcontrol.ko", Part::Module.dir(kernel));
    print(&Guest::new(
        name,
        &kernels.get(kernel)?,
        &format!("insmod /src/build/{ko} && {scripts}"),
    ))
}

/// Installs the packages on a server, and shows OOMs without and with them.
pub fn demo_server(kernels: &Kernels) -> Result<bool> {
    let wanted = [
        Part::Module,
        Part::Policies,
        Part::Tools,
        Part::Server,
        Part::Deb,
    ]
    .map(|part| (part, "debian".to_string()));
    parts::build_for(kernels, &wanted.into())?;
    let kernel = kernels.get("debian")?;
    let mut guest = Guest::new("demo-server", &kernel, "/src/demo/server");
    guest.server = Some(Server::get(&kernel)?);
    print(&guest)
}

/// Runs a guest, and prints what it says.
fn print(guest: &Guest) -> Result<bool> {
    let print = |event: Event<'_>| {
        if let Event::Line(line) = event {
            println!("{line}");
        }
    };
    match guest.run(print)? {
        Some(status) => Ok(status == 0),
        None => bail!(
            "the guest did not finish; its last words are in build/log/{}.dmesg",
            guest.name
        ),
    }
}

pub fn shell(kernels: &Kernels) -> Result<bool> {
    parts::build(
        kernels,
        &[Part::Module, Part::Policies, Part::Tools, Part::Bpftool],
    )?;
    let kernel = kernels.get("guest")?;
    let host = |path: &str| layout::on_host(Path::new(path)).display().to_string();
    println!("\ngdb, outside of the guest:");
    println!(
        "  gdb {} -ex 'set substitute-path /linux {}' -ex 'target remote {}'",
        layout::on_host(&kernel.build.join("vmlinux")).display(),
        layout::on_host(&kernel.source).display(),
        host(guest::GDB)
    );
    println!(
        "  (gdb) add-symbol-file {} ADDRESS    # of .text: /sys/module/rust_bpf_memcontrol/sections/.text",
        host(KO)
    );
    println!("make reload, in another terminal, builds the module and exchanges it in the guest.");
    let mut guest = Guest::new(
        "shell",
        &kernel,
        &format!("insmod {KO} && exec /src/vm/shell"),
    );
    guest.arguments = "nokaslr".to_string();
    guest.interact()
}

/// Builds the module, and exchanges it in the guest of `make shell`.
pub fn reload(kernels: &Kernels) -> Result<bool> {
    let mut control = UnixStream::connect(guest::CONTROL).ok().context(
        "no guest of `make shell` is running in this checkout; start one in another terminal",
    )?;
    control.set_read_timeout(Some(RELOAD_LIMIT))?;
    parts::build(kernels, &[Part::Module])?;
    writeln!(control, "/src/vm/reload {KO}")?;
    for line in BufReader::new(control).lines() {
        let line = line.context("the guest does not say whether it has the new module")?;
        match line.trim_end().strip_prefix("status: ") {
            Some(status) => return Ok(status == "0"),
            None => println!("{}", line.trim_end()),
        }
    }
    bail!("the guest has ended")
}
