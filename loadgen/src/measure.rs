//! Measuring: how late (`recorder`), how complete (`audit`), at what price (`reading`), and what the machine did (`meter`).

pub mod audit;
pub mod meter;
pub mod reading;
pub mod recorder;
