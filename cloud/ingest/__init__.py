"""From the broker into the stores: batches, one commit path, acknowledgements."""
