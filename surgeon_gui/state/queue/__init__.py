"""The queue: jobs that run one after another. No Qt."""
