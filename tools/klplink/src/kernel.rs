// SPDX-License-Identifier: GPL-2.0

//! The kernel that the module is for: what it exports, where its symbols are, and its types.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use object::ReadCache;

use crate::module;
use crate::types::Types;

pub struct Kernel {
    pub exported: BTreeSet<String>,
    pub map: SystemMap,
    pub types: Types,
}

impl Kernel {
    pub fn read(vmlinux: &Path, symvers: &Path, system_map: &Path) -> Result<Self> {
        let named = |path: &Path| path.display().to_string();
        let text = |path: &Path| fs::read_to_string(path).with_context(|| named(path));
        Ok(Self {
            exported: exported_symbols(&text(symvers)?).with_context(|| named(symvers))?,
            map: SystemMap::new(&text(system_map)?).with_context(|| named(system_map))?,
            types: vmlinux_types(vmlinux).with_context(|| named(vmlinux))?,
        })
    }
}

/// Reads BTF alone: with debug information a vmlinux has hundreds of megabytes.
fn vmlinux_types(path: &Path) -> Result<Types> {
    let file = ReadCache::new(File::open(path)?);
    let btf = module::section(&file, ".BTF")?.context(
        "there is no .BTF in it; it has to be a kernel built with CONFIG_DEBUG_INFO_BTF",
    )?;
    Types::new(btf, None)
}

/// Reads lines of checksum, symbol, module, kind of export and namespace, separated by tabs.
fn exported_symbols(text: &str) -> Result<BTreeSet<String>> {
    let names: Option<BTreeSet<String>> = text
        .lines()
        .map(|line| Some(line.split('\t').nth(1)?.to_owned()))
        .collect();
    let names = names.context("it is not the Module.symvers of a kernel")?;
    ensure!(!names.is_empty(), "it is empty");
    Ok(names)
}

/// The use of a part of the kernel's image.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Part {
    Text,
    Data,
    /// Text and data that the kernel frees when it has booted
    Init,
}

/// Symbols at the begin and at the end of each part. The type that System.map gives a symbol does
/// not tell text from data: it comes from the flags of a section, and Debian's .data is executable.
const PARTS: [(&str, &str, Part); 5] = [
    ("_stext", "_etext", Part::Text),
    ("__start_rodata", "__end_rodata", Part::Data),
    ("_sdata", "_edata", Part::Data),
    ("__bss_start", "__bss_stop", Part::Data),
    ("__init_begin", "__init_end", Part::Init),
];

/// A System.map. /proc/kallsyms of the booted kernel has the same form.
pub struct SystemMap {
    symbols: BTreeMap<String, Vec<u64>>,
    addresses: BTreeSet<u64>,
    parts: Vec<(Range<u64>, Part)>,
}

impl SystemMap {
    fn new(text: &str) -> Result<Self> {
        let mut symbols: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (line, number) in text.lines().zip(1..) {
            let (name, address) =
                parse(line).with_context(|| format!("line {number} is not ADDRESS TYPE SYMBOL"))?;
            symbols.entry(name.to_owned()).or_default().push(address);
        }
        // In place of it, distributions install a note that says where it is.
        let address = |name| match symbols.get(name).map(Vec::as_slice) {
            Some([address]) => Ok(*address),
            _ => bail!("it is not the System.map of a kernel: {name} is missing"),
        };
        let mut parts = Vec::new();
        for (begin, end, part) in PARTS {
            parts.push((address(begin)?..address(end)?, part));
        }
        let addresses: BTreeSet<u64> = symbols.values().flatten().copied().collect();
        ensure!(
            addresses.len() > 1,
            "its addresses are hidden; root sees them in /proc/kallsyms"
        );
        Ok(Self {
            symbols,
            addresses,
            parts,
        })
    }

    /// The addresses of all symbols of that name.
    pub fn named(&self, name: &str) -> &[u64] {
        self.symbols.get(name).map_or(&[], Vec::as_slice)
    }

    /// Functions that GCC made from one of that name, with fewer arguments or a part of its code.
    pub fn derived(&self, name: &str) -> Vec<&str> {
        self.symbols
            .range(name.to_owned()..)
            .map_while(|(symbol, _)| Some((symbol, symbol.strip_prefix(name)?)))
            .filter(|(_, suffix)| {
                [".isra.", ".constprop.", ".part."]
                    .iter()
                    .any(|made| suffix.starts_with(made))
            })
            .map(|(symbol, _)| symbol.as_str())
            .collect()
    }

    pub fn part(&self, address: u64) -> Option<Part> {
        let (_, part) = self
            .parts
            .iter()
            .find(|(range, _)| range.contains(&address))?;
        Some(*part)
    }

    /// The next address that has a symbol.
    pub fn next(&self, address: u64) -> Option<u64> {
        self.addresses.range(address + 1..).next().copied()
    }
}

fn parse(line: &str) -> Option<(&str, u64)> {
    let mut words = line.split(' ');
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    Some((words.nth(1)?, address))
}
