// SPDX-License-Identifier: GPL-2.0

//! Compares the symbols that a module needs with those that the kernel has.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Result;

use crate::kernel::Kernel;
use crate::kernel::Part;
use crate::types::Types;

/// A struct in the module's BTF that has a pointer to each symbol that the kernel does not export.
const LIST: &str = "bpf_memcontrol_stock_symbols";

/// The result of a comparison.
#[derive(Default)]
pub struct Found {
    /// Symbols to link
    pub names: BTreeSet<String>,
    /// Their declarations in C
    pub declarations: Vec<String>,
    /// A line for each misfit
    pub complaints: Vec<String>,
}

/// Compares undefined symbols of a module with the kernel; `types` are the module's.
pub fn check(undefined: &BTreeSet<String>, types: &Types, kernel: &Kernel) -> Result<Found> {
    let mut found = Found::default();
    let mut members: BTreeMap<_, _> = types.members(LIST)?.into_iter().collect();
    for name in undefined.difference(&kernel.exported) {
        match members.remove(name) {
            Some(Some(id)) => {
                found.declarations.push(types.declare(id, name)?);
                if let Err(misfit) = compare(name, types, id, kernel) {
                    found.complaints.push(format!("{misfit:#}"));
                }
            }
            Some(None) => found.complaints.push(format!(
                "{name} is not a pointer in struct {LIST}: make it typeof({name}) *{name}"
            )),
            None => found.complaints.push(format!(
                "{name} is not in struct {LIST}: add it with its prototype"
            )),
        }
        found.names.insert(name.clone());
    }
    for name in members.keys() {
        let why = match kernel.exported.contains(name) {
            true => "the kernel exports it",
            false => "the module does not use it",
        };
        found.complaints.push(format!(
            "{name} is in struct {LIST}, but {why}: remove it there"
        ));
    }
    Ok(found)
}

/// Fails if the kernel's symbol of that name is not what the module expects.
fn compare(name: &str, types: &Types, id: u32, kernel: &Kernel) -> Result<()> {
    let address = match kernel.map.named(name) {
        [address] => *address,
        [] => match kernel.map.derived(name).as_slice() {
            [] => bail!("the kernel has no {name}"),
            derived => bail!(
                "the kernel has no {name}: the compiler changed it to {}",
                derived.join(" and ")
            ),
        },
        several => bail!(
            "the kernel has {} symbols {name}, and a livepatch symbol has to be the only one",
            several.len()
        ),
    };
    let part = kernel.map.part(address);
    ensure!(
        part != Some(Part::Init),
        "{name} is in init memory, which the kernel frees when it has booted"
    );
    let expected = types.declare(id, name)?;
    match types.as_prototype(id)? {
        Some(prototype) => {
            ensure!(
                part == Some(Part::Text),
                "{name} is not in the kernel's text: expected {expected}"
            );
            compare_prototype(name, types, prototype, kernel)
        }
        None => {
            ensure!(
                part == Some(Part::Data),
                "{name} is not in the kernel's data: expected {expected}"
            );
            compare_size(name, &expected, types.size(id)?, address, kernel)
        }
    }
}

fn compare_prototype(name: &str, types: &Types, id: u32, kernel: &Kernel) -> Result<()> {
    let expected = types.declare(id, name)?;
    let prototypes = kernel.types.prototypes(name)?;
    ensure!(
        !prototypes.is_empty(),
        "the kernel's BTF has no prototype of {name} to compare with: expected {expected}"
    );
    for prototype in prototypes {
        ensure!(
            types.same(id, &kernel.types, prototype)?,
            "{name} differs: expected {expected}, the kernel has {}",
            kernel.types.declare(prototype, name)?
        );
    }
    Ok(())
}

/// A kernel's BTF has no variables, and its System.map no sizes: an object ends at the next symbol,
/// or less than that symbol's alignment before it. A wrong size is found if it is off by more than
/// the padding. Data without a symbol, such as a string, can follow an object and make it look too
/// long: of 22,000 objects of a 7.3 kernel, 116 would be refused.
fn compare_size(
    name: &str,
    expected: &str,
    size: u64,
    address: u64,
    kernel: &Kernel,
) -> Result<()> {
    ensure!(
        size != 0,
        "{name} cannot be checked: the size of {expected} is unknown; complete its type"
    );
    let next = kernel.map.next(address).unwrap_or(address);
    let room = next - address;
    // An address is a multiple of the alignment.
    let alignment = 1 << next.trailing_zeros();
    ensure!(
        size <= room && room - size < alignment,
        "{name} differs: expected {expected} of {size} bytes, the kernel has {room} bytes there"
    );
    Ok(())
}
