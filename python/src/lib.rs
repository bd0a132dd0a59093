//! `watermark_core._lib`: what the Python package links of the toolkit. The interpreter's lock is released while Rust works.

mod detect;
mod dlpack;
mod error;
mod evidence;
mod finding;
mod given;
mod highlight;
mod html;
mod key_file;
mod keys;
mod logits;
mod mark;
mod model_test;
mod passphrase;
mod plan;
mod probe;
mod records;
mod scan;
mod schemes;
mod spark;
mod stats;
mod work;

use pyo3::prelude::*;

#[pymodule]
fn _lib(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    error::add(module)?;
    keys::add(module)?;
    mark::add(module)?;
    detect::add(module)?;
    evidence::add(module)?;
    model_test::add(module)?;
    plan::add(module)?;
    probe::add(module)?;
    scan::add(module)?;
    schemes::add(module)?;
    stats::add(module)?;
    spark::add(module)
}
