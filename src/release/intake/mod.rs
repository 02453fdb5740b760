//! receive: a release gets its number and its record, and a detached worker that owns it from then on.
//!
//! Whatever asks for a release is a file here: a [`push`] with the [`gate`] that it may have to pass, and the [`commands`].
//! All of them end in a `launch`.

pub mod commands;
pub mod gate;
mod launch;
pub mod note;
pub mod push;
