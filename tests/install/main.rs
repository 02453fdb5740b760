//! Installing on a server and taking it away again, for real, in a root folder that is thrown away.

mod collection;
mod door;
mod engine;
mod install;
mod owner;
mod package;
mod planted;
mod program;
mod reserved;
mod root;
mod uninstall;
mod units;
