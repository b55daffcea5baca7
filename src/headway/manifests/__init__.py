"""What data there is: files, labels, channels, digests, checks, differences.

In: a folder, any fsspec URL or a ready inventory (`headway.stores`). Out: `Manifest`, three files in the S3 manifest
schema and one table, which sharding and processing take. The way through the package::

    build      the verb: the version that is there, or a new one
    ├── contents    gather: listing -> digests -> rules (labels, groups);  inventory instead of the first two
    │               divide: inherit (what is placed already) -> quotas, together, assign (who goes where)
    └── publish     table, earlier, report, compare -> manifest.json, through the commit protocol

    manifest   the value, `Manifest.load`      check, changed   is it, are the data, still right?
    trend      over versions; where a file is  relocate         the data were moved

`split`, `manifest` are light; everything that needs numpy or pyarrow is loaded when a manifest is built or read.
`keyhash` holds the stable hash, written down for ever; `columns` the Arrow buffers under everything.
"""
