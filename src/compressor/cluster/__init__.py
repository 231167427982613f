"""Work on a Ray cluster. Ray is an extra, `[ray]`, and is imported only where a cluster is asked for."""
