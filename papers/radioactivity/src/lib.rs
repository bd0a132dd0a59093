//! Laboratory of the experiments on what a student inherits: teachers' answers and students, kept so that nothing is made twice.

pub mod lab;
pub mod table;
