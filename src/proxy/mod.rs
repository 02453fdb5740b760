//! The proxy edge: the embedded data plane, and the call that flips a route in it.
