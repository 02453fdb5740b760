//! The ssh edge, the front door: people who push have a key here, and no shell.
//!
//! `bytes → words → request → permit`
//!
//! The file of keys ([`AuthorizedKeys`]) has a line for each key. Its forced command ([`ForcedCommand`]) holds the
//! whole grant: the key's name, its role, its apps and slots. sshd runs that command whatever the client asked for,
//! and hands over what the client asked for as text. The text is split into words as a shell would, and never given
//! to one ([`split`]); the words are a [`Request`]; [`permit`] says whether the grant reaches that far. What is
//! carried out then has the path of a slot's repository, or words of deployer's own commands, and nothing else of
//! the client's.

mod authorized_keys;
mod forced;
mod greeting;
mod permit;
mod public_key;
mod request;
mod words;

pub use authorized_keys::{AuthorizedKeys, Entry, KeyFileError, KeyLine, read, write};
pub use forced::{ForcedCommand, ForcedCommandError};
pub use greeting::{Greeting, greeting};
pub use permit::{Asked, Refusal, Target, may, permit};
pub use public_key::{PublicKey, PublicKeyError};
pub use request::{Request, RequestError, Service, repository};
pub use words::{LENGTH_MAX, WORDS_MAX, WordsError, quoted, split};
