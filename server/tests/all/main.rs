//! The server from outside, over real sockets.

mod browser;
mod clients;
mod helper;
mod http;
mod limits;
mod pages;
mod raw;
mod ws;
