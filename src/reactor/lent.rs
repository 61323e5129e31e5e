//! Memory at an address that does not change while the kernel holds it.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A heap value behind a raw pointer. A `Box` claims its content anew whenever it is
/// moved, which would end the kernel's right to use the address; this does not.
pub(super) struct Lent<T>(NonNull<T>);

impl<T> Lent<T> {
    pub fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }
}

impl<T> Deref for Lent<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the pointer comes from a leaked box that only `drop` takes back.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`, and `&mut self` makes this the only reference.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer was leaked from a box in `new` and is taken back once.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
