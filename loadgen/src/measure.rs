//! Measuring: how late (`recorder`), how complete (`audit`), at what price (`reading`).

pub mod audit;
pub mod reading;
pub mod recorder;
