//! The store edge: the state folder, written so that a crash or a full disk loses nothing.
