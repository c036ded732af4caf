"""One push: preparing (may run in parallel), dispatching (in queue order), what is waited for."""
