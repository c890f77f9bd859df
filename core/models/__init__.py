"""Models on disk, as pure decisions: names, manifests, states, formats, what to remove, what has been transferred."""
