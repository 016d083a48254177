// SPDX-License-Identifier: GPL-2.0

//! The module's ELF file: what it needs, and how a livepatch symbol is written down.
//!
//! `kernel/module/main.c` and `kernel/livepatch/core.c` of the kernel read what is written here.

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::str;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use object::elf;
use object::elf::FileHeader64;
use object::elf::Rela64;
use object::elf::SectionFlags;
use object::elf::SectionHeader64;
use object::elf::SymbolSection;
use object::pod;
use object::read::elf::FileHeader;
use object::read::elf::Rela;
use object::read::elf::SectionHeader;
use object::read::elf::SectionTable;
use object::read::elf::Sym;
use object::read::elf::SymbolTable;
use object::LittleEndian as LE;
use object::ReadRef;
use object::SectionIndex;
use object::U16;
use object::U32;

type Header = FileHeader64<LE>;
type Section = SectionHeader64<LE>;

// include/uapi/linux/elf.h of the kernel
const SHN_LIVEPATCH: SymbolSection = SymbolSection(0xff20);
const SHF_RELA_LIVEPATCH: SectionFlags = SectionFlags(0x0010_0000);

/// The first bytes of gzip, xz and zstd.
const COMPRESSED: [&[u8]; 3] = [b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
const SIGNED: &[u8] = b"~Module signature appended~\n";

/// Returns the section of that name in an ELF file.
pub fn section<'data>(data: impl ReadRef<'data>, name: &str) -> Result<Option<&'data [u8]>> {
    let header = Header::parse(data)
        .ok()
        .context("it is not a 64-bit ELF file")?;
    let sections = header.sections(header.endian()?, data)?;
    match sections.section_by_name(LE, name.as_bytes()) {
        Some((_, section)) => Ok(Some(section.data(LE, data)?)),
        None => Ok(None),
    }
}

/// A module that can be linked.
pub struct Module(Vec<u8>);

impl Module {
    pub fn read(path: &Path) -> Result<Self> {
        let module = Self(fs::read(path)?);
        module.check().map(|()| module)
    }

    fn check(&self) -> Result<()> {
        ensure!(
            !COMPRESSED.iter().any(|magic| self.0.starts_with(magic)),
            "it is compressed; link the module before it is compressed"
        );
        ensure!(
            !self.0.ends_with(SIGNED),
            "it is signed, and the signature would not fit any more; link the module before"
        );
        let is_module = |header: &Header| {
            header.e_type(LE) == elf::ET_REL
                && [elf::EM_X86_64, elf::EM_AARCH64].contains(&header.e_machine(LE))
                && header.endian().is_ok()
        };
        ensure!(
            Header::parse(self.0.as_slice()).is_ok_and(is_module),
            "it is not a module (a relocatable ELF file) for x86-64 or aarch64"
        );
        let (_, symbols) = self
            .parse()
            .context("it is damaged; build the module anew")?;
        ensure!(
            !symbols
                .iter()
                .any(|symbol| symbol.st_shndx(LE) == SHN_LIVEPATCH),
            "it is linked already; build the module anew to link it again"
        );
        let modinfo = self.section(".modinfo")?.unwrap_or_default();
        ensure!(
            modinfo
                .split(|byte| *byte == 0)
                .any(|info| info.starts_with(b"livepatch=")),
            "it is not marked as a livepatch module; add MODULE_INFO(livepatch, \"Y\") to it"
        );
        Ok(())
    }

    pub fn section(&self, name: &str) -> Result<Option<&[u8]>> {
        section(self.0.as_slice(), name)
    }

    fn parse(&self) -> Result<(SectionTable<'_, Header>, SymbolTable<'_, Header>)> {
        let data = self.0.as_slice();
        let sections = Header::parse(data)?.sections(LE, data)?;
        let symbols = sections.symbols(LE, data, elf::SHT_SYMTAB)?;
        Ok((sections, symbols))
    }

    /// Symbols that the module loader has to find. It leaves undefined weak symbols at zero, and
    /// ignores the one name that an assembler adds.
    pub fn undefined(&self) -> Result<BTreeSet<String>> {
        let (_, symbols) = self.parse()?;
        let mut names = BTreeSet::new();
        for symbol in symbols.iter().skip(1) {
            if symbol.is_undefined(LE) && !symbol.is_weak() {
                names.insert(str::from_utf8(symbols.symbol_name(LE, symbol)?)?.to_owned());
            }
        }
        names.remove("_GLOBAL_OFFSET_TABLE_");
        Ok(names)
    }

    /// Returns the file with these undefined symbols as livepatch symbols.
    pub fn link(&self, names: &BTreeSet<String>) -> Result<Vec<u8>> {
        let (sections, symbols) = self.parse()?;
        let symtab = symbols.section();
        let mut image = Image {
            data: self.0.clone(),
            headers: sections.iter().copied().collect(),
        };

        // The indexes stay: relocations refer to symbols by them.
        let mut linked = HashSet::new();
        let mut entries = symbols.symbols().to_vec();
        for ((index, symbol), entry) in symbols.enumerate().zip(&mut entries) {
            let name = str::from_utf8(symbols.symbol_name(LE, symbol)?)?;
            if symbol.is_undefined(LE) && names.contains(name) {
                // "0": the only symbol of that name.
                let name = format!(".klp.sym.vmlinux.{name},0");
                entry.st_name = image.add_string(symbols.string_section(), &name)?;
                entry.st_shndx = U16::new(LE, SHN_LIVEPATCH);
                linked.insert(index);
            }
        }
        image.overwrite(symtab, pod::bytes_of_slice(&entries))?;

        for (index, section) in sections.enumerate() {
            let Some((relocations, of_symbols)) = section.rela(LE, self.0.as_slice())? else {
                continue;
            };
            let (moved, kept): (Vec<Rela64<LE>>, Vec<_>) = relocations.iter().partition(|entry| {
                entry
                    .symbol(LE, false)
                    .is_some_and(|symbol| linked.contains(&symbol))
            });
            if of_symbols != symtab || moved.is_empty() {
                continue;
            }
            image.overwrite(index, pod::bytes_of_slice(&kept))?;
            let to = sections.section(section.info_link(LE))?;
            // The loader relocates no section that it does not load, livepatch or not. Debuggers
            // do, and there these relocations would be worse than none: libdw takes SHN_LIVEPATCH
            // for the number of a section and then gives up on all debug information. Without
            // them, it says 0 in place of the address.
            if to.sh_flags(LE).contains(elf::SHF_ALLOC) {
                let name = str::from_utf8(sections.section_name(LE, to)?)?;
                let name = format!(".klp.rela.vmlinux.{name}");
                image.add_relocations(&name, section, pod::bytes_of_slice(&moved))?;
            }
        }
        image.finish()
    }
}

/// A file with changes. A section that grows moves to the end of the file, and all others stay in
/// their places, of any type: object's own `build::elf::Builder` lays a file out anew, and refuses
/// types that it does not know, such as that of clang's .llvm_addrsig.
struct Image {
    data: Vec<u8>,
    headers: Vec<Section>,
}

impl Image {
    /// Writes at the end of the file, and returns where.
    fn append(&mut self, bytes: &[u8]) -> u64 {
        let start = self.data.len().next_multiple_of(align_of::<u64>());
        self.data.resize(start, 0);
        self.data.extend_from_slice(bytes);
        start as u64
    }

    fn header(&mut self, section: SectionIndex) -> Result<&mut Section> {
        self.headers
            .get_mut(section.0)
            .context("a section is missing")
    }

    fn contents(&mut self, section: SectionIndex) -> Result<&mut [u8]> {
        let header = self.header(section)?;
        let start = usize::try_from(header.sh_offset.get(LE))?;
        let size = usize::try_from(header.sh_size.get(LE))?;
        self.data
            .get_mut(start..)
            .and_then(|rest| rest.get_mut(..size))
            .context("a section is outside of the file")
    }

    /// Gives a section other contents, which are not longer.
    fn overwrite(&mut self, section: SectionIndex, bytes: &[u8]) -> Result<()> {
        self.contents(section)?
            .get_mut(..bytes.len())
            .context("a section has grown")?
            .copy_from_slice(bytes);
        self.header(section)?.sh_size = (bytes.len() as u64).into();
        Ok(())
    }

    /// Adds a string to a string table, and returns its offset there.
    fn add_string(&mut self, table: SectionIndex, string: &str) -> Result<U32<LE>> {
        let strings = self.contents(table)?.to_vec();
        let end = self.header(table)?.sh_offset.get(LE) + strings.len() as u64;
        if end != self.data.len() as u64 {
            let start = self.append(&strings);
            self.header(table)?.sh_offset = start.into();
        }
        self.data.extend_from_slice(string.as_bytes());
        self.data.push(0);
        self.header(table)?.sh_size = ((strings.len() + string.len() + 1) as u64).into();
        Ok(u32::try_from(strings.len())?.into())
    }

    fn add_relocations(&mut self, name: &str, like: &Section, entries: &[u8]) -> Result<()> {
        let names = self.header_of_file()?.e_shstrndx.get(LE).0;
        let sh_name = self.add_string(SectionIndex(names.into()), name)?;
        let sh_offset = self.append(entries).into();
        self.headers.push(Section {
            sh_name,
            sh_flags: (elf::SHF_ALLOC | elf::SHF_INFO_LINK | SHF_RELA_LIVEPATCH).into(),
            sh_offset,
            sh_size: (entries.len() as u64).into(),
            ..*like
        });
        Ok(())
    }

    fn header_of_file(&mut self) -> Result<&mut Header> {
        let (header, _) = pod::from_bytes_mut(&mut self.data)
            .ok()
            .context("the file has no header")?;
        Ok(header)
    }

    fn finish(mut self) -> Result<Vec<u8>> {
        let count = u16::try_from(self.headers.len())
            .ok()
            .filter(|count| *count < elf::SHN_LORESERVE)
            .context("there are too many sections")?;
        let headers = self.headers.clone();
        let at = self.append(pod::bytes_of_slice(&headers));
        let header = self.header_of_file()?;
        header.e_shoff = at.into();
        header.e_shnum = count.into();
        Ok(self.data)
    }
}
