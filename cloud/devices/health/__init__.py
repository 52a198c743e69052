"""Fleet health: what gateways and devices say of themselves, judged and summed up; the loss ledger."""
