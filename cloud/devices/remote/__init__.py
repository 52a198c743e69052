"""Remote help: commands to gateways and their answers."""
