//! loadgen against a real server: what every transport must do, and the binary from end to end.

mod binary;
mod conformance;
mod faults;
mod helper;
mod structure;
