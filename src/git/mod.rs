//! The git edge: the slots' bare repositories, what a push was, and the tree it brought.
