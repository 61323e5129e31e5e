//! Brokers as child processes: started on given cores, waited for, frozen
//! while another one is measured, and ended with the tool.

mod apache;
mod child;
mod ports;
mod ringmq;

pub use apache::{Apache, ApacheFlush, ApacheSettings, install};
pub use child::{Server, end_all_on_signal, run_to_end};
pub use ports::free_ports;
pub use ringmq::{Ringmq, RingmqSettings};
