//! Measuring: how late (`recorder`), how complete (`audit`), at what price (`ledger`).

pub mod audit;
pub mod histogram;
pub mod ledger;
pub mod reading;
pub mod recorder;
