//! What the kernel says of a connection (`TCP_INFO`): the one module that needs unsafe code.

use std::os::fd::{AsFd, AsRawFd};

use crate::result::usage::Tcp;

/// Asks about one connection; nothing where the kernel does not say.
#[expect(unsafe_code, reason = "no crate offers TCP_INFO")]
pub(super) fn ask(socket: &impl AsFd) -> Tcp {
    const WHOLE: usize = size_of::<libc::tcp_info>();
    // SAFETY: `tcp_info` is plain integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = WHOLE as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open while it is borrowed; the kernel writes at most `length` bytes into `info`.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    // An older kernel knows a shorter structure, and what it did not write would be mistaken for zero.
    if result != 0 || (length as usize) < WHOLE {
        return Tcp::default();
    }
    Tcp {
        connections: 1,
        bytes_acked: info.tcpi_bytes_acked,
        bytes_received: info.tcpi_bytes_received,
        bare_segments_out: info
            .tcpi_segs_out
            .saturating_sub(info.tcpi_data_segs_out)
            .into(),
        bare_segments_in: info
            .tcpi_segs_in
            .saturating_sub(info.tcpi_data_segs_in)
            .into(),
        retransmissions: info.tcpi_total_retrans.into(),
    }
}
