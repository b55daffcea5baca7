"""What data there is: files, labels, channels, digests, checks, differences."""
