"""Choose settings: spaces, searchers, schedulers, the study."""
