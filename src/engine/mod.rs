//! The engine edge: images, instances and deployer's network, through the Docker Engine's API.
