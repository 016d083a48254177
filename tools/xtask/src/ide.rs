// SPDX-License-Identifier: GPL-2.0

//! `make ide`: what rust-analyzer and clangd read, made by the kernel's own scripts, with paths as they
//! are outside of the build root.

use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use regex::Regex;
use serde_json::Value;

use crate::kernel::Kernel;
use crate::kernel::Kernels;
use crate::layout;
use crate::parts;
use crate::parts::Part;
use crate::step::step;

const BINDINGS: &str = "/src/build/module/bindings_generated.rs";

pub fn write(kernels: &Kernels) -> Result<()> {
    let kernel = kernels.get("guest")?;
    parts::build(kernels, &[Part::Module])?;
    step(
        "writing rust-project.json and compile_commands.json",
        |log| {
            log.run(kernel.command("make").args([
                "-s",
                "-C",
                "/kernel",
                "M=/src",
                "MO=/src/build/module",
                "CONFIG_RUST_BPF_MEMCONTROL=m",
                "LLVM=1",
                "rust-analyzer",
            ]))?;
            let rust = layout::build("module/rust-project.json");
            let mut project: Value = serde_json::from_str(&fs::read_to_string(&rust)?)?;
            add_bindings(&mut project)?;
            save(&kernel, "rust-project.json", project)?;

            let c = layout::build("module/compile_commands.json");
            log.run(
                kernel
                    .command("/linux/scripts/clang-tools/gen_compile_commands.py")
                    .args(["-d", "/kernel", "-o"])
                    .arg(&c)
                    .arg("/src/build/module"),
            )?;
            let mut commands: Value = serde_json::from_str(&fs::read_to_string(&c)?)?;
            add_bitcode(&mut commands)?;
            save(&kernel, "compile_commands.json", commands)
        },
    )?;
    println!("rust-project.json compile_commands.json");
    Ok(())
}

/// Tells the crate where bindgen's output is, as Kbuild does.
fn add_bindings(project: &mut Value) -> Result<()> {
    let crates = project["crates"]
        .as_array_mut()
        .context("rust-project.json has no crates")?;
    let module = crates
        .iter_mut()
        .find(|entry| {
            entry["root_module"]
                .as_str()
                .is_some_and(|path| path.ends_with("/bpf_memcontrol.rs"))
        })
        .context("rust-project.json does not have the module")?;
    module["env"]["RUST_BPF_MEMCONTROL_BINDINGS"] = BINDINGS.into();
    Ok(())
}

/// The kernel's script knows objects only. The sources that Kbuild compiles to bitcode get the command
/// of one that it compiles to an object.
fn add_bitcode(commands: &mut Value) -> Result<()> {
    let commands = commands
        .as_array_mut()
        .context("compile_commands.json is no list")?;
    let object = commands
        .iter()
        .find(|entry| {
            entry["file"]
                .as_str()
                .is_some_and(|file| file.ends_with("/oom_ops.c"))
        })
        .context("compile_commands.json does not have oom_ops.c")?
        .clone();
    for name in ["kfuncs", "helpers"] {
        let mut entry = object.clone();
        translate(&mut entry, &|text| text.replace("oom_ops", name));
        commands.push(entry);
    }
    Ok(())
}

fn save(kernel: &Kernel, name: &str, mut value: Value) -> Result<()> {
    // A path begins a word, or follows an option that needs no space.
    let path = Regex::new(r#"(^|[\s=:,'"]|-I)(/(?:linux|kernel|src|usr))(/|\s|$)"#)?;
    translate(&mut value, &|text| {
        path.replace_all(text, |found: &regex::Captures<'_>| {
            let host = match &found[2] {
                "/linux" => layout::on_host(&kernel.source),
                "/kernel" => layout::on_host(&kernel.build),
                other => layout::on_host(Path::new(other)),
            };
            format!("{}{}{}", &found[1], host.display(), &found[3])
        })
        .into_owned()
    });
    fs::write(
        layout::top(name),
        serde_json::to_string_pretty(&value)? + "\n",
    )
    .with_context(|| format!("cannot write {name}"))
}

fn translate(value: &mut Value, change: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = change(text),
        Value::Array(values) => values.iter_mut().for_each(|value| translate(value, change)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|value| translate(value, change)),
        _ => (),
    }
}
