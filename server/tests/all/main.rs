//! The server from outside, over real sockets.

mod clients;
mod helper;
mod http;
mod limits;
mod raw;
mod ws;
