// SPDX-License-Identifier: GPL-2.0

//! BPF instructions.

pub type Reg = u8;

pub const R0: Reg = 0;
pub const R1: Reg = 1;
pub const R2: Reg = 2;
pub const R3: Reg = 3;
pub const R4: Reg = 4;
/// The frame pointer.
pub const FP: Reg = 10;

pub const EQ: u8 = 0x10;
pub const GT: u8 = 0x20;
pub const NE: u8 = 0x50;

const CALL: u8 = 0x85;
const LOAD_IMM64: u8 = 0x18;
/// Source registers that mark a call of a kfunc, and a 64-bit immediate that is an index of
/// `fd_array`.
const KFUNC: u8 = 2;
const MAP: u8 = 5;
const MAP_VALUE: u8 = 6;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Insn {
    pub code: u8,
    pub dst: Reg,
    pub src: Reg,
    pub off: i16,
    pub imm: i32,
}

impl Insn {
    const fn new(code: u8, dst: Reg, src: Reg, off: i16, imm: i32) -> Self {
        Self {
            code,
            dst,
            src,
            off,
            imm,
        }
    }

    pub const fn mov(dst: Reg, src: Reg) -> Self {
        Self::new(0xbf, dst, src, 0, 0)
    }

    pub const fn mov_imm(dst: Reg, imm: i32) -> Self {
        Self::new(0xb7, dst, 0, 0, imm)
    }

    pub const fn add(dst: Reg, src: Reg) -> Self {
        Self::new(0x0f, dst, src, 0, 0)
    }

    pub const fn add_imm(dst: Reg, imm: i32) -> Self {
        Self::new(0x07, dst, 0, 0, imm)
    }

    pub const fn and_imm(dst: Reg, imm: i32) -> Self {
        Self::new(0x57, dst, 0, 0, imm)
    }

    pub const fn or_imm(dst: Reg, imm: i32) -> Self {
        Self::new(0x47, dst, 0, 0, imm)
    }

    pub const fn load32(dst: Reg, src: Reg, off: i16) -> Self {
        Self::new(0x61, dst, src, off, 0)
    }

    pub const fn load(dst: Reg, src: Reg, off: i16) -> Self {
        Self::new(0x79, dst, src, off, 0)
    }

    pub const fn store(dst: Reg, off: i16, src: Reg) -> Self {
        Self::new(0x7b, dst, src, off, 0)
    }

    pub const fn store_imm(dst: Reg, off: i16, imm: i32) -> Self {
        Self::new(0x7a, dst, 0, off, imm)
    }

    pub const fn jump(off: i16) -> Self {
        Self::new(0x05, 0, 0, off, 0)
    }

    /// Skips `off` instructions if the comparison of `dst` with `imm` holds.
    pub const fn jump_if(compare: u8, dst: Reg, imm: i32, off: i16) -> Self {
        Self::new(0x05 | compare, dst, 0, off, imm)
    }

    pub const fn helper(id: i32) -> Self {
        Self::new(CALL, 0, 0, 0, id)
    }

    /// Calls a function of the kernel image if `fd` is 0, else of the module whose BTF is at that
    /// index of `fd_array`.
    pub const fn kfunc(fd: i16, id: i32) -> Self {
        Self::new(CALL, 0, KFUNC, fd, id)
    }

    pub const fn exit() -> Self {
        Self::new(0x95, 0, 0, 0, 0)
    }

    /// Loads a map, by its index in `fd_array`.
    pub const fn map(dst: Reg, fd: i32) -> [Self; 2] {
        [
            Self::new(LOAD_IMM64, dst, MAP, 0, fd),
            Self::new(0, 0, 0, 0, 0),
        ]
    }

    /// Loads the address of a byte of the first value of a map.
    pub const fn map_value(dst: Reg, fd: i32, byte: i32) -> [Self; 2] {
        [
            Self::new(LOAD_IMM64, dst, MAP_VALUE, 0, fd),
            Self::new(0, 0, 0, 0, byte),
        ]
    }

    /// Whether the kernel takes it for a call: in both classes of jumps.
    pub fn is_call(self) -> bool {
        self.code & 0xf0 == CALL & 0xf0 && matches!(self.code & 0x07, 0x05 | 0x06)
    }

    /// Whether it is half of an instruction with a 64-bit immediate, which takes up two.
    pub fn is_half(self) -> bool {
        matches!(self.code, 0 | LOAD_IMM64)
    }

    pub fn encode(self) -> u64 {
        u64::from(self.code)
            | (u64::from(self.dst & 0xf) << 8)
            | (u64::from(self.src & 0xf) << 12)
            | (u64::from(self.off as u16) << 16)
            | (u64::from(self.imm as u32) << 32)
    }

    pub fn decode(bits: u64) -> Self {
        Self::new(
            bits as u8,
            (bits >> 8) as u8 & 0xf,
            (bits >> 12) as u8 & 0xf,
            (bits >> 16) as i16,
            (bits >> 32) as i32,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected bytes are those that llvm-objdump shows.
    #[test]
    fn instructions_are_encoded_as_the_kernel_reads_them() {
        let bytes = |insn: Insn| insn.encode().to_le_bytes();
        assert_eq!(bytes(Insn::mov(6, 1)), [0xbf, 0x16, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            bytes(Insn::mov_imm(0, -2)),
            [0xb7, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff]
        );
        assert_eq!(
            bytes(Insn::load(1, 10, -8)),
            [0x79, 0xa1, 0xf8, 0xff, 0, 0, 0, 0]
        );
        assert_eq!(
            bytes(Insn::store(10, -16, 7)),
            [0x7b, 0x7a, 0xf0, 0xff, 0, 0, 0, 0]
        );
        assert_eq!(
            bytes(Insn::jump_if(EQ, 0, 0, 3)),
            [0x15, 0, 3, 0, 0, 0, 0, 0]
        );
        assert_eq!(
            bytes(Insn::kfunc(1, 0x1234)),
            [0x85, 0x20, 1, 0, 0x34, 0x12, 0, 0]
        );
        assert_eq!(bytes(Insn::exit()), [0x95, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes(Insn::map(1, 2)[0]), [0x18, 0x51, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn decoding_undoes_encoding() {
        for insn in [
            Insn::jump(-7),
            Insn::mov_imm(9, i32::MIN),
            Insn::kfunc(1, 77),
        ] {
            assert_eq!(Insn::decode(insn.encode()), insn);
        }
    }

    #[test]
    fn calls_are_recognised() {
        assert!(Insn::helper(1).is_call() && Insn::kfunc(1, 1).is_call());
        assert!(!Insn::exit().is_call() && !Insn::jump(1).is_call());
    }
}
