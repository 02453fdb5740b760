//! Installing on a server and taking it away again, for real, in a root folder that is thrown away.

mod door;
mod install;
mod kill;
mod owner;
mod package;
mod planted;
mod program;
mod reserved;
mod root;
mod uninstall;
mod units;
