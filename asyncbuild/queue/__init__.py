"""SQS FIFO queue: consumer, lane runner, lease, worker pool."""
