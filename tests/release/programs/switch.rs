//! From one kind of proxy to another.
