//! The known fields of a send or pull, gathered in one pass over the header's fields.

use super::ext::{ExtFields, FieldError, Value};

/// Room for any known key, should it come with escapes.
const KEY_BYTES: usize = 24;

/// Values by slot; `names` says what a slot is called when its value is wrong.
pub(super) struct Slots<'a, const N: usize> {
    names: &'static [&'static str; N],
    values: [Option<Value<'a>>; N],
}

impl<'a, const N: usize> Slots<'a, N> {
    /// Puts each field into the slot that `slot_of` gives its key, if any.
    #[inline]
    pub fn gather(
        ext: &ExtFields<'a>,
        names: &'static [&'static str; N],
        slot_of: impl Fn(&[u8]) -> Option<usize>,
    ) -> Self {
        let mut values = [None; N];
        let mut room = [0; KEY_BYTES];
        for field in ext.iter() {
            if let Some(slot) = field.key.short(&mut room).and_then(&slot_of) {
                values[slot] = Some(field.value);
            }
        }
        Self { names, values }
    }

    pub fn get(&self, slot: usize) -> Option<Value<'a>> {
        self.values[slot]
    }

    pub fn text(&self, slot: usize) -> Result<Value<'a>, FieldError> {
        self.values[slot].ok_or(FieldError::Missing(self.names[slot]))
    }

    pub fn i64(&self, slot: usize) -> Result<i64, FieldError> {
        self.text(slot)?.i64().ok_or(FieldError::Invalid(self.names[slot]))
    }

    pub fn i32(&self, slot: usize) -> Result<i32, FieldError> {
        self.text(slot)?.i32().ok_or(FieldError::Invalid(self.names[slot]))
    }

    pub fn maybe_i64(&self, slot: usize) -> Result<Option<i64>, FieldError> {
        self.values[slot].map(|_| self.i64(slot)).transpose()
    }

    pub fn maybe_i32(&self, slot: usize) -> Result<Option<i32>, FieldError> {
        self.values[slot].map(|_| self.i32(slot)).transpose()
    }

    pub fn bool(&self, slot: usize) -> bool {
        self.values[slot].is_some_and(|value| value.bool())
    }
}
