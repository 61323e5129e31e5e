//! Brokers as child processes: started on given cores, waited for, frozen
//! while another one is measured, and ended with the tool.

mod apache;
mod child;
mod kafka;
mod package;
mod ports;
mod ringmq;

pub use apache::{Apache, ApacheFlush, ApacheSettings};
pub use child::{Scratch, Server, end_all_on_signal, run_to_end, stay_if_ending};
pub use kafka::{COLLECTOR_DEFAULT, HEAP_MIB_DEFAULT, Kafka, KafkaFlush, KafkaSettings};
pub use package::{KAFKA, Package, ROCKETMQ, install};
pub use ports::free_ports;
pub use ringmq::{Ringmq, RingmqSettings};
