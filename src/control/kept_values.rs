//! The name server's values on their way into the metadata.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::metadata::{Change, MetadataHandle, Ticket};
use super::name_server::Keep;
use crate::namesrv::ValueChange;

/// Changes whose transaction is under way. Touched by the control thread and by the
/// metadata's, which both have time.
#[derive(Default)]
pub struct KeptValues(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    told: HashMap<u64, oneshot::Sender<Result<(), String>>>,
    next: u64,
}

impl KeptValues {
    /// The name server's own number among the metadata's parties.
    pub const PARTY: u16 = u16::MAX - 2;

    /// Makes changes durable by this metadata, whose answers come by `on_stored`.
    pub fn keep(self: &Arc<Self>, metadata: MetadataHandle) -> Keep {
        let values = Arc::clone(self);
        Box::new(move |changes| values.submit(&metadata, changes))
    }

    /// The metadata has answered.
    pub fn on_stored(&self, token: u64, result: Result<(), String>) {
        if let Some(told) = self.waiting().told.remove(&token) {
            let _ = told.send(result);
        }
    }

    fn submit(
        &self,
        metadata: &MetadataHandle,
        changes: Vec<ValueChange>,
    ) -> oneshot::Receiver<Result<(), String>> {
        let (told, kept) = oneshot::channel();
        let mut told = Some(told);
        let mut waiting = self.waiting();
        let last = changes.len();
        for (at, change) in changes.into_iter().enumerate() {
            waiting.next += 1;
            let ticket = Ticket { party: Self::PARTY, token: waiting.next };
            let taken = metadata.submit(ticket, value_change(change));
            // Changes become durable in their order: the last one speaks for all.
            if at + 1 == last || taken.is_err() {
                let Some(told) = told.take() else { continue };
                match taken {
                    Ok(()) => _ = waiting.told.insert(ticket.token, told),
                    Err(_) => _ = told.send(Err("too many changes wait".to_owned())),
                }
            }
        }
        kept
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn value_change(change: ValueChange) -> Change {
    match change {
        ValueChange::Put { namespace, key, value } => Change::PutValue { namespace, key, value },
        ValueChange::Delete { namespace, key } => Change::DeleteValue { namespace, key },
    }
}
