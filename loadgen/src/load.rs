//! A load: who publishes, who subscribes, one trial of it, and what came of it.

pub mod publishers;
pub mod settle;
pub mod subscribers;
pub mod trial;
