"""Requests that start a build or an execution of a pipeline, made from a push. Pure."""
