"""The way as code: each file calls the stages in order."""
