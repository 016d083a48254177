// SPDX-License-Identifier: GPL-2.0

//! Types that BTF describes: compared with one another, and written as C.

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use btf_rs::Btf;
use btf_rs::BtfType;
use btf_rs::Int;
use btf_rs::Type;

use crate::module::Module;

/// The types of a kernel, or of a module.
pub struct Types(Btf);

/// Reads a module's types. Out of tree, a module brings those of the kernel that it refers to in a
/// section of its own; in tree, it refers to the kernel's BTF.
pub fn of_module(module: &Module, kernel: &Types) -> Result<Types> {
    let btf = module.section(".BTF")?.context(
        "there is no .BTF in it; build it with vmlinux in the build directory of the kernel",
    )?;
    match module.section(".BTF.base")? {
        Some(base) => Types::new(btf, Some(&Types::new(base, None)?)),
        None => Types::new(btf, Some(kernel)),
    }
}

impl Types {
    pub fn new(btf: &[u8], base: Option<&Types>) -> Result<Self> {
        let parsed = match base {
            Some(base) => Btf::from_split_bytes(btf, &base.0),
            None => Btf::from_bytes(btf),
        };
        Ok(Self(parsed.context("its BTF cannot be read")?))
    }

    /// The members of the struct of that name, each with the type that it points to.
    pub fn members(&self, name: &str) -> Result<Vec<(String, Option<u32>)>> {
        let mut members = Vec::new();
        for found in self.0.resolve_types_by_name(name)? {
            let Type::Struct(found) = found else {
                continue;
            };
            for member in &found.members {
                let target = match self.0.resolve_chained_type(member)? {
                    Type::Ptr(pointer) => Some(target(&pointer)?),
                    _ => None,
                };
                members.push((self.0.resolve_name(member)?, target));
            }
        }
        Ok(members)
    }

    /// The prototypes of functions of that name.
    pub fn prototypes(&self, name: &str) -> Result<Vec<u32>> {
        let mut prototypes = Vec::new();
        for found in self.0.resolve_types_by_name(name)? {
            if let Type::Func(function) = found {
                prototypes.push(target(&function)?);
            }
        }
        Ok(prototypes)
    }

    /// The prototype, if a type is that of a function; a function's type may have a name.
    pub fn as_prototype(&self, id: u32) -> Result<Option<u32>> {
        match self.get(id)? {
            Type::FuncProto(_) => Ok(Some(id)),
            Type::Typedef(named) => self.as_prototype(target(&named)?),
            _ => Ok(None),
        }
    }

    /// The size of a type in bytes; 0 if the type is incomplete.
    pub fn size(&self, id: u32) -> Result<u64> {
        let size = match self.get(id)? {
            Type::Int(int) => int.size(),
            Type::Float(float) => float.size(),
            Type::Struct(of) | Type::Union(of) => of.size(),
            Type::Enum(of) => of.size(),
            Type::Enum64(of) => of.size(),
            Type::Ptr(_) => size_of::<u64>(),
            Type::Array(array) => return Ok(array.len() as u64 * self.size(target(&array)?)?),
            Type::Typedef(named) => return self.size(target(&named)?),
            Type::Const(of) | Type::Volatile(of) => return self.size(target(&of)?),
            _ => 0,
        };
        Ok(size as u64)
    }

    /// Whether a type is the same as one of another BTF. Structs, unions, enums and typedefs are
    /// compared by name: the configuration, which the module takes from the kernel, decides what is
    /// behind a name.
    pub fn same(&self, id: u32, others: &Types, other: u32) -> Result<bool> {
        let deeper = |a: &dyn BtfType, b: &dyn BtfType| self.same(target(a)?, others, target(b)?);
        let (a, b) = (self.get(id)?, others.get(other)?);
        Ok(match (&a, &b) {
            // GCC and clang give one and the same int different names.
            (Type::Int(a), Type::Int(b)) => encoding(a) == encoding(b),
            (Type::Float(a), Type::Float(b)) => a.size() == b.size(),
            (Type::Ptr(a), Type::Ptr(b)) => deeper(a, b)?,
            (Type::Const(a), Type::Const(b))
            | (Type::Volatile(a), Type::Volatile(b))
            | (Type::Restrict(a), Type::Restrict(b)) => deeper(a, b)?,
            (Type::Array(a), Type::Array(b)) => a.len() == b.len() && deeper(a, b)?,
            (Type::FuncProto(a), Type::FuncProto(b)) => {
                let mut same = a.parameters.len() == b.parameters.len()
                    && self.same(a.return_type_id(), others, b.return_type_id())?;
                for (a, b) in a.parameters.iter().zip(&b.parameters) {
                    // In C, qualifiers of a parameter itself are no part of the prototype.
                    let (a, b) = (
                        self.unqualified(target(a)?)?,
                        others.unqualified(target(b)?)?,
                    );
                    // The dots of a variadic function are a last parameter of type void.
                    same = same && self.same(a, others, b)?;
                }
                same
            }
            // Two types without a name count as different, which errs on the safe side.
            _ => match (self.name(&a)?, others.name(&b)?) {
                (Some(a), Some(b)) => a == b && !a.ends_with(ANONYMOUS),
                _ => false,
            },
        })
    }

    /// A declaration of `name` in C, or the mere type if `name` is empty.
    pub fn declare(&self, id: u32, name: &str) -> Result<String> {
        let of = self.get(id)?;
        if let Some(named) = self.name(&of)? {
            return Ok(join(&named, name));
        }
        match &of {
            Type::Ptr(pointer) => {
                let id = target(pointer)?;
                match self.get(id)? {
                    Type::Array(_) | Type::FuncProto(_) => self.declare(id, &format!("(*{name})")),
                    _ => self.declare(id, &format!("*{name}")),
                }
            }
            Type::Const(of) => self.qualify("const", target(of)?, name),
            Type::Volatile(of) => self.qualify("volatile", target(of)?, name),
            Type::Restrict(of) => self.qualify("restrict", target(of)?, name),
            Type::Array(array) => self.declare(target(array)?, &format!("{name}[{}]", array.len())),
            Type::FuncProto(function) => {
                let mut parameters = Vec::new();
                for parameter in &function.parameters {
                    parameters.push(match parameter.is_variadic() {
                        true => "...".to_owned(),
                        false => self.declare(target(parameter)?, "")?,
                    });
                }
                if parameters.is_empty() {
                    parameters.push("void".to_owned());
                }
                let parameters = parameters.join(", ");
                self.declare(function.return_type_id(), &format!("{name}({parameters})"))
            }
            other => bail!("BTF has a {} where C has a type", other.name()),
        }
    }

    /// A pointer has its qualifier beside its name, any other type in front.
    fn qualify(&self, qualifier: &str, id: u32, name: &str) -> Result<String> {
        match self.get(id)? {
            Type::Ptr(_) => self.declare(id, &join(qualifier, name)),
            _ => Ok(join(qualifier, &self.declare(id, name)?)),
        }
    }

    /// A type by its id. Tags like __rcu are no types: they depend on the compiler.
    fn get(&self, id: u32) -> Result<Type> {
        match self.0.resolve_type_by_id(id)? {
            Type::TypeTag(tag) => self.get(target(&tag)?),
            found => Ok(found),
        }
    }

    fn unqualified(&self, id: u32) -> Result<u32> {
        match self.get(id)? {
            Type::Const(of) | Type::Volatile(of) | Type::Restrict(of) => {
                self.unqualified(target(&of)?)
            }
            _ => Ok(id),
        }
    }

    /// The name of a type that has one, as C writes it.
    fn name(&self, of: &Type) -> Result<Option<String>> {
        let (keyword, named): (&str, &dyn BtfType) = match of {
            Type::Void => return Ok(Some("void".to_owned())),
            Type::Int(of) => ("", of),
            Type::Float(of) => ("", of),
            Type::Struct(of) => ("struct", of),
            Type::Union(of) => ("union", of),
            Type::Fwd(of) if of.is_union() => ("union", of),
            Type::Fwd(of) => ("struct", of),
            Type::Enum(of) => ("enum", of),
            Type::Enum64(of) => ("enum", of),
            Type::Typedef(of) => ("", of),
            _ => return Ok(None),
        };
        let name = self.0.resolve_name(named)?;
        let name = if name.is_empty() { ANONYMOUS } else { &name };
        Ok(Some(join(keyword, name)))
    }
}

const ANONYMOUS: &str = "{...}";

/// The id of the type that a type refers to.
fn target(of: &(impl BtfType + ?Sized)) -> Result<u32> {
    of.get_type_id()
        .context("its BTF has a type that refers to none")
}

fn encoding(int: &Int) -> (usize, bool, bool, bool) {
    (int.size(), int.is_signed(), int.is_char(), int.is_bool())
}

fn join(left: &str, right: &str) -> String {
    if left.is_empty() || right.is_empty() {
        return [left, right].concat();
    }
    format!("{left} {right}")
}
