//! The registry edge: what the registry holds, and taking out what is past its keeping.
