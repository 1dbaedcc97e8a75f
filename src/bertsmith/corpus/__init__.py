"""The corpus: documents to shards on disk, shards to pre-training batches."""
