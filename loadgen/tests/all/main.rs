//! loadgen against a real server: what every transport must do, and the binary from end to end.

mod audit;
mod binary;
mod blame;
mod built;
mod checks;
mod clockwork;
mod conformance;
mod cuts;
mod disturbances;
mod faults;
mod folders;
mod foreign;
mod helper;
mod hostile;
mod links;
mod others;
mod pairs;
mod path;
mod reader;
mod reference;
mod signals;
mod socketio;
mod storm;
mod streams;
mod structure;
mod words;
