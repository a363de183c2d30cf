//! Token shards: documents, vocabulary layout, parquet schema, reader and writer.
