//! Laboratory of the experiments on what a student inherits: teachers' answers and students, kept so that nothing is made twice.
#![allow(clippy::cast_sign_loss, reason = "shares and sizes are not negative")]

pub mod lab;
pub mod sampling;
pub mod table;
