//! Everything that is saved, and what follows from it alone. It knows no other module: whoever reads a result needs
//! neither a server nor a client.

pub mod audit;
pub mod bounds;
pub mod comparison;
pub mod disturbance;
pub mod effect;
pub mod environment;
pub mod files;
pub mod histogram;
pub mod known;
pub mod link;
pub mod metric;
pub mod outcome;
pub mod proxy;
pub mod recovery;
pub mod scenario;
pub mod spread;
pub mod summary;
pub mod turn;
pub mod usage;
pub mod variant;
pub mod verdict;
pub mod words;
