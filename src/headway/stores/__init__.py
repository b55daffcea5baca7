"""Where things are kept: files by URL, the commit protocol, the ledger."""
