//! What this machine does with log bytes, measured without a broker: each way of moving
//! them from a file or the arena to a socket, and each way of writing them to the disk,
//! by the very operations that data threads use. What comes out is the *profile*, which
//! `auto` decides from.

mod blocks;
mod cell;
mod cpu;
mod host;
mod profile;
mod receiver;
mod rounds;
mod rules;
mod run;
mod sender;
mod show;
mod source;
mod tools;
mod writes;

pub use cell::{Cell, Heat, Measured, Receiving};
pub use host::Host;
pub use profile::{Ignored, PROFILE_FILE, Profile, TransferFigure, WriteFigure};
pub use receiver::Sum;
pub use rounds::median;
pub use rules::{Decision, FlushDecision};
pub use run::run;
pub use show::table;
pub use tools::{Cores, Sizes, Tools};
pub use writes::{Scratch, WriteCell, WriteKind, Written};
