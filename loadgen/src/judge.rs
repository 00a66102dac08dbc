//! Judging an outcome: may the measurement be believed (`verdict`), what do several say together (`statistics`), does
//! it agree with theory (`theory`).

pub mod statistics;
pub mod theory;
pub mod verdict;
