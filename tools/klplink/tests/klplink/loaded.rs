// SPDX-License-Identifier: GPL-2.0

//! A module as the kernel's module loader reads it.

use std::collections::BTreeSet;

use object::elf;
use object::elf::FileHeader64;
use object::elf::SectionFlags;
use object::elf::SymbolSection;
use object::read::elf::FileHeader;
use object::read::elf::SectionHeader;
use object::read::elf::Sym;
use object::LittleEndian as LE;

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Relocation {
    /// The section that is relocated
    pub section: String,
    pub offset: u64,
    pub kind: u32,
    pub addend: i64,
    pub symbol: usize,
}

/// The parts of an ELF file that the module loader reads.
#[derive(Default)]
pub struct Loaded {
    /// Name, st_shndx, and the rest of the entry
    pub symbols: Vec<(String, u16, Vec<u8>)>,
    /// Header without name, offset and size, and contents
    pub sections: Vec<(String, Vec<u8>, Vec<u8>)>,
    pub relocations: BTreeSet<Relocation>,
    pub livepatch: BTreeSet<Relocation>,
}

pub fn load(data: &[u8]) -> Loaded {
    let header = FileHeader64::<LE>::parse(data).unwrap();
    let sections = header.sections(LE, data).unwrap();
    let symbols = sections.symbols(LE, data, elf::SHT_SYMTAB).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut loaded = Loaded::default();
    for symbol in symbols.iter() {
        let mut rest = *symbol;
        rest.st_name = 0.into();
        rest.st_shndx = SymbolSection(0).into();
        loaded.symbols.push((
            text(symbols.symbol_name(LE, symbol).unwrap()),
            symbol.st_shndx(LE).0,
            object::pod::bytes_of(&rest).to_vec(),
        ));
    }
    for section in sections.iter().skip(1) {
        let name = text(sections.section_name(LE, section).unwrap());
        if let Some((entries, link)) = section.rela(LE, data).unwrap() {
            assert_eq!(link, symbols.section(), "{name}");
            let to = sections.section(section.info_link(LE)).unwrap();
            let to = text(sections.section_name(LE, to).unwrap());
            let entries = entries.iter().map(|entry| Relocation {
                section: to.clone(),
                offset: entry.r_offset.get(LE),
                kind: entry.r_type(LE, false).0,
                addend: entry.r_addend.get(LE),
                symbol: entry.r_sym(LE, false) as usize,
            });
            // As the kernel tells them: by the flag, and then by the name.
            let flags = section.sh_flags(LE);
            if flags.contains(SectionFlags(0x0010_0000)) {
                assert_eq!(name, format!(".klp.rela.vmlinux.{to}"));
                assert_eq!(
                    flags,
                    SectionFlags(0x0010_0000) | elf::SHF_ALLOC | elf::SHF_INFO_LINK
                );
                assert_eq!(section.sh_addralign(LE), 8);
                assert_eq!(section.sh_entsize(LE), 24);
                loaded.livepatch.extend(entries);
                continue;
            }
            loaded.relocations.extend(entries);
        }
        let mut rest = *section;
        rest.sh_name = 0.into();
        rest.sh_offset = 0.into();
        rest.sh_size = 0.into();
        let contents = match section.sh_type(LE) {
            elf::SHT_RELA | elf::SHT_SYMTAB | elf::SHT_STRTAB => &[],
            _ => section.data(LE, data).unwrap(),
        };
        let rest = object::pod::bytes_of(&rest).to_vec();
        loaded.sections.push((name, rest, contents.to_vec()));
    }
    loaded
}

/// Checks that nothing has changed but what makes the named symbols livepatch symbols.
pub fn assert_linked(before: &[u8], after: &[u8], names: &[&str]) {
    let (before, after) = (load(before), load(after));
    assert_eq!(before.sections, after.sections);
    assert_eq!(before.symbols.len(), after.symbols.len());
    let mut linked = BTreeSet::new();
    for (index, (old, new)) in before.symbols.iter().zip(&after.symbols).enumerate() {
        if names.contains(&old.0.as_str()) {
            assert_eq!(new.0, format!(".klp.sym.vmlinux.{},0", old.0));
            assert_eq!((old.1, new.1), (0, 0xff20));
            assert_eq!(old.2, new.2);
            linked.insert(index);
        } else {
            assert_eq!(old, new);
        }
    }
    assert_eq!(linked.len(), names.len());
    let (moved, kept): (BTreeSet<Relocation>, _) = before
        .relocations
        .into_iter()
        .partition(|entry| linked.contains(&entry.symbol));
    assert_eq!(kept, after.relocations);
    let is_loaded = |entry: &Relocation| !entry.section.starts_with(".debug");
    let moved: BTreeSet<_> = moved.into_iter().filter(is_loaded).collect();
    assert_eq!(moved, after.livepatch);
}
