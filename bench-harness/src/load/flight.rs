//! Requests in flight on one connection, found again by their correlation.

use super::template::OPAQUE_MIN;

/// One request that awaits its reply.
#[derive(Clone, Copy)]
pub struct Request {
    /// Nanoseconds of the run's clock at which it was meant to be sent.
    pub intended: u64,
    pub stream: u32,
    pub first_seq: u64,
}

/// A table of fixed size; a correlation names its slot and the slot's generation,
/// so that a late or repeated reply never passes for another one.
pub struct Flights {
    slots: Vec<Slot>,
    free: Vec<u32>,
    slot_bits: u32,
}

struct Slot {
    opaque: u32,
    request: Option<Request>,
}

/// Correlations span this many bits, all of ten digits and positive.
const OPAQUE_BITS: u32 = 29;

impl Flights {
    pub fn new(window: usize) -> Flights {
        let slot_bits = window.next_power_of_two().trailing_zeros();
        assert!(slot_bits < OPAQUE_BITS, "the window fits the correlations");
        let slots =
            (0..window as u32).map(|slot| Slot { opaque: OPAQUE_MIN + slot, request: None });
        Flights { slots: slots.collect(), free: (0..window as u32).rev().collect(), slot_bits }
    }

    /// How many more may be sent now.
    pub fn room(&self) -> usize {
        self.free.len()
    }

    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The correlation that the next request will have.
    pub fn next_opaque(&self) -> Option<u32> {
        self.free.last().map(|&slot| self.slots[slot as usize].opaque)
    }

    /// Puts a request under [`Self::next_opaque`] on its way.
    pub fn launch(&mut self, request: Request) {
        let slot = self.free.pop().expect("the caller asked for room");
        self.slots[slot as usize].request = Some(request);
    }

    /// Takes the request that a reply belongs to.
    pub fn land(&mut self, opaque: u32) -> Option<Request> {
        let offset = opaque.wrapping_sub(OPAQUE_MIN);
        let index = offset & ((1 << self.slot_bits) - 1);
        let slot = self.slots.get_mut(index as usize).filter(|slot| slot.opaque == opaque)?;
        let request = slot.request.take()?;
        let next = offset.wrapping_add(1 << self.slot_bits) & ((1 << OPAQUE_BITS) - 1);
        slot.opaque = OPAQUE_MIN + next;
        self.free.push(index);
        Some(request)
    }

    /// What was never answered.
    pub fn unanswered(&self) -> impl Iterator<Item = Request> {
        self.slots.iter().filter_map(|slot| slot.request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(first_seq: u64) -> Request {
        Request { intended: 0, stream: 0, first_seq }
    }

    #[test]
    fn replies_find_their_request_in_any_order() {
        let mut flights = Flights::new(3);
        let opaques: Vec<u32> = (0..3)
            .map(|seq| {
                let opaque = flights.next_opaque().unwrap();
                flights.launch(request(seq));
                opaque
            })
            .collect();
        assert_eq!((flights.room(), flights.next_opaque()), (0, None));
        for seq in [1, 2, 0] {
            assert_eq!(flights.land(opaques[seq]).unwrap().first_seq, seq as u64);
            assert!(flights.land(opaques[seq]).is_none(), "a second reply has no request");
        }
        assert_eq!(flights.in_flight(), 0);
    }

    #[test]
    fn correlations_never_leave_ten_digits() {
        let mut flights = Flights::new(1 << 20);
        for _ in 0..3_000_000 {
            let opaque = flights.next_opaque().unwrap();
            assert!((1_000_000_000..=i32::MAX as u32).contains(&opaque));
            flights.launch(request(0));
            assert!(flights.land(opaque).is_some());
        }
    }
}
