"""The gateway agent: hears devices, judges alarms, keeps every reading until the cloud has it."""
