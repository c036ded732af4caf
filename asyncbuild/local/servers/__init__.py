"""Servers on loopback as children: their installation, SQS and S3, the CodeBuild stand-in."""
