//! The server from outside, over real sockets.

mod access;
mod attacks;
mod binary;
mod browser;
mod clients;
mod helper;
mod http;
mod limits;
mod logs;
mod long_poll;
mod long_run;
mod pages;
mod pictures;
mod program;
mod proxies;
mod race;
mod raw;
mod resume;
mod seen;
mod sizes;
mod soak;
mod sse;
mod strict;
mod tap;
mod wire;
mod ws;
