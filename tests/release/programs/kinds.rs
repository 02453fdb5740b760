//! What every program must do as the proxy.
