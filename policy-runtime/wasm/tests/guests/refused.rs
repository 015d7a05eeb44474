//! What is refused when a revision is loaded, and how it is told.
