//! The server from outside, over real sockets.

mod access;
mod browser;
mod clients;
mod helper;
mod http;
mod limits;
mod long_poll;
mod pages;
mod proxies;
mod raw;
mod resume;
mod sse;
mod tap;
mod ws;
