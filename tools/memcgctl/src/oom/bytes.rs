// SPDX-License-Identifier: GPL-2.0

//! Reads the structures that the kernel and policies write, member by member.

/// Bytes that are left to read. Every read is `None` when there are too few.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take<const SIZE: usize>(&mut self) -> Option<[u8; SIZE]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    pub fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_ne_bytes)
    }

    /// Text in an array of `size` bytes, that ends with its first NUL if there is one.
    pub fn text(&mut self, size: usize) -> Option<String> {
        let (bytes, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        let text = bytes.split(|&byte| byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_on_where_the_last_one_ended() {
        let mut bytes = Vec::new();
        bytes.extend(7u64.to_ne_bytes());
        bytes.extend((-3i32).to_ne_bytes());
        bytes.extend(b"ab\0cx\xffyz");
        bytes.push(0);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u64(), Some(7));
        assert_eq!(reader.i32(), Some(-3));
        assert_eq!(reader.text(4).as_deref(), Some("ab"));
        assert_eq!(reader.text(4).as_deref(), Some("x\u{fffd}yz"));
        assert!(!reader.is_empty());
        assert_eq!(reader.u32(), None);
        assert_eq!(reader.text(1).as_deref(), Some(""));
        assert!(reader.is_empty());
    }
}
