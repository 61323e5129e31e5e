//! The folders that runs leave: what is in them, what is read back from them,
//! and the texts that are made of it.

mod facts;
mod figures;
mod folder;
mod index;
mod machine;
mod readme;
mod rounds;

pub use facts::{Disk, Facts};
pub use figures::Figures;
#[cfg(test)]
pub use figures::tests::sample;
pub use folder::Folder;
pub use index::index;
pub use machine::machine_lines;
pub use readme::replace_section;
pub use rounds::{Spread, median, merged, spread};
