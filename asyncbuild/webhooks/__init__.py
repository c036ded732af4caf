"""Push payloads of other hosts: GitHub, GitLab, Bitbucket. Pure."""
