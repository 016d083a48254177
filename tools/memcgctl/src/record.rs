// SPDX-License-Identifier: GPL-2.0

//! Reads the records of include/. Each begins with its version and its size, so that a memcgctl
//! that cannot read a version says which side to update.

use std::cmp::Ordering;
use std::ffi::c_char;

use anyhow::bail;
use anyhow::Result;
use memcgbpf::records;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

const MEMCGCTL: &str = concat!("memcgctl ", env!("CARGO_PKG_VERSION"));

/// A struct of include/ that begins with `version` and `size`.
pub trait Record: FromBytes {
    const NAME: &'static str;
    const VERSION: u32;
    /// Whether a newer version is the same struct with more members at its end. The writer then
    /// leaves out the members that the reader does not know.
    const GROWS: bool;
}

macro_rules! records {
    ($($record:ident: $version:ident, $grows:literal;)+) => {
        $(impl Record for records::$record {
            const NAME: &'static str = stringify!($record);
            const VERSION: u32 = records::$version;
            const GROWS: bool = $grows;
        })+
    };
}

records! {
    bpf_oom_policy_info: BPF_OOM_POLICY_INFO_VERSION, true;
    cgroup_record: CGROUP_RECORD_VERSION, false;
    oom_decision: OOM_DECISION_VERSION, false;
}

/// The side that writes a record.
pub struct Writer {
    pub name: &'static str,
    /// How to get one that writes the version of this memcgctl.
    pub update: &'static str,
}

/// Reads a record that `writer` wrote.
pub fn read<T: Record>(bytes: &[u8], writer: &Writer) -> Result<T> {
    let Writer { name, update } = writer;
    let Ok(([version, size], _)) = <[u32; 2]>::read_from_prefix(bytes) else {
        bail!(
            "{name} wrote {} bytes for a struct {}: {update}",
            bytes.len(),
            T::NAME
        );
    };
    let versions = || {
        format!(
            "{name} writes version {version} of struct {}, and {MEMCGCTL} reads version {}",
            T::NAME,
            T::VERSION
        )
    };
    let whole = size as usize == size_of::<T>();
    match (version.cmp(&T::VERSION), T::read_from_bytes(bytes)) {
        (Ordering::Less, _) => bail!("{}: {update}", versions()),
        (Ordering::Greater, Ok(record)) if T::GROWS && whole => Ok(record),
        (Ordering::Greater, _) => bail!("{}: update memcgctl", versions()),
        (Ordering::Equal, Ok(record)) if whole => Ok(record),
        (Ordering::Equal, _) => bail!(
            "{name} writes {size} bytes for version {version} of struct {}, and {MEMCGCTL} reads {}: build both from the same source",
            T::NAME,
            size_of::<T>()
        ),
    }
}

/// The version that a record states, if it is long enough to state one.
pub fn version(bytes: &[u8]) -> Option<u32> {
    let (version, _) = u32::read_from_prefix(bytes).ok()?;
    Some(version)
}

/// The bytes in an array, up to the first NUL if there is one.
pub fn bytes(chars: &[c_char]) -> &[u8] {
    let bytes = chars.as_bytes();
    let end = bytes.iter().position(|&byte| byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}

/// The same as text.
pub fn text(chars: &[c_char]) -> String {
    String::from_utf8_lossy(bytes(chars)).into_owned()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use memcgbpf::records::bpf_oom_policy_info;
    use memcgbpf::records::cgroup_record;
    use memcgbpf::records::oom_decision;
    use std::mem::offset_of;
    use zerocopy::FromZeros;

    const WRITER: Writer = Writer {
        name: "the module",
        update: "load another one",
    };

    /// An array of a record with this text.
    pub fn chars<const SIZE: usize>(text: &str) -> [c_char; SIZE] {
        let mut chars = [0; SIZE];
        for (char, byte) in chars.iter_mut().zip(text.bytes()) {
            *char = byte as c_char;
        }
        chars
    }

    fn info(version: u32, size: u32) -> bpf_oom_policy_info {
        bpf_oom_policy_info {
            version,
            size,
            handled: 7,
            ..FromZeros::new_zeroed()
        }
    }

    fn message(bytes: &[u8]) -> String {
        match read::<bpf_oom_policy_info>(bytes, &WRITER) {
            Ok(info) => panic!("{info:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_record_begins_with_its_version_and_size() {
        macro_rules! check {
            ($($record:ident),+) => {
                $(assert_eq!((offset_of!($record, version), offset_of!($record, size)), (0, 4));)+
            };
        }
        check!(bpf_oom_policy_info, cgroup_record, oom_decision);
    }

    #[test]
    fn a_record_of_this_version_is_read() {
        let size = size_of::<bpf_oom_policy_info>() as u32;
        let info = info(records::BPF_OOM_POLICY_INFO_VERSION, size);
        let read: bpf_oom_policy_info = read(info.as_bytes(), &WRITER).unwrap();
        assert_eq!(read.as_bytes(), info.as_bytes());
    }

    #[test]
    fn another_version_names_the_side_to_update() {
        let size = size_of::<bpf_oom_policy_info>() as u32;
        let ours = records::BPF_OOM_POLICY_INFO_VERSION;
        let newer = info(ours + 1, size + 8);
        assert_eq!(
            message(newer.as_bytes()),
            format!(
                "the module writes version {} of struct bpf_oom_policy_info, and {MEMCGCTL} reads version {ours}: update memcgctl",
                ours + 1
            )
        );
        // A newer record may also be longer.
        assert!(message(&[newer.as_bytes(), &[0; 8]].concat()).ends_with("update memcgctl"));
        let decision = oom_decision {
            version: records::OOM_DECISION_VERSION + 1,
            size: size_of::<oom_decision>() as u32,
            ..FromZeros::new_zeroed()
        };
        let error = read::<oom_decision>(decision.as_bytes(), &WRITER).map(|_| ());
        assert!(error.unwrap_err().to_string().ends_with("update memcgctl"));
        let older = info(ours - 1, size - 8);
        assert!(message(older.as_bytes()).ends_with("load another one"));
        assert!(message(&older.as_bytes()[..16]).ends_with("load another one"));
    }

    #[test]
    fn a_newer_record_that_has_grown_is_read_as_far_as_it_is_known() {
        let size = size_of::<bpf_oom_policy_info>() as u32;
        let newer = info(records::BPF_OOM_POLICY_INFO_VERSION + 1, size);
        let read: bpf_oom_policy_info = read(newer.as_bytes(), &WRITER).unwrap();
        assert_eq!(read.handled, 7);
    }

    #[test]
    fn another_size_of_this_version_is_refused() {
        let ours = records::BPF_OOM_POLICY_INFO_VERSION;
        let size = size_of::<bpf_oom_policy_info>() as u32;
        let longer = info(ours, size + 8);
        assert!(message(longer.as_bytes()).contains("writes 128 bytes for version 2"));
        let cut = info(ours, size);
        assert!(message(&cut.as_bytes()[..100]).contains("build both from the same source"));
    }

    #[test]
    fn too_few_bytes_for_a_version_are_refused() {
        assert_eq!(
            message(&[0; 7]),
            "the module wrote 7 bytes for a struct bpf_oom_policy_info: load another one"
        );
    }

    #[test]
    fn text_ends_at_the_first_nul_or_with_the_array() {
        assert_eq!(text(&chars::<4>("ab")), "ab");
        assert_eq!(text(&chars::<2>("ab")), "ab");
        assert_eq!(text(&[b'a' as c_char, -1, b'b' as c_char]), "a\u{fffd}b");
        assert_eq!(text(&[]), "");
    }
}
