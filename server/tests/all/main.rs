//! The server from outside, over real sockets.

mod helper;
