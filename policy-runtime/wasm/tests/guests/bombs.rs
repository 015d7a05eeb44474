//! Guests that would take all there is.
