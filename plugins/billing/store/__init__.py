"""What is kept: the billing database, the usage table and its index of ids, the archive, the documents, the log."""
