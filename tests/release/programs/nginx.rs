//! What is nginx's own.
