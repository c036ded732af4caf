"""Plans of seeds: manifests, keys, when one is due, what their files look like. Pure."""
