//! Writes the inputs that the fuzz targets start from: `seeds FOLDER` makes `FOLDER/<target>/seed-N`.
#![allow(clippy::print_stderr, reason = "a program")]

use std::path::Path;

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("seeds: give the folder to write to");
        std::process::exit(2);
    };
    for target in &watermark_fuzz::TARGETS {
        let folder = Path::new(&folder).join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (at, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{at}")), seed)?;
        }
    }
    Ok(())
}
