//! The configuration: the server's `deployer.toml`, read, checked whole, and turned into the model.
