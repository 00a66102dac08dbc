//! Judging an outcome: may the measurement be believed (`verdict`), and does it agree with theory (`theory`).

pub mod theory;
pub mod verdict;
