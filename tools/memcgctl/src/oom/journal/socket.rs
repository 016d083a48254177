// SPDX-License-Identifier: GPL-2.0

//! Messages to systemd-journald, in its native protocol: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::fcntl;
use nix::fcntl::FcntlArg;
use nix::fcntl::SealFlag;
use nix::sys::memfd::memfd_create;
use nix::sys::memfd::MFdFlags;
use nix::sys::socket::sendmsg;
use nix::sys::socket::ControlMessage;
use nix::sys::socket::MsgFlags;
use nix::sys::socket::UnixAddr;

const SOCKET: &str = "/run/systemd/journal/socket";
/// The longest wait for a journald that does not read.
const WAIT: Duration = Duration::from_millis(250);

/// The fields of a message, each of which may have several values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message(Vec<(&'static str, String)>);

impl Message {
    pub fn with(mut self, field: &'static str, value: impl ToString) -> Self {
        self.0.push((field, value.to_string()));
        self
    }

    /// With a field that has a value or is left out.
    pub fn with_some(self, field: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(field, value),
            None => self,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for (field, value) in &self.0 {
            data.extend_from_slice(field.as_bytes());
            if value.contains('\n') {
                data.push(b'\n');
                data.extend_from_slice(&(value.len() as u64).to_le_bytes());
            } else {
                data.push(b'=');
            }
            data.extend_from_slice(value.as_bytes());
            data.push(b'\n');
        }
        data
    }

    /// The value of a field.
    #[cfg(test)]
    pub fn get(&self, field: &str) -> Option<&str> {
        let mut fields = self.0.iter();
        fields
            .find(|(found, _)| *found == field)
            .map(|(_, value)| value.as_str())
    }

    #[cfg(test)]
    pub fn fields(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().map(|(field, _)| *field)
    }
}

/// The socket of journald. systemd keeps it while journald restarts, with all messages in it.
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// Fails if there is no journald.
    pub fn open() -> Result<Self> {
        Self::at(Path::new(SOCKET))
    }

    fn at(path: &Path) -> Result<Self> {
        let socket = || {
            UnixDatagram::unbound()?.connect(path)?;
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(WAIT))?;
            io::Result::Ok(socket)
        };
        Ok(Self {
            socket: socket().with_context(|| {
                format!(
                    "the journal is not there: cannot connect to {}",
                    path.display()
                )
            })?,
            path: path.to_path_buf(),
        })
    }

    /// Sends a message. Returns false if journald does not take it now: it is full, or restarts.
    pub fn send(&self, message: &Message) -> Result<bool> {
        let data = message.encode();
        let sent = match self.socket.send_to(&data, &self.path) {
            // It is longer than a datagram may be.
            Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {
                self.send_file(&data)
            }
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        };
        match sent {
            Ok(()) => Ok(true),
            Err(error) if is_temporary(&error) => Ok(false),
            Err(error) => Err(error).context("cannot write to the journal"),
        }
    }

    /// Sends the message in a file that nobody can change.
    fn send_file(&self, data: &[u8]) -> io::Result<()> {
        let flags = MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC;
        let mut file = File::from(memfd_create("message", flags)?);
        file.write_all(data)?;
        let seals = SealFlag::F_SEAL_SEAL
            | SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_WRITE;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        sendmsg(
            self.socket.as_raw_fd(),
            &[],
            &[ControlMessage::ScmRights(&[file.as_raw_fd()])],
            MsgFlags::empty(),
            Some(&UnixAddr::new(&self.path)?),
        )?;
        Ok(())
    }
}

/// Whether to try again later.
fn is_temporary(error: &io::Error) -> bool {
    matches!(
        Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        Errno::EAGAIN
            | Errno::EINTR
            | Errno::ENOENT
            | Errno::ECONNREFUSED
            | Errno::ENOBUFS
            | Errno::ENOMEM
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::recvmsg;
    use nix::sys::socket::ControlMessageOwned;
    use std::fs;
    use std::io::IoSliceMut;

    /// A path for a socket, in a directory that is removed with it.
    fn place(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("memcgctl-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir.join("socket")
    }

    fn remove(path: &Path) {
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_value_of_several_lines_has_its_length_before_it() {
        let message = Message::default()
            .with("MESSAGE", "ä line")
            .with_some("OOM_RULE", None::<u32>)
            .with_some("OOM_NUMBER", Some(7))
            .with("OOM_POLICY", "two\nlines");
        assert_eq!(
            message.encode(),
            b"MESSAGE=\xc3\xa4 line\nOOM_NUMBER=7\nOOM_POLICY\n\x09\0\0\0\0\0\0\0two\nlines\n"
        );
    }

    #[test]
    fn without_journald_one_line_says_so() {
        let error = Journal::at(Path::new("/nonexistent/socket")).err().unwrap();
        assert_eq!(
            format!("{error:#}"),
            "the journal is not there: cannot connect to /nonexistent/socket: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_journald_that_restarts_or_is_full_gets_the_message_later() {
        let path = place("full");
        let message = Message::default().with("MESSAGE", "x");
        let journald = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(&path).unwrap();
        while journal.send(&message).unwrap() {}
        let mut data = [0; 64];
        assert_eq!(journald.recv(&mut data).unwrap(), 10);
        assert!(journal.send(&message).unwrap());
        drop(journald);
        assert!(!journal.send(&message).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!journal.send(&message).unwrap());
        let journald = UnixDatagram::bind(&path).unwrap();
        assert!(journal.send(&message).unwrap());
        assert_eq!(journald.recv(&mut data).unwrap(), 10);
        remove(&path);
    }

    #[test]
    fn a_long_message_comes_in_a_file() {
        let path = place("long");
        let journald = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(&path).unwrap();
        let message = Message::default().with("MESSAGE", "x".repeat(1 << 20));
        assert!(journal.send(&message).unwrap());
        let mut space = nix::cmsg_space!([i32; 1]);
        let mut data = [0; 64];
        let mut parts = [IoSliceMut::new(&mut data)];
        let got = recvmsg::<()>(
            journald.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .unwrap();
        assert_eq!(got.bytes, 0);
        let Some(ControlMessageOwned::ScmRights(files)) = got.cmsgs().unwrap().next() else {
            panic!("no file came");
        };
        let sent = fs::read(format!("/proc/self/fd/{}", files[0])).unwrap();
        assert!(sent == message.encode());
        remove(&path);
    }
}
