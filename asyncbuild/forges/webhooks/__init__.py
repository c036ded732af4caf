"""Webhooks of GitHub, GitLab and Bitbucket: signatures and payloads. Pure."""
