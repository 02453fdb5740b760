//! A program in front of the embedded proxy.
