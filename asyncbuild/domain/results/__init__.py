"""Build results: how the builds and executions that the service started have ended. Pure."""
