// SPDX-License-Identifier: GPL-2.0

//! BPF objects that hold an OOM policy.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::anyhow;
use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::btf::types::Composite;
use libbpf_rs::btf::types::DataSec;
use libbpf_rs::btf::types::Int;
use libbpf_rs::btf::types::MemberAttr;
use libbpf_rs::btf::types::Var;
use libbpf_rs::libbpf_sys;
use libbpf_rs::Btf;
use libbpf_rs::HasSize;
use libbpf_rs::Link;
use libbpf_rs::Map;
use libbpf_rs::MapCore;
use libbpf_rs::MapFlags;
use libbpf_rs::MapHandle;
use libbpf_rs::MapType;
use libbpf_rs::Object;
use libbpf_rs::ObjectBuilder;
use libbpf_rs::OpenObject;
use libbpf_rs::Program;
use libbpf_rs::ProgramType;
use libbpf_rs::ReferencesType;
use memcgbpf::link;
use memcgbpf::prog;
use sha2::Digest as _;
use sha2::Sha256;

use super::policy::Policy;
use super::rules::RULES;
use crate::kernel;

const POLICY: &str = "bpf_oom_ops";
/// The map that holds the hash of a policy's object.
const DIGEST: &str = "object_sha256";
const SECTIONS: [&str; 2] = [".struct_ops.link", ".struct_ops"];

/// The struct_ops map of a policy, as the object's type information describes it.
#[derive(Debug, PartialEq)]
struct PolicyMap {
    name: OsString,
    /// Offset of the member cgroup_id, in bytes.
    cgroup_id: usize,
}

/// A policy that is loaded into the kernel, and not yet attached.
pub struct Loaded {
    object: Object,
    map: OsString,
}

impl Loaded {
    /// Loads the policy of the object at `path`, for a cgroup. The policy uses `shared` instead
    /// of a map of the object with the same name, type and layout.
    pub fn load(path: &Path, cgroup_id: u64, shared: Option<&MapHandle>) -> Result<Self> {
        let digest = digest(path)?;
        let (mut object, map) = open(path)?;
        prepare(&mut object, &map, cgroup_id, shared)?;
        let object = object
            .load()
            .map_err(kernel::explain)
            .with_context(|| format!("cannot load {}", path.display()))?;
        for program in object.progs() {
            if program.prog_type() == ProgramType::StructOps {
                bind(&program, &digest)
                    .with_context(|| format!("cannot mark the policy of {}", path.display()))?;
            }
        }
        Ok(Self {
            object,
            map: map.name,
        })
    }

    /// The map with this name and type.
    pub fn map(&self, name: &str, map_type: MapType) -> Option<Map<'_>> {
        self.object
            .maps()
            .find(|map| map.name() == name && map.map_type() == map_type)
    }

    /// Registers the policy. Dropping the link unregisters it.
    pub fn attach(&mut self) -> io::Result<Link> {
        let map = self.object.maps().find(|map| map.name() == self.map);
        link::attach_struct_ops(&map.ok_or(io::ErrorKind::NotFound)?)
    }

    /// Makes `link` hold `old` again, which this policy has replaced.
    pub fn restore(&self, link: impl AsFd, old: impl AsFd) -> io::Result<()> {
        let map = self.object.maps().find(|map| map.name() == self.map);
        let map = map.ok_or(io::ErrorKind::NotFound)?;
        link::update(link.as_fd(), old.as_fd(), map.as_fd())
    }

    /// Replaces the policy that `link` holds, whose map is `old`, with this one.
    pub fn replace(&mut self, link: impl AsFd, old: impl AsFd) -> io::Result<()> {
        let map = self.object.maps().find(|map| map.name() == self.map);
        link::update(
            link.as_fd(),
            map.ok_or(io::ErrorKind::NotFound)?.as_fd(),
            old.as_fd(),
        )
    }
}

fn open(path: &Path) -> Result<(OpenObject, PolicyMap)> {
    let shown = path.display();
    let is_file = File::open(path)
        .and_then(|file| file.metadata())
        .map(|metadata| metadata.is_file());
    if !is_file.with_context(|| format!("cannot open {shown}"))? {
        bail!("{shown} is not a file");
    }
    kernel::capture_warnings();
    let btf = Btf::from_path(path).map_err(|_| {
        anyhow!("{shown} is not a BPF object with type information (clang -g --target=bpf)")
    })?;
    let map = policy_map(&btf).with_context(|| format!("{shown} is not an OOM policy"))?;
    let object = ObjectBuilder::default()
        .open_file(path)
        .map_err(kernel::explain)
        .with_context(|| format!("cannot read {shown}"))?;
    Ok((object, map))
}

/// Whether the policy of an object has rules. Asks nothing of the kernel.
pub fn has_rules(path: &Path) -> Result<bool> {
    let (object, _) = open(path)?;
    let found = object
        .maps()
        .any(|map| map.name() == RULES && map.map_type() == MapType::ArrayOfMaps);
    Ok(found)
}

/// A hash of an object, which an attached policy holds: see [`bind`].
pub type Digest = [u8; 32];

pub fn digest(path: &Path) -> Result<Digest> {
    let object = fs::read(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Sha256::digest(object).into())
}

/// Makes a policy's program hold the hash of its object, in a map that it does not use. So the hash
/// is there for as long as the program, also without pins and links.
fn bind(program: &Program<'_>, digest: &Digest) -> Result<()> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    let key = [0; 4];
    let size = size_of::<Digest>() as u32;
    let map = MapHandle::create(MapType::Array, Some(DIGEST), 4, size, 1, &options)?;
    map.update(&key, digest, MapFlags::ANY)?;
    map.freeze()?;
    prog::bind_map(program.as_fd(), map.as_fd())?;
    Ok(())
}

/// The hash of the object of an attached policy; `None` when another program loaded it.
pub fn digest_of(policy: &Policy) -> Result<Option<Digest>> {
    let Some(map) = policy.map(DIGEST, MapType::Array)? else {
        return Ok(None);
    };
    let value = map.lookup(&[0; 4], MapFlags::ANY)?;
    Ok(value.and_then(|value| value.try_into().ok()))
}

/// Finds the one policy of an object, and the place of its cgroup_id.
fn policy_map(btf: &Btf<'_>) -> Result<PolicyMap> {
    let mut policies = Vec::new();
    for section in btf.type_by_kind::<DataSec<'_>>() {
        if !SECTIONS
            .iter()
            .any(|name| section.name() == Some(OsStr::new(name)))
        {
            continue;
        }
        for entry in section.iter() {
            let Some(variable) = btf.type_by_id::<Var<'_>>(entry.ty) else {
                continue;
            };
            let policy = variable.referenced_type();
            if policy.name() == Some(OsStr::new(POLICY)) {
                let name = variable.name().unwrap_or_default().to_os_string();
                policies.push((name, policy));
            }
        }
    }
    let [(name, policy)] = policies.as_slice() else {
        if policies.is_empty() {
            bail!("it has no struct {POLICY} in SEC(\"{}\")", SECTIONS[0]);
        }
        let names: Vec<_> = policies
            .iter()
            .map(|(name, _)| name.to_string_lossy())
            .collect();
        bail!(
            "it has {} of struct {POLICY} ({}), and memcgctl attaches exactly one",
            names.len(),
            names.join(", ")
        );
    };
    let cgroup_id = Composite::try_from(*policy).ok().and_then(|policy| {
        let member = policy
            .iter()
            .find(|member| member.name == Some(OsStr::new("cgroup_id")))?;
        let MemberAttr::Normal { offset } = member.attr else {
            return None;
        };
        let integer = btf
            .type_by_id::<libbpf_rs::btf::BtfType<'_>>(member.ty)?
            .skip_mods_and_typedefs();
        (Int::try_from(integer).ok()?.size() == size_of::<u64>()).then_some(offset as usize / 8)
    });
    Ok(PolicyMap {
        name: name.clone(),
        cgroup_id: cgroup_id.with_context(|| {
            format!(
                "its struct {POLICY} has no 64-bit member cgroup_id: include bpf_memcontrol.bpf.h"
            )
        })?,
    })
}

fn prepare(
    object: &mut OpenObject,
    policy: &PolicyMap,
    cgroup_id: u64,
    shared: Option<&MapHandle>,
) -> Result<()> {
    for mut map in object.maps_mut() {
        if map.name() == policy.name {
            map.initial_value_mut()
                .and_then(|value| value.get_mut(policy.cgroup_id..)?.first_chunk_mut())
                .map(|member| *member = cgroup_id.to_ne_bytes())
                .context("the object ends within its policy")?;
            // Only a link can be pinned and updated, so make one even if the object asks for none.
            map.set_map_flags(map.map_flags() | libbpf_sys::BPF_F_LINK)?;
        }
    }
    shared.map_or(Ok(()), |shared| share(object, shared))
}

/// Uses a map of another policy in the place of the object's own with the same name, type and
/// layout, if it has one.
pub fn share(object: &mut OpenObject, shared: &MapHandle) -> Result<()> {
    for mut map in object.maps_mut() {
        if map.name() == shared.name()
            && map.map_type() == shared.map_type()
            && map.key_size() == shared.key_size()
            && map.value_size() == shared.value_size()
        {
            map.reuse_fd(shared.as_fd())
                .with_context(|| format!("cannot share the map {:?}", shared.name()))?;
        }
    }
    Ok(())
}
