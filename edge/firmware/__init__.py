"""New firmware for devices, over the connectors that hear them: jobs, images, and one module a way into a device."""
