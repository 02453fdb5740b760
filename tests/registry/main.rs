//! The registry edge against a real docker-registry, in each of the moods that one can be in.

mod support;

mod asking_and_deleting;
mod failures;
mod passwords_and_tokens;
mod secure_connections;
