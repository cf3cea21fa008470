//! Vtables: which method sits in which slot.

pub mod shape;
